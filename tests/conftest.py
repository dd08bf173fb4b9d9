"""torchvision imports beside a CPU build of torch, and nothing asks a model hub."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["KILN_CHECK_PASSES"] = "1"  # every pass is held to its contract, in child processes too
sys.path.append(str(Path(__file__).resolve().parents[1] / "manifests"))

gc.disable()
import torchvision_on_cpu  # noqa: E402

# How long an example takes is the machine's affair, and no test's.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

_LONG = ("/tests/e2e/", "/tests/orchestrator/")
torchvision_on_cpu.prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of few long tests first: started last, one of them would run while nothing else is left."""
    items.sort(key=lambda item: not any(folder in str(item.path) for folder in _LONG))


def pytest_collection_finish() -> None:
    """From here on there is garbage. What was imported stays: the collector leaves it alone."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _own_path() -> Iterator[None]:
    """Entrypoints put folders on `sys.path` for good; the next test must not see them."""
    saved = list(sys.path)
    yield
    sys.path[:] = saved
