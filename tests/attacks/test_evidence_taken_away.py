"""Failed evidence that somebody with write access to the store takes away, puts back or hides."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from enginebundle.errors import BundleError
from enginebundle.format.digest import digest_bytes
from enginebundle.format.evidence import Evidence
from enginebundle.format.signing import Signer
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export, open_export
from enginebundle.serve.validate import validate, validate_and_sign
from enginebundle.storage.ledger import attest
from enginebundle.storage.trust import Trust, default_signer
from tests.attacks.victim import Victim
from tests.enginebundle.examples import CPU


def verdict(victim: Victim, trust: Trust | None = None) -> tuple[str, str]:
    found = Bundle.open(victim.store, victim.store.resolve("tiny"), trust).verdicts[CPU]
    return found.state, found.reason


def measured(victim: Victim, *, passed: bool) -> Evidence:
    """What a validation found, signed as the newest."""
    version = victim.store.resolve("tiny")
    found = validate(victim.store, version, CPU)
    return attest(victim.store, version, replace(found, passed=passed), default_signer())


def evidence_files(victim: Victim) -> list[Path]:
    """Oldest first."""
    return sorted(victim.root.glob("bundles/tiny/evidence/*/torch-cpu/*.json"))


def head_file(victim: Victim) -> Path:
    (found,) = victim.root.glob("bundles/tiny/heads/*/torch-cpu/*.json")
    return found


def forget(home: Path) -> None:
    """As if this machine saw the store for the first time."""
    shutil.rmtree(home / "seen", ignore_errors=True)


def test_the_newest_evidence_decides_and_is_numbered(victim: Victim) -> None:
    assert verdict(victim)[0] == "validated"
    failed = measured(victim, passed=False)
    assert failed.sequence == 2
    assert failed.previous is not None
    assert verdict(victim)[0] == "failed"
    assert measured(victim, passed=True).sequence == 3
    assert verdict(victim)[0] == "validated"
    assert [path.name for path in evidence_files(victim)] == ["1.json", "2.json", "3.json"]


def test_the_last_evidence_deleted(victim: Victim, home: Path) -> None:
    measured(victim, passed=False)
    evidence_files(victim)[-1].unlink()
    forget(home)
    state, reason = verdict(victim)
    assert state == "failed"
    assert "number 2, which the key's head names" in reason
    with pytest.raises(BundleError, match="evidence is missing"):
        victim.load()


def test_the_head_deleted_too(victim: Victim, home: Path) -> None:
    measured(victim, passed=False)
    evidence_files(victim)[-1].unlink()
    head_file(victim).unlink()
    forget(home)
    assert verdict(victim)[0] == "failed"


def test_one_in_the_middle_deleted(victim: Victim, home: Path) -> None:
    """A machine for which the last one does not count, since it is from another GPU, needs this one."""
    measured(victim, passed=False)
    measured(victim, passed=True)
    evidence_files(victim)[1].unlink()
    forget(home)
    bundle = Bundle.open(victim.store, victim.store.resolve("tiny"))
    (gap,) = bundle.ledger.missing
    assert gap.sequence == 2
    assert "before number 3" in gap.why
    assert verdict(victim)[0] == "validated"


def test_the_whole_store_set_back(victim: Victim, tmp_path: Path) -> None:
    """Heads and all, to the day before: only who has seen the newer evidence can tell."""
    shutil.copytree(victim.root, tmp_path / "yesterday")
    measured(victim, passed=False)
    assert verdict(victim)[0] == "failed"
    shutil.rmtree(victim.root)
    shutil.copytree(tmp_path / "yesterday", victim.root)
    state, reason = verdict(victim)
    assert state == "failed"
    assert "this machine saw number 2, and it is gone" in reason
    again = validate_and_sign(victim.store, victim.store.resolve("tiny"), CPU)
    assert again.sequence == 3
    assert verdict(victim)[0] == "validated"


def test_everything_about_the_version_deleted(victim: Victim) -> None:
    measured(victim, passed=False)
    verdict(victim)
    shutil.rmtree(victim.root / "bundles/tiny/evidence")
    shutil.rmtree(victim.root / "bundles/tiny/heads")
    assert verdict(victim)[0] == "failed"


def test_an_old_document_under_the_newest_number(victim: Victim, home: Path) -> None:
    measured(victim, passed=False)
    old, new = evidence_files(victim)
    new.write_bytes(old.read_bytes())
    old.with_name("zzz.json").write_bytes(old.read_bytes())
    forget(home)
    assert verdict(victim)[0] == "failed"


def test_an_old_head_beside_the_new_one(victim: Victim, home: Path) -> None:
    old = head_file(victim).read_bytes()
    measured(victim, passed=False)
    head_file(victim).with_name("0" * 64 + ".json").write_bytes(old)
    evidence_files(victim)[-1].unlink()
    forget(home)
    assert verdict(victim)[0] == "failed"


def test_evidence_of_an_untrusted_key_changes_nothing(victim: Victim) -> None:
    stranger = Signer.generate()
    version = victim.store.resolve("tiny")
    found = replace(validate(victim.store, version, CPU), passed=False, sequence=99)
    data = found.to_bytes()
    assert victim.store.add_evidence(version, CPU, 99, data, stranger.sign(data))
    assert verdict(victim)[0] == "validated"
    both = Trust.of(stranger.public, default_signer().public)
    assert verdict(victim, both)[0] == "failed"


def test_evidence_that_contradicts_itself_does_not_count(victim: Victim, home: Path) -> None:
    version = victim.store.resolve("tiny")
    empty = replace(validate(victim.store, version, CPU), cases=(), sequence=0, previous=None)
    measured(victim, passed=False)
    for path in evidence_files(victim):
        path.unlink()
    shutil.rmtree(victim.root / "bundles/tiny/heads")
    forget(home)
    data = empty.to_bytes()
    victim.store.put_evidence(version, CPU, data, default_signer().sign(data))
    assert verdict(victim)[0] == "pending"


def test_two_keys_count_on_from_each_other(victim: Victim) -> None:
    second = Signer.generate()
    trust = Trust.of(second.public, default_signer().public)
    version = victim.store.resolve("tiny")
    found = replace(validate(victim.store, version, CPU), passed=False)
    theirs = attest(victim.store, version, found, second, trust)
    assert (theirs.sequence, theirs.previous) == (2, None)
    assert verdict(victim, trust)[0] == "failed"
    assert verdict(victim)[0] == "validated"
    ours = attest(victim.store, version, replace(found, passed=True), default_signer(), trust)
    first = evidence_files(victim)[0]
    assert ours.sequence == 3
    assert ours.previous == digest_bytes(victim.store.evidence(version)[0][0])
    assert first.exists()
    assert verdict(victim, trust)[0] == "validated"


def test_the_same_measurement_is_signed_once(victim: Victim) -> None:
    version = victim.store.resolve("tiny")
    found = validate(victim.store, version, CPU)
    first = attest(victim.store, version, found, default_signer())
    assert attest(victim.store, version, found, default_signer()) == first
    assert len(evidence_files(victim)) == 2


def test_a_writer_that_died_before_its_head_is_made_up_for(victim: Victim, home: Path) -> None:
    version = victim.store.resolve("tiny")
    found = validate(victim.store, version, CPU)
    attest(victim.store, version, found, default_signer())
    head_file(victim).unlink()
    assert verdict(victim)[0] == "failed"
    attest(victim.store, version, found, default_signer())
    assert verdict(victim)[0] == "validated"


def test_an_export_carries_heads(victim: Victim, tmp_path: Path, home: Path) -> None:
    measured(victim, passed=False)
    bundle = Bundle.open(victim.store, victim.store.resolve("tiny"))
    folder = export(bundle, tmp_path / "copy")
    failed = digest_bytes(victim.store.evidence(victim.store.resolve("tiny"))[-1][0])
    (path,) = (p for p in folder.glob("bundles/tiny/evidence/*/*/*") if failed in p.read_text())
    path.unlink()
    forget(home)
    assert Bundle.open(*open_export(folder)).states[CPU] == "failed"
