"""python -m enginebundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from enginebundle.__main__ import main
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from tests.enginebundle.examples import CPU, goldens, publish


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, object, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_inspect_verify_match_run(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = publish(store)
    validate_and_sign(store, version, CPU)
    ref = f"{store.uri}/tiny"
    code, told, _ = answer(capsys, "inspect", ref)
    assert code == 0
    assert isinstance(told, dict)
    assert told["version"] == "tiny@1"
    assert [v["state"] for v in told["variants"]] == ["validated", "pending"]
    assert [e["passed"] for e in told["evidence"]] == [True]

    code, told, _ = answer(capsys, "verify", ref)
    assert isinstance(told, dict)
    assert (code, told["blobs"]) == (0, 6)

    code, told, _ = answer(capsys, "match", ref)
    assert isinstance(told, dict)
    assert [c["accepted"] for c in told["choices"]] == [True, False]

    case = goldens()["rows3"]
    save_file({"x": case["input.x"], "mask": case["input.mask"]}, tmp_path / "in.safetensors")
    files = str(tmp_path / "in.safetensors"), str(tmp_path / "out.safetensors")
    code, told, _ = answer(capsys, "run", ref, *files)
    assert (code, told) == (
        0, {"target": "torch:cpu", "profile": "short", "outputs": {"y": [3, 2], "rows": []}},
    )  # fmt: skip
    assert load_file(files[1])["y"].allclose(case["output.y"])


def test_the_answer_no_is_exit_code_1(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    publish(store)
    code, told, err = answer(capsys, "match", f"{store.uri}/tiny")
    assert (code, told) == (1, None)
    assert err.startswith("NoVariantError: no variant of tiny@1 may run here")
    code, _, err = answer(capsys, "verify", f"{store.uri}/other")
    assert code == 1
    assert "has no bundle 'other'; it has: tiny" in err
    with pytest.raises(SystemExit) as caught:
        main(["unknown"])
    assert caught.value.code == 2
