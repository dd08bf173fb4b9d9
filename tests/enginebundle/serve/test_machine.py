"""What is found on this machine."""

from __future__ import annotations

from enginebundle.serve.machine import this_machine


def test_this_machine_is_found_without_importing_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from enginebundle.serve.machine import this_machine; m = this_machine(); "
        "print(m.runtime('torch')); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == this_machine().runtime("torch")
    assert set(this_machine().to_json()) == {"arch", "runtimes", "gpu", "driver", "cuda", "cpu"}
