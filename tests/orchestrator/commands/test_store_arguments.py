"""What is said of a store, an address or a number that can't be meant."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from orchestrator import cli
from tests.enginebundle.standin import KEYS, make_bucket, serve

BUILDERS = Path(__file__).parents[1] / "builders"
MANIFEST = """
models:
  - name: m
    source: {entrypoint: "tiny_models:tiny"}
    inputs: {x: {dtype: float32, shape: [b, 4]}}
    profiles: {any: {b: [1, 4, 8]}}
    targets: ["torch:cpu"]
    goldens: {seed: 1, cases: 2}
"""


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "models").mkdir()
    shutil.copy(BUILDERS / "tiny_models.py", tmp_path / "models")
    (tmp_path / "models" / "manifest.yaml").write_text(MANIFEST)
    return str(tmp_path / "models" / "manifest.yaml")


def test_a_plan_without_a_store_says_so(manifest, tmp_path, capsys):
    assert cli.main(["plan", manifest, "--store", str(tmp_path / "none")]) == 0
    captured = capsys.readouterr()
    assert f"no store at {tmp_path / 'none'} yet" in captured.err
    assert "m/trace" in captured.out


@pytest.mark.parametrize("typo", ["stroe", "store2", "Store", "stor"])
def test_a_plan_with_a_misspelled_store_ends(manifest, tmp_path, typo, capsys):
    Store.open(tmp_path / "store", create=True)
    assert cli.main(["plan", manifest, "--store", str(tmp_path / typo)]) == 2
    assert f"did you mean {tmp_path / 'store'}?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "run", "list", "gc"])
@pytest.mark.parametrize("kind", ["file", "empty", "pipe", "device", "link"])
def test_where_something_else_is_there_can_be_no_store(manifest, tmp_path, kind, command, capsys):
    place = Path("/dev/null") if kind == "device" else tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to(manifest)
    elif kind != "device":
        place.write_text("text" if kind == "file" else "")
    first = [command, manifest] if command in ("plan", "run") else [command]
    assert cli.main([*first, "--store", str(place)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(place) in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    "address",
    [
        "s3://", "gs://", "s3:///x", "s3://[::1/x", "http://[x", "ftp://host/x", "file://host/x", "file://",
        "s3:/bucket/x", "file:/x", "", "s3://a b/c", "s3://b/x?nonsense=1", "s3://b/x?endpoint_override=%zz",
        "https:/x", "://", "s3://?x=1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["list", "plan", "run", "gc"])
def test_an_address_of_no_store_is_one_line(
    manifest, address, command, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    first = [command, manifest] if command in ("plan", "run") else [command]
    assert cli.main([*first, "--store", address]) in (2, 3)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kiln: ")
    assert sorted(tmp_path.rglob("*")) == before, "nothing was made"


@pytest.mark.parametrize("command", ["list", "plan", "run", "gc", "status"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"), ({}, "NoSuchBucket"),
     ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}, "no credentials")],
)  # fmt: skip
def test_a_bucket_that_can_not_be_used_is_one_line_and_exit_code_3(
    manifest, command, wrong, said, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in (KEYS | wrong).items():
        monkeypatch.setenv(name, value)
    first = [command, manifest] if command in ("plan", "run") else [command]
    with serve() as (endpoint, _):
        make_bucket(endpoint, "farm")
        bucket = "nowhere" if said == "NoSuchBucket" else "farm"
        store = f"s3://{bucket}/x?endpoint_override={endpoint}&scheme=http&region=us-east-1"
        assert cli.main([*first, "--store", store]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kiln: StoreError: ")
    assert said in line


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf", "-inf", "soon", ""])
@pytest.mark.parametrize("command", ["validate", "reproduce"])
def test_a_time_limit_is_more_than_nothing(command, seconds, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([command, "m", "--target", "torch:cpu", f"--timeout={seconds}"])
    assert left.value.code == 2
    assert "--timeout" in capsys.readouterr().err
