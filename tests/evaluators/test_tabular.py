"""Values out of tables: means of repeats, what is missing, and evaluators made of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.architecture import Architecture
from edgenas.core.errors import SpaceError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import objective
from edgenas.evaluators.base import Evaluator
from edgenas.evaluators.combinations import FirstThatKnows, JointEvaluator
from edgenas.evaluators.combined import sound
from edgenas.evaluators.tabular import TabularValues
from edgenas.spaces.base import SearchSpace


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return spaces.get("nas_bench_macro")


@pytest.fixture(scope="module")
def archs(space: SearchSpace) -> list[Architecture]:
    return space.architectures(np.unique(space.sample(30, np.random.default_rng(0)), axis=0)[:20])


def table(space: SearchSpace, archs: list[Architecture], **columns: list[float]) -> TabularValues:
    return TabularValues(space, np.array([arch.genes for arch in archs], np.int8), columns)


def test_values_are_those_of_the_table(space: SearchSpace, archs: list[Architecture]) -> None:
    accuracy = np.linspace(0.1, 0.9, 20).tolist()
    known = table(space, archs, accuracy=accuracy)
    found = known.evaluate(archs[::-1])
    assert found == [
        Evaluation(arch, "complete", {"accuracy": value})
        for arch, value in zip(archs[::-1], accuracy[::-1], strict=True)
    ]
    rows = np.array([arch.genes for arch in archs], np.int8)
    assert known(rows)["accuracy"].tolist() == accuracy


def test_other_integers_are_genes_too(space: SearchSpace, archs: list[Architecture]) -> None:
    rows = np.array([arch.genes for arch in archs], dtype=np.int64)
    known = TabularValues(space, rows, {"accuracy": np.full(len(rows), 0.5)})
    assert all(evaluation.status == "complete" for evaluation in known.evaluate(archs))


def test_repeats_count_as_their_mean(space: SearchSpace, archs: list[Architecture]) -> None:
    known = table(space, [archs[0], archs[1], archs[0]], accuracy=[0.2, 0.5, 0.4])
    assert [e.values["accuracy"] for e in known.evaluate(archs[:2])] == pytest.approx([0.3, 0.5])
    assert len(known.rows) == 2


def test_nothing_unknown_gets_a_value(space: SearchSpace, archs: list[Architecture]) -> None:
    known = table(space, archs[:2], accuracy=[0.5, np.nan], latency_ms=[1.0, 2.0])
    first, second, third = known.evaluate(archs[:3])
    assert first.status == "complete"
    assert second == Evaluation(archs[1], "complete", {"latency_ms": 2.0})
    wanted = sound(second, (objective("accuracy"), objective("latency_ms")))
    assert (wanted.status, wanted.error) == ("failed", "accuracy is missing")
    (nothing,) = table(space, archs[:1], accuracy=[np.nan]).evaluate(archs[:1])
    assert (nothing.status, nothing.error) == ("failed", "the table has no accuracy of it")
    assert (third.status, third.error) == ("failed", "not among the 2 architectures of the table")
    assert np.isnan(known(np.array([archs[2].genes], np.int8))["latency_ms"]).all()


def test_what_is_no_table_is_refused(space: SearchSpace, archs: list[Architecture]) -> None:
    with pytest.raises(UsageError, match=r"each of its 2 rows; got accuracy of shape \(1,\)"):
        table(space, archs[:2], accuracy=[0.5])
    with pytest.raises(UsageError, match="one row at least"):
        TabularValues(space, np.zeros((0, space.n_genes), np.int8), {"accuracy": []})
    with pytest.raises(UsageError, match="got none"):
        table(space, archs[:2])
    with pytest.raises(SpaceError):
        TabularValues(space, np.full((1, space.n_genes), 9, np.int8), {"accuracy": [0.5]})
    with pytest.raises(SpaceError, match="given to nas_bench_macro"):
        table(space, archs[:1], accuracy=[0.5]).evaluate([Architecture("other", (0,))])


class Stopping(Evaluator):
    """Stops everything at an accuracy."""

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        return [Evaluation(arch, "stopped", {"accuracy": 0.1}, "not worth it") for arch in archs]


class Asked(Evaluator):
    """Fails everything, or gives a value; remembers what it was asked and told."""

    def __init__(self, **values: float) -> None:
        self.values = values
        self.asked: list[Architecture] = []
        self.recalled: list[Evaluation] = []

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        self.asked += archs
        if not self.values:
            return [Evaluation(arch, "failed", error="never works") for arch in archs]
        return [Evaluation(arch, "complete", self.values) for arch in archs]

    def recall(self, evaluations: Sequence[Evaluation]) -> None:
        self.recalled += evaluations


def test_the_next_one_is_asked_for_what_the_first_does_not_know(
    space: SearchSpace, archs: list[Architecture]
) -> None:
    known, trained = table(space, archs[:1], accuracy=[0.5]), Asked(accuracy=0.7)
    both = FirstThatKnows(known, trained)
    found = both.evaluate(archs[:3])
    assert [evaluation.values["accuracy"] for evaluation in found] == [0.5, 0.7, 0.7]
    assert trained.asked == archs[1:3]
    both.recall(found)
    assert trained.recalled == found
    (neither,) = FirstThatKnows(known, Asked()).evaluate(archs[1:2])
    assert neither.error == "not among the 1 architectures of the table; never works"


def test_values_of_several_are_joined(space: SearchSpace, archs: list[Architecture]) -> None:
    known = table(space, archs[:2], accuracy=[0.5, 0.6])
    measured = Asked(energy_mj=3.0)
    found = JointEvaluator(known, measured).evaluate(archs[:3])
    assert [evaluation.status for evaluation in found] == ["complete", "complete", "failed"]
    assert dict(found[1].values) == {"accuracy": 0.6, "energy_mj": 3.0}
    assert measured.asked == archs[:2]
    assert found[2].error == "not among the 2 architectures of the table"
    with pytest.raises(UsageError, match="gives accuracy, which an evaluator before it has given"):
        JointEvaluator(known, Asked(accuracy=0.1)).evaluate(archs[:1])
    with pytest.raises(UsageError, match="one at least"):
        JointEvaluator()


def test_what_was_stopped_is_measured_all_the_same(archs: list[Architecture]) -> None:
    measured = Asked(energy_mj=3.0)
    (found,) = JointEvaluator(Stopping(), measured).evaluate(archs[:1])
    assert (found.status, found.error) == ("stopped", "not worth it")
    assert dict(found.values) == {"accuracy": 0.1, "energy_mj": 3.0}
    (failed,) = JointEvaluator(Stopping(), Asked()).evaluate(archs[:1])
    assert (failed.status, failed.error) == ("failed", "never works")
