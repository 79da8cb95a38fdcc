"""What a differentiable search has learned, proposed: the likeliest architecture, then draws.

Wu et al. 2019 (FBNet), arXiv:1812.03443, section 3.3: after the search architectures are drawn from
the distribution and evaluated. Several distributions, each with limits of its own (a sweep over
budgets), take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError, choices
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint
from edgenas.searchers.base import Searcher, SearchProblem
from edgenas.searchers.likelihood import Floats, draws, most_likely
from edgenas.searchers.problem import total_violations

_STREAM_DRAWS, _STREAM_START = 2, 3
_N_STARTS = 1024
_FIRST_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Probabilities:
    """One distribution.

    Attributes:
        options: probabilities of the options of every gene that has a choice, by its name.
        limits: texts of the constraints that its architectures keep, beside the problem's.
    """

    options: Mapping[str, Sequence[float]] = field(default_factory=dict)
    limits: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ProbabilitiesSettings:
    """Settings.

    Attributes:
        distributions: what is proposed from; none: one in which all options are equally likely.
    """

    distributions: Sequence[Probabilities | Mapping[str, object]] = ()


class ProbabilitiesSearcher(Searcher):
    """See the module; it learns nothing from what it is told."""

    name = "probabilities"
    Settings = ProbabilitiesSettings

    def __init__(
        self,
        problem: SearchProblem,
        *,
        seed: int = 0,
        settings: ProbabilitiesSettings | None = None,
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        given = self.settings.distributions or (Probabilities(),)
        self._distributions = [
            one if isinstance(one, Probabilities) else Probabilities(**one) for one in given
        ]
        self._sources: list[Iterator[Genes]] = []
        for i, one in enumerate(self._distributions):
            logarithms = self._logarithms(one)
            limits = tuple(map(Constraint.parse, one.limits))
            self._sources.append(self._source(i, logarithms, limits))
        self._fallback = self._random_candidates(1)

    def _propose(self) -> Genes | None:
        """Return the next of the distribution whose turn it is, or of the next that has one."""
        n = len(self._sources)
        turn = self.n_told + len(self._pending)
        for i in range(n):
            row = self._first_fresh(self._sources[(turn + i) % n])
            if row is not None:
                return row
        row = self._first_fresh(self._fallback)
        return self._last_resort() if row is None else row

    def _learn(self, evaluation: Evaluation) -> None:
        """Learn nothing: told architectures are only never proposed again."""

    def _logarithms(self, one: Probabilities) -> list[Floats]:
        space = self.problem.space
        found = [np.full(int(n), -np.log(n)) for n in space.n_options]
        for name, values in one.options.items():
            if name not in space.index:
                raise UsageError(
                    f"probabilities of {name}, which is no gene of {space.name}; "
                    f"{choices(name, space.index)}"
                )
            column = space.index[name]
            chances = np.array(values, dtype=np.float64)
            sound = chances.shape == (int(space.n_options[column]),) and bool(
                (chances >= 0).all() and abs(chances.sum() - 1) < 1e-3
            )
            if not sound:
                raise UsageError(
                    f"probabilities of {name} are {list(values)}; allowed: "
                    f"{space.n_options[column]} that are not negative and add up to 1"
                )
            with np.errstate(divide="ignore"):
                found[column] = np.log(chances)
        return found

    def _source(
        self, number: int, logarithms: list[Floats], limits: tuple[Constraint, ...]
    ) -> Iterator[Genes]:
        """Yield the likeliest allowed architecture, then allowed draws, each once."""
        space = self.problem.space

        def allowed(population: Genes) -> np.ndarray:
            kept = self.problem.violations(population) <= 0
            if limits and self.problem.cheap is not None:
                costs = self.problem.cheap(population)
                kept &= total_violations(limits, costs, len(population)) <= 0
            return np.asarray(kept)

        rows = self.problem.sample(_N_STARTS, self._rng(_STREAM_START, number))
        rows = np.concatenate([rows, space.smallest()[None]])
        starts = rows[allowed(rows)]
        if len(starts):
            yield most_likely(
                space, logarithms, allowed=allowed, start=starts[0], seed=self.seed + number
            )

        def chunk(i: int) -> Genes:
            rng = self._rng(_STREAM_DRAWS, number, i)
            drawn = draws(space, logarithms, _FIRST_CHUNK << min(i, 5), rng)
            kept: Genes = drawn[allowed(drawn)]
            return kept

        yield from self._candidates(chunk)
