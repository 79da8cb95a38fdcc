"""The parts of a job file about training: of the supernet, of every candidate, of the pick."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from edgenas.core.errors import UsageError
from edgenas.core.schema import StrictModel
from edgenas.oneshot.schedules import SCHEDULES
from edgenas.oneshot.settings import TrainingSettings, scheduled


class FinetuneSection(StrictModel):
    """Training of one network; what is not given comes from the preset of the data set."""

    epochs: int | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=2)
    lr: float | None = Field(default=None, gt=0)
    warmup_fraction: float | None = Field(default=None, ge=0, lt=1)
    momentum: float | None = Field(default=None, gt=0, lt=1)
    weight_decay: float | None = Field(default=None, ge=0)
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    max_gradient_norm: float | None = Field(default=None, gt=0)
    n_random_subnets: int | None = Field(default=None, ge=0)
    augment: bool | None = None
    threads: int | None = Field(default=None, ge=1)
    accelerator: Literal["auto", "cpu", "gpu"] | None = None
    devices: int | None = Field(default=None, ge=1)
    precision: Literal["32-true", "bf16-mixed"] | None = None
    checkpoint_minutes: float | None = Field(default=None, ge=0)
    seed: int = Field(default=0, ge=0)

    def over(self, preset: TrainingSettings) -> TrainingSettings:
        """Return `preset` changed as this section says."""
        return replace(preset, **self._given())

    def _given(self) -> dict[str, Any]:
        known = {field.name for field in fields(TrainingSettings)} - {"phases"}
        return self.model_dump(exclude_none=True, include=known)


class QuantisedSection(StrictModel):
    """Quantisation-aware training of a pick whose 8-bit file loses too much.

    It is held against the network in float32, on the validation part. What is not given is as in
    the fine-tuning of the pick, at a tenth of its rate.
    """

    most_lost_points: float | None = Field(default=1.0, ge=0)
    """In percent of the images; a file that loses more is trained on. None: never."""
    epochs: int = Field(default=3, ge=1)
    lr: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)


class PickFinetuneSection(FinetuneSection):
    """Training of the pick, and what is done if it does not bear its precision."""

    quantised: QuantisedSection = QuantisedSection()


class CandidatesSection(FinetuneSection):
    """Training of every candidate of a search from fresh weights; no supernet is trained then.

    What is not given comes from the preset of the data set. `stopping` breaks off trainings that
    are not worth their end: ``halving`` lets the best of every `eta` go on after 1, `eta`, ...
    epochs, by all objectives; ``curves`` those whose learning curve may end on the front.
    """

    epochs: int | None = Field(default=None, ge=1)
    n_train_images: int | None = Field(default=None, ge=2)
    """Each is trained on this many of the training images; by default on all."""
    stopping: Literal["halving", "curves", "none"] = "halving"
    eta: int = Field(default=3, ge=2)
    inherit: bool = True
    """Whether candidates begin with their parent's weights, where the searcher names parents."""


class PhaseSection(StrictModel):
    """Changes of one phase of a schedule (see `edgenas.oneshot.phases.Phase`)."""

    epochs: int | None = Field(default=None, ge=0)
    lr: float | None = Field(default=None, gt=0)
    n_subnets: int | None = Field(default=None, ge=1)
    elastic: dict[str, Literal["all"] | int | tuple[int | float, ...]] | None = None
    distillation: float | None = Field(default=None, ge=0)
    sort_stage: int | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=2)
    warmup_fraction: float | None = Field(default=None, ge=0, lt=1)


class TrainingSection(FinetuneSection):
    """Training of the supernet: the sandwich, or a schedule of phases and changes of them.

    With a schedule, what is not given is as the schedule has it, and epochs and rates are given by
    phase. With `weights` nothing is trained.
    """

    schedule: str | None = None
    """One of `edgenas.oneshot.schedules.SCHEDULES`; not given is ``sandwich``."""
    phases: dict[str, PhaseSection] = Field(default_factory=dict)
    weights: str | None = None
    """A supernet that ``edgenas ofa import`` wrote; the space is that of its description."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = {*self._given(), *(["schedule"] if self.schedule else [])} - {"threads"}
        if self.weights is not None and (given or self.phases):
            raise ValueError(
                f"{', '.join(sorted(given)) or 'phases'} beside weights, which are not trained; "
                "leave out the one or the other"
            )
        try:
            self.over(TrainingSettings(epochs=1))
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    def over(self, preset: TrainingSettings) -> TrainingSettings:
        """Return `preset`, or the settings of the schedule, changed as this section says.

        Raises:
            UsageError: no such schedule or phase, or something that the phases decide.
        """
        if self.schedule in (None, "sandwich"):
            if self.phases:
                raise UsageError(
                    f"phases {', '.join(self.phases)} without a schedule; name one: schedule: ..., "
                    f"allowed: {', '.join(SCHEDULES)}"
                )
            return super().over(preset)
        given = self._given()
        if decided := sorted({"epochs", "lr", "n_random_subnets"} & set(given)):
            raise UsageError(
                f"{', '.join(decided)} beside the schedule {self.schedule}, whose phases decide "
                "that; write phases: {full: {epochs: ...}}"
            )
        changes = {name: phase.model_dump(exclude_none=True) for name, phase in self.phases.items()}
        return scheduled(str(self.schedule), changes, **given)
