"""How many digits a figure is shown with."""

from __future__ import annotations

import math

import pytest

from edgenas.core.digits import small


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.3456, "12.346"),
        (0.1371, "0.137"),
        (0.1, "0.100"),
        (0.0999, "0.0999"),
        (0.09996, "0.100"),
        (0.0099996, "0.0100"),
        (0.01051, "0.0105"),
        (-0.0105, "-0.0105"),
        (0.00951, "0.00951"),
        (2.5e-7, "0.000000250"),
        (0.0, "0.000"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_three_digits_that_say_something(value: float, text: str) -> None:
    assert small(value) == text
