"""MONAS."""

from typing import ClassVar

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.core.objective import objective
from edgenas.searchers import MonasSearcher, SearchProblem, make_searcher
from edgenas.searchers.monas import MonasSettings
from edgenas.testing.searcher_contract import (
    SearcherContract,
    run,
    tiny_costs,
    tiny_problem,
    tiny_space,
)


class TestContract(SearcherContract):
    factory = "edgenas.searchers.monas:MonasSearcher"
    settings: ClassVar = {"batch_size": 8, "n_hidden": 8, "n_weights": 3, "n_free": 4}


class TestPaperContract(SearcherContract):
    """One weight, no free draws, no memory: the paper's own."""

    factory = "edgenas.searchers.monas:MonasSearcher"
    settings: ClassVar = {
        "alpha": 0.5,
        "batch_size": 8,
        "n_hidden": 8,
        "n_free": 0,
        "memory": 8,
    }


def drawn(settings: dict[str, object], name: str) -> tuple[float, float]:
    """Return means of what the controller draws after and before learning, over four seeds."""
    means = []
    for seed in range(4):
        searcher = make_searcher("monas", tiny_problem(), seed=seed, settings=settings)
        assert isinstance(searcher, MonasSearcher)
        rng, conditions = np.random.default_rng(0), np.zeros(500, dtype=np.int64)
        before = tiny_costs(searcher.controller.sample(conditions, rng))[name].mean()
        run(searcher, 60)
        after = tiny_costs(searcher.controller.sample(conditions, rng))[name].mean()
        means.append((after, before))
    after, before = np.mean(means, axis=0)
    return float(after), float(before)


def test_accuracy_alone_is_raised_with_all_weight_on_it() -> None:
    after, before = drawn({"alpha": 1.0, "batch_size": 6}, "accuracy")
    assert after > before + 0.05


def test_cost_alone_is_lowered_with_no_weight_on_accuracy() -> None:
    after, before = drawn({"alpha": 0.0, "batch_size": 6}, "latency_ms")
    assert after < before - 0.5


def test_a_limit_on_any_cost_is_kept_more_and_more() -> None:
    settings = {"reward": "constrained_cost", "threshold": 2.5, "batch_size": 6}
    after, before = drawn(settings, "latency_ms")
    assert after < before - 0.2


def test_a_least_accuracy_lets_the_cost_fall() -> None:
    settings = {"reward": "constrained_accuracy", "threshold": 0.3, "batch_size": 6}
    after, before = drawn(settings, "latency_ms")
    assert after < before - 0.2


def test_free_draws_do_not_change_what_is_aimed_at() -> None:
    """Without them, the paper's own way, the same cost falls, if more slowly."""
    settings = {"alpha": 0.0, "batch_size": 6, "n_free": 0, "memory": 6}
    after, before = drawn(settings, "latency_ms")
    assert after < before - 0.1


def test_one_objective_needs_no_weights() -> None:
    problem = SearchProblem(tiny_space(), (objective("accuracy"),))
    assert MonasSearcher(problem).n_conditions == 1
    assert len(run(MonasSearcher(problem), 20)) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward": "sum"}, "reward is one of"),
        ({"alpha": 1.5}, r"alpha lies in \[0, 1\]"),
        ({"reward": "constrained_accuracy"}, "needs a threshold"),
        ({"reward": "mixed", "threshold": 1.0}, "has no threshold"),
        ({"reward": "constrained_cost", "alpha": 0.5}, "has no weight alpha"),
        ({"reward": "best"}, "reward is one of mixed, constrained_cost"),
        ({"n_weights": 0}, "n_weights is at least 1"),
        ({"rate": 0.0}, "rate is above 0"),
        ({"memory": 0}, "memory is at least 1"),
        ({"entropy_weight": -1.0}, "entropy_weight"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MonasSettings(**settings)  # type: ignore[arg-type]


def test_an_unknown_cost_is_refused() -> None:
    settings = {"reward": "constrained_cost", "threshold": 1.0, "cost": "energy_mj"}
    with pytest.raises(UsageError, match="'energy_mj' is no cost here"):
        make_searcher("monas", tiny_problem(), settings=settings)


def test_every_weight_is_aimed_at_in_small_batches_too() -> None:
    searcher = MonasSearcher(tiny_problem(), settings=MonasSettings(batch_size=4, n_weights=8))
    aimed: list[int] = []
    sample = searcher.controller.sample

    def noting(conditions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if len(conditions) == 4:  # proposals; free draws are more
            aimed.extend(conditions.tolist())
        return sample(conditions, rng)

    searcher.controller.sample = noting  # type: ignore[method-assign]
    run(searcher, 40)
    assert set(aimed) == set(range(8))


def test_a_constrained_reward_needs_something_to_raise() -> None:
    problem = SearchProblem(tiny_space(), (objective("latency_ms"), objective("n_macs")))
    settings = {"reward": "constrained_cost", "threshold": 1.0}
    with pytest.raises(UsageError, match="is to maximize, got latency_ms"):
        make_searcher("monas", problem, settings=settings)
