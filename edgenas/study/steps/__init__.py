"""The steps of a run, in order; one file a step."""

from __future__ import annotations

from edgenas.study.chain import Step
from edgenas.study.steps.bundle import BUNDLE
from edgenas.study.steps.export import EXPORT_STEP
from edgenas.study.steps.finalists import FINALISTS_STEP
from edgenas.study.steps.finetune import FINETUNE
from edgenas.study.steps.measure import MEASURE
from edgenas.study.steps.pick import PICK_STEP
from edgenas.study.steps.profile import PROFILE
from edgenas.study.steps.quantise import QUANTISE
from edgenas.study.steps.report import REPORT
from edgenas.study.steps.search import SEARCH
from edgenas.study.steps.train import TRAIN

STEPS: tuple[Step, ...] = (
    PROFILE,
    TRAIN,
    SEARCH,
    FINALISTS_STEP,
    PICK_STEP,
    FINETUNE,
    QUANTISE,
    EXPORT_STEP,
    MEASURE,
    BUNDLE,
    REPORT,
)
"""Every step, in the order in which the chain goes through them."""

__all__ = ["STEPS"]
