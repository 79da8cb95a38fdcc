"""The search loop: results, resume, kill -9."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.architecture import Architecture
from edgenas.core.errors import InfeasibleError, StorageError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint
from edgenas.evaluators.base import Evaluator
from edgenas.pareto import hypervolume
from edgenas.searchers import Searcher, make_searcher
from edgenas.study.loop import Progress, SearchResult, reference_values, run_search
from edgenas.testing.searcher_contract import tiny_evaluations, tiny_problem

N = 45


class Artificial(Evaluator):
    """Writes down what it evaluates; `pause_s` long, or stopped after `n_allowed`."""

    objectives = ("accuracy", "latency_ms")

    def __init__(
        self, log: Path | None = None, *, pause_s: float = 0.0, n_allowed: float = np.inf
    ) -> None:
        self.log, self.pause_s, self.n_allowed = log, pause_s, n_allowed
        self.evaluated: list[Architecture] = []

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        for arch in archs:
            if len(self.evaluated) >= self.n_allowed:
                raise KeyboardInterrupt
            self.evaluated.append(arch)
            if self.log:
                with self.log.open("a") as stream:
                    stream.write(json.dumps(arch.genes) + "\n")
            time.sleep(self.pause_s)
        return tiny_evaluations(list(archs))


def searcher(name: str = "nsga2", *, seed: int = 4, limit_ms: float | None = None) -> Searcher:
    settings = {"population_size": 8} if name == "nsga2" else {}
    return make_searcher(name, tiny_problem(limit_ms), seed=seed, settings=settings)


def search(storage: Path | str, **changes: Any) -> SearchResult:
    arguments: dict[str, Any] = {"n_evaluations": N, "storage": storage, **changes}
    return run_search(
        arguments.pop("searcher", None) or searcher(),
        arguments.pop("evaluator", None) or Artificial(),
        **arguments,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return search(tmp_path_factory.mktemp("undisturbed") / "a.journal")


def test_the_result_is_what_its_evaluations_say(undisturbed: SearchResult) -> None:
    assert len(undisturbed.evaluations) == N
    assert len({e.arch for e in undisturbed.evaluations}) == N
    assert not undisturbed.exhausted
    complete = [e for e in undisturbed.evaluations if e.status == "complete"]
    assert 0 < len(complete) < N
    worst = max(e.values["latency_ms"] for e in complete)
    assert undisturbed.reference == {"accuracy": 0.0, "latency_ms": worst}
    points = [[-e.values["accuracy"], e.values["latency_ms"]] for e in complete]
    assert undisturbed.hypervolume[-1] == pytest.approx(hypervolume(points, [0.0, worst]))
    assert (np.diff(undisturbed.hypervolume) >= 0).all()
    assert len(undisturbed.hypervolume) == N
    front = [[-e.values["accuracy"], e.values["latency_ms"]] for e in undisturbed.front]
    assert hypervolume(front, [0.0, worst]) == pytest.approx(undisturbed.hypervolume[-1])


def test_sqlite_and_journal_give_the_same(tmp_path: Path, undisturbed: SearchResult) -> None:
    found = search(tmp_path / "a.db")
    assert found.evaluations == undisturbed.evaluations
    assert found.front == undisturbed.front


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", ["random", "nsga2"])
def test_interrupted_anywhere_it_goes_on_like_the_undisturbed_run(
    tmp_path: Path, name: str, batch_size: int
) -> None:
    def go(file: str, evaluator: Evaluator) -> SearchResult:
        return search(
            tmp_path / file, searcher=searcher(name), evaluator=evaluator, batch_size=batch_size
        )

    whole = go("whole.journal", Artificial())
    counts: Counter[Architecture] = Counter()
    for n_allowed in (0, 1, 6, 3, 13, 9):
        evaluator = Artificial(n_allowed=n_allowed)
        with pytest.raises(KeyboardInterrupt):
            go("parts.journal", evaluator)
        counts.update(evaluator.evaluated)
    last = Artificial()
    parts = go("parts.journal", last)
    counts.update(last.evaluated)
    assert parts.evaluations == whole.evaluations
    assert parts.hypervolume.tolist() == whole.hypervolume.tolist()
    assert parts.n_resumed == N - len(last.evaluated)
    if batch_size == 1:
        assert set(counts.values()) == {1}


def test_a_batch_that_was_recorded_in_part_is_finished(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole.journal", batch_size=7)
    for n in (3, 9, 24, N):  # ends inside batches
        parts = search(tmp_path / "parts.journal", batch_size=7, n_evaluations=n)
    assert parts.evaluations == whole.evaluations


def test_a_finished_search_evaluates_nothing(tmp_path: Path) -> None:
    first = search(tmp_path / "a.journal")
    again = search(tmp_path / "a.journal", evaluator=Artificial(n_allowed=0))
    assert again.evaluations == first.evaluations
    assert again.n_resumed == N


_CHILD = """
import sys
from pathlib import Path
from tests.study.test_loop import Artificial, search
folder = Path(sys.argv[1])
search(folder / sys.argv[2], evaluator=Artificial(folder / "log", pause_s=0.002))
"""


def _child(folder: Path, file: str, repository: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _CHILD, str(folder), file],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _lines(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("file", ["study.db", "study.journal"])
def test_kill_9_at_random_moments_changes_nothing(
    tmp_path: Path, file: str, repository: Path, undisturbed: SearchResult
) -> None:
    moments = random.Random(f"{file} 2")
    log = tmp_path / "log"
    for kill in range(5):
        child = _child(tmp_path, file, repository)
        wanted = _lines(log) + moments.randrange(1, 8)
        while child.poll() is None and _lines(log) < wanted:
            time.sleep(0.0005)
        time.sleep(moments.random() * 0.03)  # anywhere between an evaluation and its record
        child.kill()
        output, _ = child.communicate()
        assert child.returncode == -9, f"kill {kill}: {output}"
    child = _child(tmp_path, file, repository)
    output, _ = child.communicate(timeout=120)
    assert (child.returncode, output) == (0, "")
    final = search(tmp_path / file, evaluator=Artificial(n_allowed=0))
    assert final.evaluations == undisturbed.evaluations
    evaluated = Counter(log.read_text().splitlines())
    assert len(evaluated) == N
    assert sum(evaluated.values()) <= N + 5  # each kill cost at most the evaluation in flight


def test_a_running_search_holds_its_journal(tmp_path: Path) -> None:
    def intrude(progress: Progress) -> None:
        with pytest.raises(StorageError, match="in use by process"):
            search(tmp_path / "a.journal")

    search(tmp_path / "a.journal", n_evaluations=1, on_progress=intrude)


def test_progress_counts_what_was_resumed(tmp_path: Path) -> None:
    search(tmp_path / "a.journal", n_evaluations=5)
    seen: list[Progress] = []
    found = search(tmp_path / "a.journal", n_evaluations=8, on_progress=seen.append)
    assert [(p.n_done, p.n_total, p.n_resumed) for p in seen] == [(n, 8, 5) for n in (6, 7, 8)]
    assert [p.evaluation for p in seen] == list(found.evaluations[5:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"searcher": searcher(seed=5)}, "seed was 4, now 5"),
        ({"searcher": searcher("random")}, 'searcher was "nsga2", now "random"'),
        ({"searcher": searcher(limit_ms=3.0)}, r"constraints was \[\], now"),
        ({"batch_size": 2}, "batch_size was 1, now 2"),
        ({"context": {"data": "b"}}, "context was"),
    ],
)
def test_another_search_does_not_go_on(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    search(tmp_path / "a.journal", n_evaluations=2, context={"data": "a"})
    with pytest.raises(StorageError, match=message):
        search(tmp_path / "a.journal", **{"context": {"data": "a"}, **changes})


def test_the_end_of_the_space_ends_the_search(tmp_path: Path) -> None:
    limited = {"searcher": searcher(limit_ms=1.6), "n_evaluations": 500}
    found = search(tmp_path / "a.journal", **limited)
    assert found.exhausted
    assert 2 < len(found.evaluations) < 20


def test_an_impossible_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="latency_ms"):
        search(tmp_path / "a.journal", searcher=searcher(limit_ms=0.1))


class Broken(Artificial):
    """Gives NaN, or too few evaluations."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        if self.how == "few":
            return []
        nan = {"accuracy": float("nan"), "latency_ms": 1.0}
        return [Evaluation(arch, "complete", nan) for arch in archs]


def test_values_that_are_none_are_recorded_as_failures(tmp_path: Path) -> None:
    found = search(tmp_path / "a.journal", evaluator=Broken("nan"), n_evaluations=12)
    assert {(e.status, e.error) for e in found.evaluations} == {("failed", "accuracy is nan")}
    assert found.front == ()
    assert found.hypervolume.tolist() == [0.0] * 12
    again = search(tmp_path / "a.journal", evaluator=Artificial(), n_evaluations=20)
    assert [e.arch for e in again.evaluations[:12]] == [e.arch for e in found.evaluations]


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="answered with 0"):
        search(tmp_path / "a.journal", evaluator=Broken("few"))
    with pytest.raises(UsageError, match="at least 1, got 0"):
        search(tmp_path / "b.journal", n_evaluations=0)
    used = searcher()
    used.tell(tiny_evaluations(used.ask(1)))
    with pytest.raises(UsageError, match="fresh searcher"):
        search(tmp_path / "c.journal", searcher=used)


def test_the_reference_is_given_bound_limit_or_worst() -> None:
    problem = tiny_problem()
    evaluations = tiny_evaluations(searcher().ask(9))
    worst = max(e.values["latency_ms"] for e in evaluations if e.values)
    limit = (Constraint("latency_ms", 7.0),)

    def reference(**keywords: Any) -> dict[str, float]:
        return reference_values(evaluations, problem.objectives, **keywords)

    assert reference() == {"accuracy": 0.0, "latency_ms": worst}
    assert reference(constraints=limit)["latency_ms"] == 7.0
    assert reference(constraints=limit, given={"latency_ms": 8.0})["latency_ms"] == 8.0
