"""Rules that break off the training of candidates which are not worth its end."""

from edgenas.evaluators.stopping.base import Curve, StoppingRule
from edgenas.evaluators.stopping.extrapolation import CurveExtrapolation
from edgenas.evaluators.stopping.halving import SuccessiveHalving

__all__ = ["Curve", "CurveExtrapolation", "StoppingRule", "SuccessiveHalving"]
