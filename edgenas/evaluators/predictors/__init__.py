"""Predictors of accuracy: the published one, and those fitted to subnets of one's own supernet."""

from edgenas.evaluators.predictors.base import AccuracyPredictor
from edgenas.evaluators.predictors.files import load_predictor, save_predictor
from edgenas.evaluators.predictors.fitted import FittedPredictor
from edgenas.evaluators.predictors.fitting import fit_predictor
from edgenas.evaluators.predictors.published import PublishedPredictor, load_published
from edgenas.evaluators.predictors.sampling import choose_subnets

__all__ = [
    "AccuracyPredictor",
    "FittedPredictor",
    "PublishedPredictor",
    "choose_subnets",
    "fit_predictor",
    "load_predictor",
    "load_published",
    "save_predictor",
]
