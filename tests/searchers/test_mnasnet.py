"""MnasNet's search."""

from typing import ClassVar

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.core.objective import objective
from edgenas.searchers import MnasNetSearcher, SearchProblem, make_searcher
from edgenas.searchers.mnasnet import MnasNetSettings
from edgenas.testing.searcher_contract import SearcherContract, run, tiny_problem, tiny_space


class TestContract(SearcherContract):
    factory = "edgenas.searchers.mnasnet:MnasNetSearcher"
    settings: ClassVar = {"batch_size": 8, "n_hidden": 8, "n_targets": 3, "n_free": 4}


class TestPaperContract(SearcherContract):
    """One target, no free draws, no memory: the paper's own."""

    factory = "edgenas.searchers.mnasnet:MnasNetSearcher"
    settings: ClassVar = {
        "target": 3.0,
        "batch_size": 8,
        "n_hidden": 8,
        "n_free": 0,
        "memory": 8,
    }


def test_the_last_target_is_the_limit_if_there_is_one() -> None:
    searcher = MnasNetSearcher(tiny_problem(2.5), settings=MnasNetSettings(n_targets=4))
    assert searcher.n_conditions == 4
    assert searcher._targets(1)[-1] == pytest.approx(2.5)
    one = MnasNetSearcher(tiny_problem(2.5), settings=MnasNetSettings(target=2.0))
    assert one._targets(1).tolist() == [2.0]


def test_without_one_targets_are_spread_over_what_architectures_cost() -> None:
    searcher = MnasNetSearcher(tiny_problem(), settings=MnasNetSettings(n_targets=4))
    targets = searcher._targets(1)
    assert searcher.n_conditions == 4
    assert np.ptp(np.diff(np.log(targets))) < 1e-9
    assert 1.0 < targets[0] < 3.0 < targets[-1]


def test_rewards_are_the_paper_s() -> None:
    values = np.array([[0.75, 40.0], [0.75, 160.0]])
    soft = MnasNetSearcher(tiny_problem(), settings=MnasNetSettings(target=80.0))
    np.testing.assert_allclose(soft._rewards(values)[:, 0], 0.75 * np.array([0.5, 2.0]) ** -0.07)
    hard = MnasNetSearcher(tiny_problem(), settings=MnasNetSettings(target=80.0, reward="hard"))
    np.testing.assert_allclose(hard._rewards(values)[:, 0], [0.75, 0.375])
    own = MnasNetSettings(target=80.0, alpha=-0.15, beta=-0.15)
    found = MnasNetSearcher(tiny_problem(), settings=own)._rewards(values)[:, 0]
    np.testing.assert_allclose(found, 0.75 * np.array([0.5, 2.0]) ** -0.15)


def test_reward_rises() -> None:
    gains = []
    for seed in range(4):
        settings = {"target": 2.5, "reward": "hard", "batch_size": 6, "rate": 0.01}
        searcher = make_searcher("mnasnet", tiny_problem(), seed=seed, settings=settings)
        told = [e for e in run(searcher, 90) if e.values]
        values = np.array([[e.values["accuracy"], e.values["latency_ms"]] for e in told])
        found = searcher._rewards(values)[:, 0]  # type: ignore[attr-defined]
        gains.append(found[-25:].mean() - found[:25].mean())
    assert np.mean(gains) > 0.02


def test_a_cost_is_needed() -> None:
    with pytest.raises(UsageError, match="mnasnet needs a cost beside accuracy"):
        MnasNetSearcher(SearchProblem(tiny_space(), (objective("accuracy"),)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward": "firm"}, "reward is 'soft' or 'hard'"),
        ({"target": -1.0}, "target is above 0"),
        ({"clip": 1.0}, "clip lies in"),
        ({"n_steps": 0}, "n_steps is at least 1"),
        ({"n_targets": 0}, "n_targets is at least 1"),
        ({"batch_size": 0}, "batch_size is at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MnasNetSettings(**settings)  # type: ignore[arg-type]


def test_costs_of_zero_leave_rewards_finite() -> None:
    searcher = MnasNetSearcher(tiny_problem(), settings=MnasNetSettings(target=80.0))
    assert np.isfinite(searcher._rewards(np.array([[0.75, 0.0]]))).all()
