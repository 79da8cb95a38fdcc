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

PRODUCTS = frozenset({"fbnet", "proxylessnas_product"})
"""Forms that take the logarithm of a cost, which has to be above 1 in its unit (`unit_of`)."""

_WEIGHTS = {
    "fbnet": (0.2, 0.6),
    "sum": (1.0, 0.0),
    "proxylessnas_sum": (0.1, 0.0),
    "proxylessnas_product": (0.2, 0.3),
}
"""alpha and beta of the papers, by form; the sum's weight is nobody's."""

_REWARD_POWER = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """The form of the loss and its weights.

    Attributes:
        form: one of `FORM_NAMES`.
        alpha: factor of a product, or weight of a sum; None: the paper's.
        beta: exponent of a product, or of a reward; None: the paper's.
    """

    form: str = "none"
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.form not in FORM_NAMES:
            raise UsageError(f"no loss form {self.form!r}; {choices(self.form, FORM_NAMES)}")
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"{name} of the loss is at least 0, got {value}")

    @property
    def factor(self) -> float:
        """Alpha, the paper's where none is given."""
        return _WEIGHTS.get(self.form, (1.0, 0.0))[0] if self.alpha is None else self.alpha

    @property
    def power(self) -> float:
        """Beta, the paper's where none is given; of a reward where there is no form."""
        own = _WEIGHTS.get(self.form, (1.0, _REWARD_POWER))[1]
        return own if self.beta is None else self.beta


def unit_of(name: str) -> float:
    """Return by what a cost is multiplied before its logarithm is taken.

    FBNet's latencies are in microseconds; other small units likewise, so that the logarithms of
    networks' costs are above 0.
    """
    kind = name.partition("@")[0].partition(".")[0]
    if kind.endswith(("_ms", "_mj")):
        return 1000.0
    return 1024.0 if kind.endswith("_mib") else 1.0
