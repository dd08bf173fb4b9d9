"""All three packages name the same build of torch: the machine, the task keys and the toolchain."""

from __future__ import annotations

import torch

from compiler.pipeline import _toolchain
from enginebundle.serve.machine import this_machine
from orchestrator.plan.installed import installed


def test_machine_key_and_toolchain_name_the_build_of_torch_that_runs() -> None:
    said = str(torch.__version__)
    assert this_machine().runtime("torch") == said
    assert dict(installed().distributions.versions)["torch"] == said
    assert _toolchain(None)["torch"] == said
