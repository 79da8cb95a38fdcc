"""Search by a predictor: the contract, rounds, what is learned, where nothing is to be learned."""

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, objective
from edgenas.pareto import hypervolume
from edgenas.searchers import PredictorSearcher, RandomSearcher, Searcher, SearchProblem
from edgenas.searchers.learner import LinearLearner
from edgenas.searchers.predictor import PredictorSettings
from edgenas.spaces import fold
from edgenas.spaces.base import SearchSpace
from edgenas.testing.searcher_contract import SearcherContract, run, tiny_problem, tiny_space

GOALS = (objective("accuracy"), objective("n_macs"))


class TestContract(SearcherContract):
    factory = "edgenas.searchers.predictor:PredictorSearcher"
    settings = {"n_first": 20, "n_between": 10, "n_predictions": 2000}  # noqa: RUF012


def problem(*, limit: float | None = None) -> SearchProblem:
    space = spaces.get("mbv3_tiny")
    macs = fold.macs(space)
    return SearchProblem(
        space,
        GOALS,
        () if limit is None else (Constraint("n_macs", limit),),
        lambda population: {"n_macs": macs(population)},
        folds={"n_macs": macs},
    )


def made_up(population: Genes) -> np.ndarray:
    """Return an accuracy that grows with the options and is bent a little, each (n,)."""
    weights = np.linspace(0.2, 1.0, population.shape[1])
    total = population.astype(np.float64) @ weights / weights.sum() / 2
    return 0.6 + 0.3 * np.tanh(1.5 * total)


def evaluate(asked: SearchProblem, archs: list[Architecture]) -> list[Evaluation]:
    rows = np.array([arch.genes for arch in archs], dtype=np.int8)
    costs = fold.macs(asked.space)(rows)
    return [
        Evaluation(arch, "complete", {"accuracy": float(a), "n_macs": float(c)})
        for arch, a, c in zip(archs, made_up(rows), costs, strict=True)
    ]


def search(searcher: Searcher, n: int) -> np.ndarray:
    """Return the points of `n` evaluations, minimised, shape (n, 2)."""
    points = []
    for _ in range(n // 10):
        found = evaluate(searcher.problem, searcher.ask(10))
        searcher.tell(found)
        points += [[-e.values["accuracy"], e.values["n_macs"] / 1e7] for e in found]
    return np.array(points)


def test_it_finds_more_than_random_search() -> None:
    settings = PredictorSettings(n_first=40, n_between=30, n_predictions=5000)
    ours = search(PredictorSearcher(problem(), seed=1, settings=settings), 100)
    drawn = search(RandomSearcher(problem(), seed=1), 100)
    reference = [-0.6, 1.0]
    assert hypervolume(ours, reference) > 1.1 * hypervolume(drawn, reference)


def test_the_first_ones_are_those_that_the_learner_chooses() -> None:
    class Learner(LinearLearner):
        def choose(self, space: SearchSpace, n: int, *, seed: int) -> Genes:
            return np.stack([space.smallest(), space.largest()])

    asked = problem()
    learning = SearchProblem(
        asked.space, asked.objectives, (), asked.cheap, None, asked.folds, Learner()
    )
    first, second, third = PredictorSearcher(learning, seed=0).ask(3)
    space = asked.space
    assert first.row.tolist() == space.smallest().tolist()
    assert second.row.tolist() == space.largest().tolist()
    assert third.genes not in (first.genes, second.genes)


def test_a_fit_is_made_of_complete_evaluations_only() -> None:
    seen: list[int] = []

    class Learner(LinearLearner):
        def fit(self, space, population, values, *, seed):  # type: ignore[no-untyped-def]
            seen.append(len(values))
            assert np.isfinite(values).all()
            return super().fit(space, population, values, seed=seed)

    asked = tiny_problem()
    learning = SearchProblem(asked.space, asked.objectives, (), asked.cheap, None, {}, Learner())
    settings = PredictorSettings(n_first=20, n_between=15, n_predictions=500)
    told = run(PredictorSearcher(learning, seed=3, settings=settings), 60)
    assert any(evaluation.status == "failed" for evaluation in told)
    assert seen[:2] == [20, 35]


def test_proposals_of_a_round_keep_the_constraints() -> None:
    settings = PredictorSettings(n_first=10, n_between=10, n_predictions=3000)
    searcher = PredictorSearcher(problem(limit=3e6), seed=2, settings=settings)
    points = search(searcher, 40)
    assert (points[:, 1] <= 0.3).all()


def test_with_cheap_objectives_alone_the_front_is_proposed_at_once() -> None:
    space = spaces.get("mbv3_tiny")
    macs, params = fold.macs(space), fold.params(space)

    def cheap(population: Genes) -> dict[str, np.ndarray]:
        return {"n_macs": macs(population), "accuracy": made_up(population)}

    asked = SearchProblem(space, GOALS, (), cheap, folds={"n_macs": macs, "n_params": params})
    settings = PredictorSettings(n_predictions=20_000)
    archs = PredictorSearcher(asked, seed=0, settings=settings).ask(30)
    rows = np.array([arch.genes for arch in archs], dtype=np.int8)
    points = np.stack([-made_up(rows), macs(rows)], axis=1)
    dominated = [
        (np.delete(points, i, axis=0) <= points[i]).all(axis=1).any() for i in range(len(points))
    ]
    assert not any(dominated)
    # Few of them are spread over the whole front already.
    first = macs(rows[:8])
    assert first.max() > 4 * first.min()


def test_a_linear_learner_finds_a_linear_function() -> None:
    space = tiny_space()
    rng = np.random.default_rng(0)
    rows = space.sample(200, rng)
    weights = rng.normal(size=int(space.n_options.sum()))
    fitted = LinearLearner().fit(space, rows, space.encode(rows) @ weights, seed=0)
    more = space.sample(50, rng)
    np.testing.assert_allclose(fitted(more), space.encode(more) @ weights, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("field", ["n_first", "n_between", "n_predictions"])
def test_settings_are_checked(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        PredictorSettings(**{field: 0})
