"""python -m enginebundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from enginebundle.__main__ import main
from enginebundle.format.role import Limit
from enginebundle.format.signing import Signer
from enginebundle.serve import doctor
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust, default_signer
from tests.enginebundle.examples import CPU, goldens, publish


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, object, str]:
    code = main((*arguments, "--json"))
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_trust_writes_what_a_key_may_sign_and_shows_it(
    store: Store, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(store)
    own, other = default_signer(), Signer.generate()
    file = tmp_path / "gpu.pub"
    file.write_text(other.public_line())
    code, told, _ = answer(
        capsys, "trust", str(file), "--may", "evidence", "--names", "tiny", "b-*"
    )
    assert (code, told) == answer(capsys, "trust")[:2]
    assert code == 0
    assert isinstance(told, dict)
    assert told["folder"] == f"{home}/trusted"
    assert {one["key"]: one["may"] for one in told["keys"]} == {
        own.key_id: "bundles, evidence, aliases, revocations of any bundle",
        other.key_id: "evidence of tiny, b-*",
    }
    assert Trust.default().limits == {other.key_id: (Limit.of(["evidence"], ["tiny", "b-*"]),)}
    answer(capsys, "trust", str(file))
    assert Trust.default().limits == {}
    code, _, error = answer(capsys, "trust", str(file), "--names", "../x")
    assert (code, error.startswith("FormatError: names: expected names of bundles")) == (1, True)
    for limit in ("--may", "evidence"), ("--names", "tiny"):
        code, _, error = answer(capsys, "trust", *limit)
        assert (code, "name its .pub file first" in error) == (1, True)
    assert Trust.default().limits == {}


def test_inspect_names_every_key_that_signed(
    store: Store, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = default_signer()
    (home / "keys").mkdir()
    (home / "key.pem").rename(home / "keys/old.pem")
    publish(store)
    _, told, _ = answer(capsys, "inspect", f"{store.uri}/tiny")
    assert isinstance(told, dict)
    assert sorted(told["signers"]) == sorted((old.key_id, default_signer().key_id))
    assert told["signer"] in told["signers"]


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


def test_what_this_machine_can_load(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    publish(store)  # which makes a key that is trusted here
    code, told, _ = answer(capsys, "doctor")
    assert isinstance(told, dict)
    assert code == 0
    assert told["able"]
    found = {one["what"]: one for one in told["findings"]}
    assert found["torch: targets"]["fine"]
    assert found["trusted keys"]["detail"].startswith("1 in ")
    assert "trt: targets" in found


def test_a_machine_that_trusts_nobody_can_load_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "nobody"))
    code, told, _ = answer(capsys, "doctor")
    assert isinstance(told, dict)
    assert (code, told["able"]) == (1, False)
    (keys,) = (one for one in told["findings"] if one["what"] == "trusted keys")
    assert keys == {
        "what": "trusted keys",
        "fine": False,
        "detail": f"0 in {tmp_path}/nobody/trusted",
    }


def test_a_package_that_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    found = {one.what: one for one in doctor.examine()}
    assert not found["safetensors"].fine
    assert "pip install 'enginekiln'" in found["safetensors"].detail
    assert found["torch: targets"] == doctor.Finding(
        "torch: targets", False, "needs what is named above"
    )


def test_calls_are_timed_for_each_golden(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    version = publish(store)
    validate_and_sign(store, version, CPU)
    code, told, _ = answer(capsys, "bench", f"{store.uri}/tiny", "--seconds", "0.01")
    assert isinstance(told, dict)
    assert (code, told["target"]) == (0, "torch:cpu")
    assert [row["golden"] for row in told["goldens"]] == list(goldens())
    for row in told["goldens"]:
        assert row["calls"] >= 10
        assert 0 < row["p50_ms"] <= row["p99_ms"]


def test_people_get_text(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    publish(store)
    assert main(("inspect", f"{store.uri}/tiny")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "version: tiny@1" in lines
    place = lines.index("variants:")
    assert lines[place + 1].split()[:2] == ["target", "state"]
    assert lines[place + 2].split()[:2] == ["torch:cpu", "pending"]
    assert main(("verify", f"{store.uri}/tiny")) == 0
    assert "blobs: 6" in capsys.readouterr().out.splitlines()
