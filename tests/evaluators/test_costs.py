"""Cheap costs, and evaluators that ask the dear one last."""

from collections.abc import Sequence

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import InfeasibleError, SpaceError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, objective
from edgenas.evaluators.base import Evaluator
from edgenas.evaluators.combined import CombinedEvaluator
from edgenas.evaluators.costs import CheapCosts
from edgenas.searchers import RandomSearcher, SearchProblem
from edgenas.spaces import fold
from edgenas.spaces.budget import BudgetProgram

SPACE = spaces.get("mbv3_tiny")
ROWS = SPACE.sample(300, np.random.default_rng(0))


class Model:
    """A latency model: so many ms a million MACs, its upper end `confidence` / 5 higher."""

    def __init__(self) -> None:
        macs = fold.macs(SPACE)
        self.fold = fold.Fold(SPACE, [table / 1e6 for table in macs.tables], offset=0.25)

    def upper(self, population: Genes, confidence: float | None) -> np.ndarray:
        return self.fold(population) * (1 + (confidence or 0) / 5)

    def budget_on_value(self, limit_ms: float, confidence: float | None) -> float:
        return limit_ms / (1 + (confidence or 0) / 5)

    def least(self, confidence: float | None) -> float:
        return BudgetProgram(self.fold).least()[0] * (1 + (confidence or 0) / 5)


MODEL = Model()
MEDIAN_MS = float(np.median(MODEL.fold(ROWS)))


def costs(*constraints: str, names: Sequence[str] = ("accuracy", "latency_ms")) -> CheapCosts:
    parsed = [Constraint.parse(text) for text in constraints]
    return CheapCosts(SPACE, names, models={"latency_ms": MODEL}, constraints=parsed)


def test_values_and_upper_ends_of_a_population() -> None:
    cheap = costs("latency_ms <= 2 @ 90%", "n_params <= 1e6")
    found = cheap(ROWS)
    assert cheap.names == ("latency_ms", "n_params")
    assert set(found) == {"latency_ms", "latency_ms@0.9", "n_params"}
    assert found["latency_ms@0.9"] == pytest.approx(found["latency_ms"] * 1.18)
    assert found["n_params"] == pytest.approx(fold.params(SPACE)(ROWS))


def test_violations_are_relative_and_summed_and_at_the_confidence() -> None:
    n_params = fold.params(SPACE)(ROWS)
    limit = float(np.median(n_params))
    found = costs(f"latency_ms <= {MEDIAN_MS} @ 90%", f"n_params <= {limit}").violations(ROWS)
    late = np.maximum(MODEL.upper(ROWS, 0.9) - MEDIAN_MS, 0) / MEDIAN_MS
    large = np.maximum(n_params - limit, 0) / limit
    assert found == pytest.approx(late + large)
    assert 0 < (found == 0).sum() < len(ROWS) / 2
    assert costs()(ROWS).keys() == {"latency_ms"}
    assert costs().violations(ROWS).tolist() == [0.0] * len(ROWS)


def test_the_least_of_sums_predictions_and_peaks() -> None:
    cheap = costs()
    macs, peak = fold.macs(SPACE), fold.peak_activation_kib(SPACE)
    assert cheap.least("n_macs") == BudgetProgram(macs).least()[0]
    assert cheap.least("latency_ms", 0.5) == pytest.approx(MODEL.least(None) * 1.1)
    least = cheap.least("peak_activation_kib")
    assert least <= peak(ROWS).min()
    assert least == peak(SPACE.smallest()[None])[0]


def test_draws_keep_a_sum_and_a_peak() -> None:
    peak = fold.peak_activation_kib(SPACE)
    limit = float(np.quantile(peak(ROWS), 0.3))
    cheap = costs(f"latency_ms <= {MEDIAN_MS * 0.8} @ 90%", f"peak_activation_kib <= {limit}")
    drawn = cheap.draw(200, np.random.default_rng(1))
    assert cheap.violations(drawn).max() == 0
    assert len(np.unique(drawn, axis=0)) > 100
    only_peak = costs(f"peak_activation_kib <= {limit}").draw(200, np.random.default_rng(1))
    assert peak(only_peak).max() <= limit
    assert costs().draw(5, np.random.default_rng(1)).shape == (5, SPACE.n_genes)


def test_a_search_over_cheap_costs_proposes_feasible_ones_only() -> None:
    cheap = costs(f"latency_ms <= {MODEL.least(0.9) * 1.2} @ 90%")
    goals = (objective("accuracy"), objective("latency_ms"))
    problem = SearchProblem(SPACE, goals, cheap.constraints, cheap, cheap.draw)
    archs = RandomSearcher(problem, seed=0).ask(50)
    assert cheap.violations(np.array([arch.genes for arch in archs], np.int8)).max() == 0


@pytest.mark.parametrize(
    ("constraint", "least"),
    [
        ("latency_ms <= 0.01 @ 90%", MODEL.least(0.9)),
        ("n_macs <= 10", BudgetProgram(fold.macs(SPACE)).least()[0]),
        ("peak_activation_kib <= 1", fold.peak_activation_kib(SPACE)(SPACE.smallest()[None])[0]),
    ],
)
def test_an_infeasible_budget_is_refused_with_the_least(constraint: str, least: float) -> None:
    with pytest.raises(InfeasibleError, match=f"is {least:.6g}; allow") as caught:
        costs(constraint).check_feasible()
    assert str(Constraint.parse(constraint)) in str(caught.value)
    costs("latency_ms <= 1000 @ 90%", "accuracy >= 0.5", "n_macs <= 1e12").check_feasible()


def test_confidence_on_a_count_and_unknown_costs_are_refused() -> None:
    with pytest.raises(UsageError, match="n_macs is counted, not predicted"):
        costs("n_macs <= 1e6 @ 90%")
    with pytest.raises(UsageError, match="accuracy has no cost model here"):
        costs().least("accuracy")
    with pytest.raises(UsageError, match="accuracy has no cost model here"):
        costs().upper("accuracy", 0.9, [])


class Dear(Evaluator):
    """Accuracy by the number of genes; counts what it was asked; `how` it goes wrong."""

    objectives = ("accuracy",)

    def __init__(self, how: str = "") -> None:
        self.how, self.asked = how, 0

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        self.asked += len(archs)
        found = [self._one(i, arch) for i, arch in enumerate(archs)]
        return found[::-1] if self.how == "order" else found

    def _one(self, i: int, arch: Architecture) -> Evaluation:
        if i % 3 == 1:
            return Evaluation(arch, "failed", error="diverged")
        accuracy = float("nan") if i % 3 == 2 else sum(arch.genes) / 100
        return Evaluation(arch, "complete", {"accuracy": accuracy, "loss": 1.5})


ARCHS = SPACE.architectures(ROWS[:40])
GOALS = (objective("accuracy"), objective("latency_ms"))


def test_infeasible_ones_never_reach_the_dear_evaluator_and_failures_are_values() -> None:
    cheap, dear = costs(f"latency_ms <= {MEDIAN_MS}"), Dear()
    found = CombinedEvaluator(cheap, dear, objectives=GOALS).evaluate(ARCHS)
    assert [e.arch for e in found] == ARCHS
    slow = MODEL.fold(ROWS[:40]) > MEDIAN_MS
    assert [e.status == "infeasible" for e in found] == slow.tolist()
    assert dear.asked == (~slow).sum()
    for evaluation in found:
        assert evaluation.values["latency_ms"] > 0
        assert (evaluation.violation > 0) == (evaluation.status == "infeasible")
    feasible = [e for e in found if e.status != "infeasible"]
    assert [e.status for e in feasible[:3]] == ["complete", "failed", "failed"]
    assert [e.error for e in feasible[:3]] == [None, "diverged", "accuracy is nan"]
    assert set(feasible[0].values) == {"accuracy", "loss", "latency_ms"}


def test_a_constraint_on_a_dear_objective_is_checked_once_it_is_known() -> None:
    evaluator = CombinedEvaluator(
        costs(), Dear(), objectives=GOALS, constraints=[Constraint("accuracy", 0.9)]
    )
    first = evaluator.evaluate(ARCHS[:1])[0]
    assert first.status == "infeasible"
    assert first.violation == pytest.approx((0.9 - first.values["accuracy"]) / 0.9)


def test_cheap_objectives_alone_need_no_evaluator() -> None:
    goals = (objective("latency_ms"), objective("n_params"))
    cheap = costs(names=("latency_ms", "n_params"))
    found = CombinedEvaluator(cheap, None, objectives=goals).evaluate(ARCHS)
    assert {e.status for e in found} == {"complete"}
    with pytest.raises(UsageError, match="nothing evaluates accuracy"):
        CombinedEvaluator(cheap, None, objectives=GOALS)


def test_wrong_answers_and_wrong_architectures_are_refused() -> None:
    with pytest.raises(UsageError, match="Dear was given 40 architectures"):
        CombinedEvaluator(costs(), Dear("order"), objectives=GOALS).evaluate(ARCHS)
    wrong = [Architecture(SPACE.name, (99,) * SPACE.n_genes)]
    with pytest.raises(SpaceError, match="allowed: 0 to"):
        CombinedEvaluator(costs(), Dear(), objectives=GOALS).evaluate(wrong)
