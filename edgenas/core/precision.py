"""In which numbers a model file computes: the precisions that there are, by name."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["float32", "float16", "int8", "weight_int8"]
"""``int8``: values and weights in 8 bits; ``weight_int8``: the weights alone, values float32."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

CODED: tuple[Precision, ...] = ("int8", "weight_int8")
"""Those with 8-bit codes, held to a ratio of signal and noise, not to a greatest difference."""
