"""Predicted accuracy as objective values: order, checks, failures as values."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import SpaceError
from edgenas.evaluators.predicted import PredictedAccuracy
from edgenas.evaluators.predictors import AccuracyPredictor
from edgenas.evaluators.predictors.base import Floats


class ByDepth(AccuracyPredictor):
    """Deeper is better; the largest network breaks it."""

    def __call__(self, population: Genes) -> Floats:
        columns = [self.space.index[f"stage{s}.depth"] for s in (1, 2, 3)]
        deepest = (population == self.space.largest()).all(axis=1)
        return np.where(deepest, np.nan, 0.5 + population[:, columns].sum(axis=1) / 100)


def test_values_come_in_order_and_a_failure_stops_no_other() -> None:
    space = spaces.get("mbv3_tiny")
    evaluator = PredictedAccuracy(ByDepth(space))
    rows = np.vstack([space.sample(5, np.random.default_rng(0)), space.largest()])
    archs = space.architectures(rows)
    found = evaluator.evaluate(archs)
    assert [evaluation.arch for evaluation in found] == archs
    assert [evaluation.status for evaluation in found] == ["complete"] * 5 + ["failed"]
    assert found[0].values == {"accuracy": pytest.approx(ByDepth(space)(rows[:1])[0])}
    assert found[5].error == "the predicted accuracy is nan"
    assert evaluator.evaluate([]) == []


def test_architectures_of_another_space_are_refused() -> None:
    space = spaces.get("mbv3_tiny")
    evaluator = PredictedAccuracy(ByDepth(space))
    with pytest.raises(SpaceError, match="architectures of other given to mbv3_tiny"):
        evaluator.evaluate([Architecture("other", (0,) * space.n_genes)])
    with pytest.raises(SpaceError, match="allowed: 0 to 2"):
        evaluator.evaluate([Architecture("mbv3_tiny", (9,) * space.n_genes)])
