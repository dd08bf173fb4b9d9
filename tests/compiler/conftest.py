"""Every pass's contract is checked in the compiler's tests."""

from collections.abc import Iterator

import pytest

from compiler.lower.contracts import SWITCH


@pytest.fixture(autouse=True, scope="module")
def _contracts_checked() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        yield
