"""Signatures of the TensorRT versions that are supported, kept in signatures.json.

    python -m tests.contract.record            # download the bindings, write the file anew
    python -m tests.contract.record --check    # download them, exit with 1 if the file differs

The file says which wheel each version was read from. A member's signature stands once, with the
versions that have it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.contract import bindings
from tests.contract.signatures import Signatures

WHEELS = {
    "10.6": "tensorrt-cu12-bindings==10.6.0.post1",
    "10.15": "tensorrt-cu13-bindings==10.15.1.29",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
}
"""The oldest supported version, one between, and the newest that was tested."""

FILE = Path(__file__).with_name("signatures.json")


def recorded(version: str) -> Signatures:
    """The signatures of one of WHEELS, from the file."""
    found: Signatures = {}
    for name, lines in json.loads(FILE.read_text())["members"].items():
        owner, _, member = name.rpartition(".")
        here = sorted(line for line, versions in lines.items() if version in versions.split())
        if here:
            found.setdefault(owner, {})[member] = here
    return found


def kept(found: Signatures) -> Signatures:
    """What the file holds of a module: no special methods but constructors."""
    return {
        owner: {
            member: sorted(set(lines))
            for member, lines in members.items()
            if not member.startswith("__") or member == "__init__"
        }
        for owner, members in found.items()
    }


def downloaded(version: str, folder: Path) -> Signatures:
    """The signatures of one of WHEELS, from its wheel."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    subprocess.run([*command, WHEELS[version]], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    bindings.stubs(folder, int(version.partition(".")[0]))
    return kept(bindings.read_tensorrt(folder, folder / "site"))


def as_text(found: Mapping[str, Signatures]) -> str:
    """The file's text, a line for each member."""
    members: dict[str, dict[str, str]] = {}
    for version, module in found.items():
        for owner, its in module.items():
            for member, lines in its.items():
                entry = members.setdefault(f"{owner}.{member}", {})
                for line in lines:
                    entry[line] = f"{entry.get(line, '')} {version}".strip()
    rows = [f"{json.dumps(name)}: {json.dumps(members[name])}" for name in sorted(members)]
    return f'{{"wheels": {json.dumps(WHEELS)},\n"members": {{\n' + ",\n".join(rows) + "\n}}\n"


def main() -> int:
    found = {}
    for version in WHEELS:
        with tempfile.TemporaryDirectory() as folder:
            found[version] = downloaded(version, Path(folder))
    text = as_text(found)
    if sys.argv[1:] == ["--check"]:
        same = text == FILE.read_text()
        print("the same" if same else f"{FILE} differs from the wheels")
        return int(not same)
    FILE.write_text(text)
    print(f"{FILE}: {len(text.splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
