"""The contract of searchers, and what all of them share: dedupe, feasibility, exhaustion."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, ClassVar

import numpy as np

from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import InfeasibleError, SpaceError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.problem import SearchProblem
from edgenas.spaces.listing import listing

__all__ = ["SearchProblem", "Searcher", "Settings"]

N_IDLE = 1 << 17
"""A source of candidates ends once so many of them in a row bring nothing new and feasible."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a searcher that has none."""


class Searcher(ABC):
    """Proposes architectures (`ask`) and learns what became of them (`tell`).

    The contract: no architecture is proposed twice, nor one that was told; none breaks a
    constraint on a cheap value. Proposals depend on the seed and on what was told, in its order,
    alone. So a fresh searcher of the same seed that is told the same evaluations goes on
    like the first one, in another process too; what had been asked but never told is proposed
    again. Any number may be asked at any time and told in any order, unasked ones included; what
    is told a second time is passed over. What others evaluate is made known by `expect`.

    Args:
        problem: what is searched.
        seed: of every random choice, not negative.
        settings: of this kind of searcher (`Settings` of the class); defaults if None.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Any]] = Settings

    def __init__(
        self,
        problem: SearchProblem,
        *,
        seed: int = 0,
        settings: Any = None,
    ) -> None:
        if seed < 0:
            raise UsageError(f"a seed is not negative, got {seed}")
        if not problem.objectives:
            raise UsageError("a search needs at least one objective")
        self.problem, self.seed = problem, seed
        self.settings = self.Settings() if settings is None else settings
        self.n_told = 0
        self.exhausted = False
        self._told: set[bytes] = set()
        self._pending: set[bytes] = set()
        self._rest: Iterator[Genes] | None = None

    # -- the contract ----------------------------------------------------------------------

    def ask(self, n: int = 1) -> list[Architecture]:
        """Return `n` architectures to evaluate.

        Returns:
            Fewer than `n` if nothing else that is feasible can be found; then `exhausted` is True.

        Raises:
            InfeasibleError: nothing feasible was found from the start.
        """
        found: list[Genes] = []
        self.exhausted = False
        while len(found) < n:
            row = self._propose()
            if row is None:
                self.exhausted = True
                break
            self._pending.add(row.tobytes())
            found.append(row)
        if not found and n > 0 and not self._told and not self._pending:
            limits = ", ".join(map(str, self.problem.constraints))
            raise InfeasibleError(
                f"no architecture of {self.problem.space.name} was found that keeps {limits}; "
                "allow more"
            )
        population = np.array(found, np.int8).reshape(len(found), self.problem.space.n_genes)
        return self.problem.space.architectures(population)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn what became of architectures, in this order.

        Raises:
            SpaceError: an architecture of another space.
            UsageError: a complete or stopped evaluation without a finite value of every objective.
        """
        for evaluation in evaluations:
            self._check(evaluation)
            key = evaluation.arch.row.tobytes()
            self._pending.discard(key)
            if key in self._told:
                continue
            self._told.add(key)
            self.n_told += 1
            self._learn(evaluation)

    def expect(self, archs: Sequence[Architecture]) -> None:
        """Take architectures that others evaluate as asked: they are not proposed any more.

        Any that was asked, told or expected before is passed over.

        Raises:
            SpaceError: an architecture of another space.
        """
        for arch in archs:
            self._check_space(arch)
            row = arch.row
            if self._is_fresh(row):
                self._pending.add(row.tobytes())
                self._await(row)

    def identity(self) -> Mapping[str, Any]:
        """Return everything that decides on the proposals, as JSON values."""
        space = self.problem.space
        return {
            "searcher": self.name,
            "settings": asdict(self.settings),
            "seed": self.seed,
            "space": space.name,
            "space_fingerprint": space.fingerprint,
            "objectives": [[goal.name, goal.direction] for goal in self.problem.objectives],
            "constraints": [str(constraint) for constraint in self.problem.constraints],
        }

    def parent(self, arch: Architecture) -> Architecture | None:
        """Return the architecture whose weights a proposed one may inherit, if there is one."""
        del arch
        return None

    # -- for the kinds of searchers --------------------------------------------------------

    @abstractmethod
    def _propose(self) -> Genes | None:
        """Return one fresh, feasible architecture, shape (n_genes,), or None if there is none."""

    @abstractmethod
    def _learn(self, evaluation: Evaluation) -> None:
        """Take in an evaluation that is told for the first time; `n_told` counts it already."""

    def _await(self, row: Genes) -> None:
        """Take in that others evaluate an architecture, shape (n_genes,); `_learn` may follow."""
        del row

    def _rng(self, *stream: int) -> np.random.Generator:
        """Return the generator of one numbered stream of this searcher."""
        return np.random.default_rng([self.seed, *stream])

    def _feasible(self, population: Genes) -> Genes:
        return population[self.problem.violations(population) <= 0]

    def _is_fresh(self, row: Genes) -> bool:
        key = row.tobytes()
        return key not in self._told and key not in self._pending

    def _candidates(
        self, chunk: Callable[[int], Genes], *, n_chunks: int | None = None
    ) -> Iterator[Genes]:
        """Yield the feasible candidates of chunk 0, 1, 2, ..., each once, shape (n_genes,).

        What is proposed or told meanwhile changes nothing here, only `chunk` does: so a replayed
        searcher, which starts over, passes by the same candidates.
        """
        seen: set[bytes] = set()
        n_idle = 0
        for number in count() if n_chunks is None else range(n_chunks):
            population = chunk(number)
            n_before = len(seen)
            for row in self._feasible(population):
                key = row.tobytes()
                if key not in seen:
                    seen.add(key)
                    yield row
            n_idle = 0 if len(seen) > n_before else n_idle + len(population)
            if n_idle >= N_IDLE:
                return

    def _random_candidates(self, *stream: int) -> Iterator[Genes]:
        """Return random candidates; chunks double in size, as small ones are slow to draw."""
        return self._candidates(
            lambda number: self.problem.sample(256 << min(number, 5), self._rng(*stream, number))
        )

    def _first_fresh(self, source: Iterator[Genes]) -> Genes | None:
        """Return the next candidate of `source` that was neither told nor asked, if any."""
        return next((row for row in source if self._is_fresh(row)), None)

    def _last_resort(self) -> Genes | None:
        """Return a fresh architecture from the list of a small space, shuffled."""
        if self._rest is None:
            self._rest = iter(self._listing())
        # A listed architecture that is pending now is never needed again, so one pass is enough.
        return self._first_fresh(self._rest)

    def _listing(self) -> Genes:
        space = self.problem.space
        every = listing(space)
        if every is None:
            return np.zeros((0, space.n_genes), dtype=np.int8)
        return self._rng(0).permutation(self._feasible(every))

    def _check_space(self, arch: Architecture) -> None:
        space = self.problem.space
        if arch.space != space.name or len(arch.genes) != space.n_genes:
            raise SpaceError(
                f"architecture {arch.id} is of space {arch.space}, this search is in {space.name}"
            )

    def _check(self, evaluation: Evaluation) -> None:
        arch = evaluation.arch
        self._check_space(arch)
        if not evaluation.has_values:
            return
        for goal in self.problem.objectives:
            value = evaluation.values.get(goal.name, math.nan)
            if not math.isfinite(value):
                raise UsageError(
                    f"architecture {arch.id} is {evaluation.status}, but its {goal.name} is "
                    f"{value}; tell it as failed"
                )
