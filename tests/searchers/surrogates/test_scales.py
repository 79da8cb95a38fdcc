"""Scales of objectives."""

import numpy as np
import pytest

from edgenas.core.objective import Objective, objective
from edgenas.searchers.surrogates.scales import scale_of


@pytest.mark.parametrize(
    ("goal", "values"),
    [
        (objective("accuracy"), [0.1, 0.9, 0.95, 0.99]),
        (objective("latency_ms"), [40.0, 3.0, 1.0, 0.01]),
        (Objective("score", "points", "maximize"), [-3.0, 0.0, 5.0]),
    ],
)
def test_better_is_less_and_the_way_back_is_minimised(goal: Objective, values: list[float]) -> None:
    scale, given = scale_of(goal), np.array(values)
    modelled = scale.to(given)
    assert (np.diff(modelled) < 0).all()
    wanted = [goal.minimised(value) for value in values]
    assert scale.back(modelled).tolist() == pytest.approx(wanted)


def test_a_perfect_accuracy_has_a_place() -> None:
    assert np.isfinite(scale_of(objective("accuracy")).to(np.array([1.0]))).all()
