"""A store that lost something: the same command again heals it, and the service opens the bundle."""

from __future__ import annotations

import json
import os

import pytest
import torch

import enginebundle
from enginebundle.format.digest import digest_bytes
from orchestrator.keep.results import blobs
from orchestrator.report import record


def serves(farm) -> bool:
    """The bundle opens and computes."""
    session = enginebundle.load(f"{farm.store.uri}/m", target="torch:cpu")
    return session(x=torch.ones(2, 4))["y"].shape == (2, 3)


def _parsed(content: bytes):
    try:
        return json.loads(content)
    except ValueError:
        return None


def cached(farm) -> list[str]:
    """The tasks of the latest run whose results it found."""
    run = record.ids(farm.store)[-1]
    return [name for name, one in record.tasks(farm.store, run).items() if one["kind"] == "cached"]


def test_every_blob_that_a_step_left_is_named_by_a_result_or_a_version(made):
    """What this file's checks go by, against a real store."""
    named = set()
    for path in made.files("results/*/*.json"):
        result = json.loads(path.read_text())
        named |= {digest for digest, _ in blobs(result["output"])}
        named |= {result["identity"]["inputs"]} if "inputs" in result["identity"] else set()
    for path in (
        *made.files("bundles/*/versions/*.json"),
        *made.files("bundles/*/evidence/*/*/*.json"),
        *made.files("bundles/*/heads/*/*/*.json"),
    ):
        named |= set(json.loads(path.read_text()).values())
    assert {f"sha256:{path.name}" for path in made.files("blobs/*/*/*")} == named


def test_nothing_lost_nothing_done(farm):
    assert farm.kiln("run") == 0
    assert len(cached(farm)) == 5


@pytest.mark.parametrize("kind", ["gone", "short"])
def test_blobs_that_are_lost_are_made_again(farm, kind):
    before = {path: path.read_bytes() for path in farm.files("blobs/*/*/*")}
    for path, content in before.items():
        path.unlink()
        if kind == "short":
            path.write_bytes(content[:-1])
    assert farm.kiln("run") == 0
    assert not cached(farm)[:-1], "all but the alias"
    assert farm.kiln("store", "verify") == 0
    assert serves(farm)


@pytest.mark.slow
def test_each_blob_that_is_lost_is_made_again(farm):
    """One after the other, in one store. Proofs have dates and numbers, so another follows one that is lost.
    What a step read is a blob for people alone: results are found by the names, and say so without it."""
    proofs = {
        blob
        for kind in ("evidence", "heads")
        for path in farm.files(f"bundles/*/{kind}/*/*/*.json")
        for blob in json.loads(path.read_text()).values()
    }
    read = {
        json.loads(path.read_text())["identity"].get("inputs")
        for path in farm.files("results/*/*.json")
    }
    assert proofs
    assert read
    for path in farm.files("blobs/*/*/*"):
        content = path.read_bytes()
        path.unlink()
        assert farm.kiln("run") == 0, path
        remade = f"sha256:{path.name}" in proofs | read or content.startswith(b'{"cases"')
        if not remade:
            assert path.read_bytes() == content
        assert serves(farm)
        assert farm.kiln("store", "verify") == 0, path


def test_the_index_and_the_signatures_are_made_again(farm):
    for path in farm.files("blobs/*/*/*"):
        if (
            b'"format":"enginebundle.' in path.read_bytes()[:4000]
            and b'"cases"' not in path.read_bytes()
        ):
            path.unlink()
    assert farm.kiln("run") == 0
    assert "m/build/torch:cpu" in cached(farm)
    assert serves(farm)


def test_a_version_that_is_lost_is_published_again(farm):
    """Its number is free if its file is gone, and taken if that is damaged."""
    for content, numbers in ((None, [1]), (b'{"index": 1, "signature": 2}', [1, 2])):
        (path,) = farm.files("bundles/m/versions/*.json")
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert farm.kiln("run") == 0
        assert serves(farm)
        assert farm.store.numbers("m") == numbers


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"output": 3}', b"null", b"0" * 50_000]
)
@pytest.mark.parametrize("step", ["trace", "build", "publish", "validate"])
def test_a_damaged_record_is_a_miss_that_is_said(farm, step, content, caplog):
    path = farm.result(step)
    path.write_bytes(content)
    assert farm.kiln("plan") == 0
    assert path.stem in caplog.text
    assert farm.store.result(f"sha256:{path.stem}") in (None, _parsed(content))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"names": {"files": 3}}',
        b'{"m/trace": 3}',
        b'{"m/trace": ["x"]}',
    ],
)
@pytest.mark.parametrize("folder", ["inputs/*", "earlier"])
def test_a_damaged_list_of_what_was_read_counts_as_none(farm, folder, content):
    (path,) = farm.files(f"{folder}/*.json")
    whole = path.read_bytes()
    path.write_bytes(content)
    assert farm.kiln("plan") == 0
    if folder != "earlier":
        path.write_bytes(whole.replace(b'"looks":', b'"smells":'))
        assert farm.kiln("plan") == 0


def _instead(path, kind, elsewhere):
    """Something that is no file in its place."""
    elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere if kind == "link out" else "nowhere")


@pytest.mark.parametrize("kind", ["pipe", "link out", "broken link"])
@pytest.mark.parametrize("what", ["weights", "record"])
def test_what_is_no_file_is_found_and_made_again(farm, tmp_path, capsys, kind, what):
    path = farm.result("build")
    if what == "weights":
        (segment,) = json.loads(path.read_text())["output"]["part"]["segments"]
        path = farm.folder / "store/blobs/sha256" / segment["weights"][7:9] / segment["weights"][7:]
    _instead(path, kind, tmp_path / "elsewhere")
    if kind != "broken link":
        assert farm.kiln("store", "verify") == 1
        assert path.stem in capsys.readouterr().out
    assert farm.kiln("run") == 0
    assert farm.kiln("store", "verify") == 0
    assert path.is_file()
    assert serves(farm)


def test_damaged_records_are_replaced(farm, capsys):
    (first,) = record.ids(farm.store)
    damaged = dict(
        zip(
            ("trace", "build", "publish", "validate"),
            (b"", b"{}", b'{"output": 3}', b"null"),
            strict=True,
        )
    )
    paths = {step: farm.result(step) for step in damaged}
    for step, path in paths.items():
        path.write_bytes(damaged[step])
    assert farm.kiln("run") == 0
    for path in paths.values():
        assert json.loads(path.read_text())["output"]
    assert farm.kiln("explain", first, record.ids(farm.store)[-1]) == 0
    assert farm.kiln("store", "verify") == 0
    assert serves(farm)


def test_a_record_of_another_key_is_a_miss(farm):
    trace, build = farm.result("trace"), farm.result("build")
    build.write_bytes(trace.read_bytes())
    assert farm.kiln("run") == 0
    assert "part" in json.loads(build.read_text())["output"]
    assert serves(farm)


def test_a_flipped_byte_is_found_set_aside_and_made_again(farm, capsys):
    weights = json.loads(farm.result("build").read_text())["output"]["part"]["segments"][0][
        "weights"
    ]
    path = farm.folder / "store" / "blobs" / "sha256" / weights[7:9] / weights[7:]
    good = path.read_bytes()
    bad = bytes([good[0] ^ 1]) + good[1:]
    path.write_bytes(bad)
    assert farm.kiln("store", "verify") == 1
    assert weights in capsys.readouterr().out
    assert path.read_bytes() == bad, "looking changes nothing"
    assert farm.kiln("store", "verify", "--repair") == 0
    assert path.read_bytes() == good
    (aside,) = farm.files("damaged/*/*")
    assert aside.read_bytes() == bad
    assert aside.name == digest_bytes(bad)[7:]
    assert farm.kiln("store", "verify") == 0
    assert serves(farm)


def test_a_step_that_writes_a_damaged_blob_again_repairs_it(farm):
    """A rebuild alone is enough, too: here the records are lost, and every blob has a flipped byte."""
    good = {path: path.read_bytes() for path in farm.files("blobs/*/*/*")}
    for path, content in good.items():
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for path in farm.files("results/*/*.json"):
        path.unlink()
    for path in farm.files("bundles/m/evidence/*/*/*.json"):
        path.unlink()
    assert farm.kiln("run") == 0
    assert serves(farm)


def test_stray_files_stop_nothing(farm, capsys):
    store = farm.folder / "store"
    (evidence,) = farm.files("bundles/m/evidence/*/*/*.json")
    for folder in (evidence.parent, evidence.parent.parent, store, *(
        store / name for name in ("bundles", "bundles/m", "bundles/m/aliases", "bundles/m/aliases/latest",
        "bundles/m/versions", "results", "blobs", "blobs/sha256", "runs")
    )):  # fmt: skip
        (folder / ".DS_Store").write_bytes(b"\x00\x01")
        (folder / "notes.txt").write_text("stray")
        (folder / "copy of x.json").write_text("{}")
    (evidence.parent / f"{evidence.stem}.json.bak").write_bytes(b"")
    for command in ("plan", "list", "run", "status"):
        assert farm.kiln(command) == 0, command
    assert "m@1" in capsys.readouterr().out
    assert farm.kiln("inspect", "m") == 0
    assert serves(farm)
    assert farm.kiln("store", "verify") == 0


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": "1"}'])
def test_a_damaged_alias_stops_only_what_it_names(farm, content, capsys):
    farm.store.set_alias("m", "prod", 1)
    (path,) = farm.files("bundles/m/aliases/latest/*.json")
    path.write_bytes(content)
    assert farm.kiln("list") == 0
    assert "prod" in capsys.readouterr().out
    assert farm.kiln("plan") == 0
    assert farm.kiln("run") == 0
    assert farm.store.resolve("m:latest").number == 1
    assert serves(farm)


@pytest.mark.parametrize("name", ["events.jsonl", "results.json"])
def test_a_run_whose_record_can_not_be_written_ends_as_it_would(
    farm, monkeypatch, name, caplog, capsys
):
    """A folder lies where the file should be."""
    start = record.Record.start

    def blocked(self, manifest, plan):
        start(self, manifest, plan)
        (farm.folder / "store" / "runs" / self.run / name).mkdir()

    monkeypatch.setattr(record.Record, "start", blocked)
    assert farm.kiln("run") == 0
    assert caplog.text.count(f"{name} is not recorded") == 1
    assert "every task cached" in capsys.readouterr().out


def test_flipped_evidence_and_heads_are_written_anew(farm):
    """Nothing runs again but what signs: what was measured is in a blob of its own."""
    for path in (
        *farm.files("bundles/m/evidence/*/*/*.json"),
        *farm.files("bundles/m/heads/*/*/*.json"),
    ):
        for digest in json.loads(path.read_text()).values():
            blob = farm.folder / "store" / "blobs" / "sha256" / digest[7:9] / digest[7:]
            content = blob.read_bytes()
            blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert farm.kiln("run") == 0
    assert farm.kiln("store", "verify") == 0
    assert serves(farm)
