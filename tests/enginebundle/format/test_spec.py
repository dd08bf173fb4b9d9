"""Values that refuse what makes no sense."""

from __future__ import annotations

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.spec import Tolerance


@pytest.mark.parametrize("bound", [float("nan"), float("inf"), -1.0])
def test_a_tolerance_is_a_finite_number_from_zero(bound: float) -> None:
    with pytest.raises(FormatError, match="expected finite numbers of at least 0"):
        Tolerance(bound, 0.0)
