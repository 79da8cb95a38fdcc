"""The contract suite of searchers: subclass `SearcherContract` in a test and name the searcher."""

# ruff: noqa: D102  # a test's name says what it holds

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import pytest

from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import InfeasibleError, SpaceError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, objective
from edgenas.pareto import non_dominated
from edgenas.searchers.base import Searcher
from edgenas.searchers.problem import Draw, Floats, SearchProblem
from edgenas.spaces.base import Factor, Gene, SearchSpace


def tiny_space() -> SearchSpace:
    """Return a space of 297 architectures, some of whose genes can be inactive."""
    genes = (
        Gene("depth", (1, 2, 3)),
        Gene("a", (3, 5, 7)),
        Gene("b", (3, 5, 7), "depth", (2, 3)),
        Gene("c", (3, 5, 7), "depth", (3,)),
        Gene("width", (1.0, 1.5, 2.0)),
        Gene("activation", ("relu", "h_swish", "none")),
    )
    factors = tuple(Factor(gene.name, (gene.name,), lambda _: ()) for gene in genes)
    return SearchSpace("tiny", genes, factors, parameters={}, n_classes=2)


def every_architecture(space: SearchSpace) -> Genes:
    """Return all canonical genes of a small space, shape (n, n_genes), by brute force."""
    grid = np.stack(np.meshgrid(*map(np.arange, space.n_options.tolist()), indexing="ij"), axis=-1)
    return np.unique(space.canonical(grid.reshape(-1, space.n_genes).astype(np.int8)), axis=0)


def tiny_costs(population: Genes) -> dict[str, Floats]:
    """Return artificial accuracy and latency that pull against each other, each (n,)."""
    genes = population.astype(np.float64)
    depth, kernels, width, kind = genes[:, 0], genes[:, 1:4], genes[:, 4], genes[:, 5]
    latency = 1 + 0.7 * depth + kernels @ [0.5, 0.4, 0.3] + 0.8 * width + 0.2 * (kind == 1)
    gain = 0.9 * depth + kernels @ [0.4, 0.5, 0.2] + 0.6 * width + 0.5 * (kind == 1)
    wave = 0.1 * np.sin(3 * genes @ [1.0, 2.0, 3.0, 5.0, 7.0, 11.0])
    return {"accuracy": 1 - np.exp(-0.3 * (gain + wave + 0.3)), "latency_ms": latency}


def tiny_latency(population: Genes) -> dict[str, Floats]:
    """Return what is free to know of `tiny_costs`."""
    return {"latency_ms": tiny_costs(population)["latency_ms"]}


def tiny_problem(limit_ms: float | None = None, *, draw: Draw | None = None) -> SearchProblem:
    """Return the search over `tiny_space`, with a limit on latency if one is given."""
    return SearchProblem(
        tiny_space(),
        (objective("accuracy"), objective("latency_ms")),
        () if limit_ms is None else (Constraint("latency_ms", limit_ms),),
        tiny_latency,
        draw,
    )


def tiny_evaluations(archs: list[Architecture]) -> list[Evaluation]:
    """Evaluate architectures of `tiny_space`; those whose id ends in 0 fail."""
    found = []
    for arch in archs:
        values = {name: float(v[0]) for name, v in tiny_costs(arch.row[None]).items()}
        if arch.id.endswith("0"):
            found.append(Evaluation(arch, "failed", error="unlucky id"))
        else:
            found.append(Evaluation(arch, "complete", values))
    return found


def load(factory: str, settings: dict[str, Any], seed: int, limit_ms: float | None) -> Searcher:
    """Return a fresh searcher of ``module:class`` on the tiny problem."""
    module, _, name = factory.partition(":")
    kind = getattr(import_module(module), name)
    searcher: Searcher = kind(tiny_problem(limit_ms), seed=seed, settings=kind.Settings(**settings))
    return searcher


def run(searcher: Searcher, n: int, *, batch_size: int = 1) -> list[Evaluation]:
    """Ask, evaluate and tell until `n` are told; return them in order."""
    told: list[Evaluation] = []
    while len(told) < n and (batch := searcher.ask(min(batch_size, n - len(told)))):
        told += tiny_evaluations(batch)
        searcher.tell(told[-len(batch) :])
    return told


def in_another_process(program: str, *arguments: object) -> Any:
    """Run `program` in a fresh interpreter; return what it printed, as JSON."""
    command = [sys.executable, "-W", "error", "-c", program, *map(json.dumps, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


_RUN = """
import json, sys
from edgenas.testing.searcher_contract import load, run
factory, settings, seed, limit, n, batch = map(json.loads, sys.argv[1:])
searcher = load(factory, settings, seed, limit)
told = run(searcher, n, batch_size=batch)
json.dump([list(e.arch.genes) for e in told] + [list(a.genes) for a in searcher.ask(5)], sys.stdout)
"""

_REPLAY = """
import json, sys
from edgenas.core.architecture import Architecture
from edgenas.testing.searcher_contract import load, tiny_evaluations
factory, settings, seed, limit, genes = map(json.loads, sys.argv[1:])
searcher = load(factory, settings, seed, limit)
searcher.tell(tiny_evaluations([Architecture("tiny", tuple(row)) for row in genes]))
json.dump([list(arch.genes) for arch in searcher.ask(5)], sys.stdout)
"""


class SearcherContract:
    """What every searcher holds; a subclass gives `factory` and perhaps `settings`.

    Attributes:
        factory: ``module:class``, importable in another process.
        settings: of the class's `Settings`, small enough for 40 evaluations to matter.
    """

    factory: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}

    def make(self, seed: int = 3, limit_ms: float | None = None) -> Searcher:
        """Return a fresh searcher on the tiny problem."""
        return load(self.factory, self.settings, seed, limit_ms)

    @pytest.mark.parametrize("batch_size", [1, 7])
    def test_same_proposals_in_another_process(self, batch_size: int) -> None:
        here = self.make()
        told = run(here, 40, batch_size=batch_size)
        proposals = [list(e.arch.genes) for e in told] + [list(a.genes) for a in here.ask(5)]
        there = in_another_process(_RUN, self.factory, self.settings, 3, None, 40, batch_size)
        assert there == proposals

    def test_another_seed_proposes_something_else(self) -> None:
        assert run(self.make(1), 10) != run(self.make(2), 10)

    @pytest.mark.parametrize("n_told", [0, 1, 23, 40])
    def test_replay_in_another_process_goes_on_like_the_run(self, n_told: int) -> None:
        here = self.make()
        genes = [list(e.arch.genes) for e in run(here, n_told)]
        there = in_another_process(_REPLAY, self.factory, self.settings, 3, None, genes)
        assert there == [list(arch.genes) for arch in here.ask(5)]

    def test_asked_but_never_told_is_proposed_again_after_a_replay(self) -> None:
        here = self.make()
        told = run(here, 20)
        lost = here.ask(1)
        fresh = self.make()
        fresh.tell(told)
        assert fresh.ask(1) == lost

    def test_what_others_evaluate_is_not_proposed_until_it_is_told(self) -> None:
        here, fresh = self.make(), self.make()
        told = run(here, 12)
        lost = here.ask(1)
        fresh.tell(told)
        fresh.expect(lost)
        fresh.expect(lost)
        assert lost[0] not in fresh.ask(3)
        last = tiny_evaluations(lost)
        here.tell(last)
        again = self.make()
        again.tell(told)
        again.expect(lost)
        again.tell(last)
        assert again.ask(3) == here.ask(3)
        with pytest.raises(SpaceError, match="of space other"):
            fresh.expect([Architecture("other", lost[0].genes)])

    def test_the_space_is_exhausted_without_a_duplicate(self) -> None:
        searcher = self.make()
        everything = every_architecture(searcher.problem.space)
        told = run(searcher, len(everything) + 50, batch_size=9)
        assert searcher.exhausted
        assert {e.arch.genes for e in told} == set(map(tuple, everything.tolist()))
        assert len(told) == len(everything)
        assert searcher.ask(3) == []

    def test_pending_architectures_are_not_proposed_again(self) -> None:
        searcher = self.make()
        asked = [arch for _ in range(30) for arch in searcher.ask(3)]
        assert len(set(asked)) == 90

    def test_constraints_are_kept_to_the_last_architecture(self) -> None:
        limit_ms = 3.0
        searcher = self.make(limit_ms=limit_ms)
        everything = every_architecture(searcher.problem.space)
        feasible = everything[tiny_costs(everything)["latency_ms"] <= limit_ms]
        told = run(searcher, len(everything))
        assert {e.arch.genes for e in told} == set(map(tuple, feasible.tolist()))

    def test_an_impossible_limit_is_refused(self) -> None:
        with pytest.raises(InfeasibleError, match=r"latency_ms <= 0\.5"):
            self.make(limit_ms=0.5).ask(1)

    def test_the_exact_front_is_reached(self) -> None:
        searcher = self.make(limit_ms=4.0)
        told = [e for e in run(searcher, 1000, batch_size=10) if e.status == "complete"]
        everything = every_architecture(searcher.problem.space)
        costs = tiny_costs(everything)
        healthy = [
            not arch.id.endswith("0") for arch in searcher.problem.space.architectures(everything)
        ]
        wanted = everything[healthy & (costs["latency_ms"] <= 4.0)]
        assert _front(np.array([e.arch.genes for e in told], np.int8)) == _front(wanted)

    def test_told_twice_told_unasked_and_all_failed(self) -> None:
        searcher = self.make()
        space = searcher.problem.space
        archs = space.architectures(every_architecture(space)[::4])
        failed = [Evaluation(arch, "failed", error="no power") for arch in archs]
        searcher.tell(failed + failed)
        assert searcher.n_told == len(archs)
        assert not set(searcher.ask(100)) & set(archs)

    def test_infeasible_evaluations_may_lack_values(self) -> None:
        searcher = self.make()
        for _ in range(40):
            (arch,) = searcher.ask(1)
            amount = float(arch.genes[0])
            searcher.tell([Evaluation(arch, "infeasible", {"latency_ms": 9.0}, None, 1 + amount)])
        assert len(searcher.ask(5)) == 5

    def test_wrong_evaluations_are_refused(self) -> None:
        searcher = self.make()
        (arch,) = searcher.ask(1)
        with pytest.raises(SpaceError, match="of space other"):
            searcher.tell([Evaluation(Architecture("other", arch.genes), "failed")])
        with pytest.raises(UsageError, match="latency_ms is nan"):
            searcher.tell([Evaluation(arch, "complete", {"accuracy": 0.5})])
        with pytest.raises(UsageError, match="accuracy is inf"):
            searcher.tell([Evaluation(arch, "complete", {"accuracy": math.inf, "latency_ms": 1.0})])


def _front(population: Genes) -> set[tuple[float, float]]:
    costs = tiny_costs(population)
    points = np.stack([-costs["accuracy"], costs["latency_ms"]], axis=1)
    return set(map(tuple, points[non_dominated(points)].round(9).tolist()))
