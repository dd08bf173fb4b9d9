"""`import enginebundle` in an inference service brings in nothing heavy (timing: benchmarks/)."""

from benchmarks.import_time import HEAVY, imported


def test_import_of_the_loader_brings_in_no_heavy_module() -> None:
    modules = imported()
    assert "enginebundle" in modules
    assert modules & set(HEAVY) == set()
