"""The part of a job file about a differentiable search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from edgenas.core.errors import UsageError
from edgenas.core.objective import Constraint
from edgenas.core.schema import StrictModel
from edgenas.oneshot.mixed.loss_settings import NEED_BUDGET
from edgenas.oneshot.mixed.settings import DifferentiableSettings, method, short
from edgenas.study.job_texts import LimitsText, ObjectiveName

_READ_BY = {
    "temperature": ("gumbel_softmax", "gumbel_hard"),
    "end_temperature": ("gumbel_softmax", "gumbel_hard"),
    "n_networks": ("score_function",),
}
"""By key, the relaxations that read it."""

_WEIGHTS_OF = {
    "alpha": ("fbnet", "sum", "proxylessnas_sum", "proxylessnas_product"),
    "beta": ("fbnet", "proxylessnas_product"),
}
"""By weight of the loss, the forms that have it."""


class LossSection(StrictModel):
    """The form of the loss (see `edgenas.oneshot.mixed.losses`); the rest is the method's own."""

    form: (
        Literal["none", "fbnet", "sum", "proxylessnas_sum", "proxylessnas_product", "budget"] | None
    ) = None
    alpha: float | None = Field(default=None, ge=0)
    beta: float | None = Field(default=None, ge=0)


class DifferentiableSection(StrictModel):
    """A differentiable search: the supernet's choices learn beside its weights.

    What is not given is the method's own (see `edgenas.oneshot.mixed.settings`). How the weights
    learn, and for how long, stands in `training`; the warm-up's epochs are some of these.
    """

    method: str = "fbnet"
    """One of `edgenas.oneshot.mixed.settings.METHODS`."""
    pace: Literal["short", "paper"] = "short"
    """``short`` is for a few thousand steps on a CPU."""
    loss: LossSection = LossSection()
    """By default ``budget`` where there are limits, else the method's own."""
    costs: tuple[ObjectiveName, ...] | None = None
    """What the loss reads beside the accuracy; by default what is limited, or else the costs among
    the objectives."""
    budgets: tuple[LimitsText, ...] = ()
    """A sweep: one distribution for each of these limits, from the same weights. By default one,
    for the job's constraints."""
    warmup_epochs: int | None = Field(default=None, ge=0)
    logits_lr: float | None = Field(default=None, gt=0)
    logits_every: int | None = Field(default=None, ge=1)
    logits_share: float | None = Field(default=None, ge=0, lt=1)
    order: Literal[1, 2] | None = None
    temperature: float | None = Field(default=None, gt=0)
    end_temperature: float | None = Field(default=None, gt=0)
    entropy_weight: float | None = Field(default=None, ge=0)
    n_networks: int | None = Field(default=None, ge=1)
    channel_parts: int | None = Field(default=None, ge=1)
    weights: Literal["elastic", "separate"] | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        try:
            method(self.method)  # what else it reads depends on the job's limits, see `Job`
            if self.budgets:
                self.settings(has_limits=True)
            limits = [self.limits_of(text) for text in self.budgets]
        except UsageError as error:
            raise ValueError(str(error)) from error
        named = {tuple(sorted(_limited(one) for one in own)) for own in limits}
        names = {one.name for own in limits for one in own}
        if "accuracy" in names or "accuracy" in (self.costs or ()):
            raise ValueError("accuracy is what the weights and choices learn; limit costs alone")
        if len(named) > 1:
            raise ValueError(
                "budgets limit different costs; all limit the same ones: "
                f"{'; '.join(', '.join(own) for own in sorted(named))}"
            )
        return self

    @model_validator(mode="after")
    def _is_all_read(self) -> Self:
        """Refuse what the method, or the form of its loss, never looks at."""
        chosen = method(self.method)
        idle = [
            key
            for key, relaxations in _READ_BY.items()
            if getattr(self, key) is not None and chosen.relaxation not in relaxations
        ]
        if idle:
            raise ValueError(
                f"{self.method} does not read {', '.join(idle)}; leave it out, or take another "
                "method"
            )
        return self

    def channel_parts_of(self) -> int:
        """Return in how many parts the channels of candidates are divided."""
        return self.channel_parts or method(self.method).channel_parts

    @staticmethod
    def limits_of(text: str) -> tuple[Constraint, ...]:
        """Return the constraints of one budget of the sweep."""
        return tuple(Constraint.parse(part) for part in text.split(","))

    def settings(self, *, has_limits: bool) -> DifferentiableSettings:
        """Return the settings of the search, as far as they stand in this section.

        Args:
            has_limits: whether costs are limited, by the job or by a budget.

        Raises:
            UsageError: no such method, a value out of range, or a form without a limit.
        """
        chosen = method(self.method)
        if self.pace == "short":
            chosen = short(chosen)
        about = {"method", "pace", "loss", "costs", "budgets", "warmup_epochs"}
        given = self.model_dump(exclude_none=True, exclude=about)
        loss: dict[str, Any] = self.loss.model_dump(exclude_none=True)
        if has_limits and chosen.relaxation != "score_function":
            loss.setdefault("form", "budget")
        chosen = replace(chosen, loss=replace(chosen.loss, **loss))
        is_reward = chosen.relaxation == "score_function"
        for key, forms in _WEIGHTS_OF.items():
            reads = key == "beta" if is_reward else chosen.loss.form in forms
            if key in loss and not reads:
                what = "a reward" if is_reward else f"the form {chosen.loss.form}"
                raise UsageError(f"loss.{key} is no weight of {what}; leave it out")
        if chosen.loss.form in NEED_BUDGET and not has_limits:
            raise UsageError(
                f"the loss form {chosen.loss.form} compares costs with a limit, and there is none; "
                "write constraints or search.differentiable.budgets"
            )
        return replace(chosen, **given)


def _limited(limit: Constraint) -> str:
    """Return what is limited, at which confidence: two of those are two costs."""
    at = "" if limit.confidence is None else f" @ {limit.confidence:.0%}"
    return f"{limit.name}{at}"
