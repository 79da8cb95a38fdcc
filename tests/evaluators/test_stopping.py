"""Rules that end trainings early, against plain loops and constructed curves."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.evaluators.stopping import Curve, CurveExtrapolation, SuccessiveHalving


def dominated(point: tuple[float, ...], others: list[tuple[float, ...]]) -> bool:
    return any(
        all(a <= b for a, b in zip(other, point, strict=True)) and other != point
        for other in others
    )


def test_the_rungs_are_powers_of_eta() -> None:
    assert SuccessiveHalving(3).looks(27) == (1, 3, 9)
    assert SuccessiveHalving(2, first_epoch=3).looks(20) == (3, 6, 12)
    assert SuccessiveHalving(3).looks(1) == ()


def test_the_best_of_a_batch_go_on_front_by_front() -> None:
    rng = np.random.default_rng(0)
    curves = [Curve({1: float(a)}, (float(c),)) for a, c in rng.random((30, 2))]
    verdicts = SuccessiveHalving(3).judge([], curves, 1, 9)
    kept = [curve.point(1) for curve, why in zip(curves, verdicts, strict=True) if why is None]
    ended = [curve.point(1) for curve, why in zip(curves, verdicts, strict=True) if why]
    assert len(kept) == 10
    # Whoever dominates one that goes on goes on too.
    assert not any(dominated(point, ended) for point in kept)
    assert all(
        "of 30 by all objectives at equal epochs; 10 go on" in why for why in verdicts if why
    )


def test_costs_save_a_candidate_that_is_less_accurate() -> None:
    known = [Curve({1: 0.9}, (10.0,)), Curve({1: 0.8}, (5.0,)), Curve({1: 0.7}, (5.0,))]
    rule = SuccessiveHalving(2)
    cheap, beaten = Curve({1: 0.5}, (1.0,)), Curve({1: 0.5}, (10.0,))
    assert rule.judge(known, [cheap], 1, 9) == [None]
    (why,) = rule.judge(known, [beaten], 1, 9)
    assert why == "place 4 of 4 by all objectives at equal epochs; 2 go on"


def test_only_equal_epochs_are_compared() -> None:
    # Later accuracies of others are no measure of this one's first.
    known = [Curve({1: 0.3, 3: 0.95}), Curve({1: 0.2, 3: 0.9}), Curve({1: 0.1})]
    rule = SuccessiveHalving(3)
    assert rule.judge(known, [Curve({1: 0.4})], 1, 9) == [None]
    (why,) = rule.judge(known, [Curve({1: 0.4, 3: 0.5})], 3, 9)
    assert why is not None
    assert why.startswith("place 3 of 3")


def test_a_first_candidate_always_goes_on() -> None:
    assert SuccessiveHalving(4).judge([], [Curve({1: 0.1})], 1, 16) == [None]


def finished(rng: np.random.Generator, n: int) -> list[Curve]:
    """Curves that rise by what their first values say, and a little noise."""
    curves = []
    for _ in range(n):
        end = rng.uniform(0.5, 0.9)
        noise = rng.normal(0, 0.004, 4)
        shares = (0.5, 0.7, 0.9, 1.0)
        accuracies = {e: end * s + x for e, s, x in zip((1, 2, 3, 4), shares, noise, strict=True)}
        curves.append(Curve(accuracies, (float(rng.uniform(1, 2)),)))
    return curves


def test_a_curve_that_cannot_end_on_the_front_is_ended() -> None:
    rng = np.random.default_rng(1)
    known = [*finished(rng, 20), Curve({1: 0.46, 2: 0.64, 3: 0.82, 4: 0.92}, (1.0,))]
    rule = CurveExtrapolation()
    assert rule.looks(4) == (1, 2, 3)
    poor, good = Curve({1: 0.3, 2: 0.42}, (1.5,)), Curve({1: 0.48, 2: 0.67}, (1.5,))
    frugal = Curve({1: 0.3, 2: 0.42}, (0.5,))
    verdicts = rule.judge(known, [poor, good, frugal], 2, 4)
    assert verdicts[0] is not None
    assert "is dominated" in verdicts[0]
    assert verdicts[1:] == [None, None]


def test_few_finished_curves_end_nobody() -> None:
    rng = np.random.default_rng(1)
    stopped = [Curve({1: 0.1}, (9.0,))] * 50
    known = [*finished(rng, 7), *stopped]
    assert CurveExtrapolation(n_least=8).judge(known, [Curve({1: 0.1}, (9.0,))], 1, 4) == [None]
    assert CurveExtrapolation(n_least=7).judge(known, [Curve({1: 0.1}, (9.0,))], 1, 4) != [None]


def test_forecasts_hold_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    known, asked = finished(rng, 40), finished(rng, 400)
    upper = CurveExtrapolation(0.9)._upper_ends(known, asked, 2, 4)
    held = np.mean([curve.accuracies[4] <= end for curve, end in zip(asked, upper, strict=True)])
    assert 0.82 <= held <= 0.97


@pytest.mark.parametrize(
    "make",
    [
        lambda: SuccessiveHalving(1),
        lambda: SuccessiveHalving(3, first_epoch=0),
        lambda: CurveExtrapolation(1.0),
        lambda: CurveExtrapolation(n_least=2),
    ],
)
def test_settings_out_of_range_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(UsageError, match="at least"):
        make()
