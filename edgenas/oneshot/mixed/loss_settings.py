"""Which form the loss of the logits has, and its weights; known without torch."""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.core.errors import UsageError, choices

FORM_NAMES = (
    "none",
    "fbnet",
    "sum",
    "proxylessnas_sum",
    "proxylessnas_product",
    "budget",
)
"""Forms; `edgenas.oneshot.mixed.losses` has their formulas."""

NEED_BUDGET = frozenset({"proxylessnas_sum", "proxylessnas_product", "budget"})
"""Forms that compare an expected cost with what is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """The form of the loss and its weights.

    Attributes:
        form: one of `FORM_NAMES`.
        alpha: factor of a product, or weight of a sum.
        beta: exponent of a product, or of a reward.
    """

    form: str = "none"
    alpha: float = 1.0
    beta: float = 0.6

    def __post_init__(self) -> None:
        if self.form not in FORM_NAMES:
            raise UsageError(f"no loss form {self.form!r}; {choices(self.form, FORM_NAMES)}")
        if self.alpha < 0 or self.beta < 0:
            raise UsageError(f"alpha and beta are at least 0, got {self.alpha} and {self.beta}")
