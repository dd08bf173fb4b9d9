"""Libraries that read weights by native code, of which Python tells nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.orchestrator.worker.recording.user import User


def _scripted(path: Path, value: float) -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((2,), value))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

    torch.jit.trace(Scaled(), torch.ones(2)).save(str(path))


def _table(path: Path, value: float) -> None:
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute("create table weights (value real)")
        connection.execute("insert into weights values (?)", (value,))
    connection.close()


READERS: dict[str, tuple[Callable[[Path, float], object], str]] = {
    "safetensors": (
        lambda path, value: save_file({"w": torch.full((2,), value)}, path),
        "    from safetensors.torch import load_file\n    return load_file(HERE / 'w')['w'][0].item()\n",
    ),
    "torch.jit": (
        _scripted,
        "    import torch\n    return torch.jit.load(str(HERE / 'w')).weight[0].item()\n",
    ),
    "a mapped checkpoint": (
        lambda path, value: torch.save({"w": torch.full((2,), value)}, path),
        "    import torch\n    return torch.load(str(HERE / 'w'), mmap=True)['w'][0].item()\n",
    ),
    "torch.from_file": (
        lambda path, value: path.write_bytes(np.full(2, value, np.float32).tobytes()),
        "    import torch\n    return torch.from_file(str(HERE / 'w'), size=2)[0].item()\n",
    ),
    "numpy": (
        lambda path, value: path.write_bytes(np.full(2, value, np.float32).tobytes()),
        "    import numpy\n    return numpy.memmap(HERE / 'w', 'float32', 'r')[0]\n",
    ),
    "sqlite": (
        _table,
        "    import sqlite3\n    found = sqlite3.connect(f'file:{HERE}/w?mode=ro', uri=True)\n"
        "    return found.execute('select value from weights').fetchone()[0]\n",
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_file_of_the_same_size_is_another_if_its_content_is(user: User, reader: str) -> None:
    write, code = READERS[reader]
    user.code(f"def value():\n{code}")
    for value in (1.0, 2.0):
        write(user.folder / "w", value)
        assert user.value() == (str(value), True)
        assert user.value() == (str(value), False)
