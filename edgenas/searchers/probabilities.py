"""What a differentiable search has learned, proposed: the likeliest architecture, then draws.

Wu et al. 2019 (FBNet), arXiv:1812.03443, section 3.3: after the search architectures are drawn from
the distribution and evaluated. Several distributions, each with limits of its own (a sweep over
budgets), take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError, choices
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint
from edgenas.searchers.base import Searcher, SearchProblem
from edgenas.searchers.likelihood import Excess, Floats, draws, most_likely
from edgenas.searchers.problem import cost_key, total_violations

_STREAM_DRAWS, _STREAM_START = 2, 3
_N_STARTS = 1024
_FIRST_CHUNK = 256
_N_CHUNKS = 24
_FLATNESS = (1.0, 2.0, 4.0, 16.0)


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

    distributions: Sequence[Probabilities | Mapping[str, Any]] = ()


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
            one if isinstance(one, Probabilities) else _read(one) for one in given
        ]
        self._sources = [self._source(i, one) for i, one in enumerate(self._distributions)]
        self._fallback = self._random_candidates(1)

    def _propose(self) -> Genes | None:
        """Return the next of the distribution whose turn it is, or of the next that has one."""
        n = len(self._sources)
        turn = self.n_told + len(self._pending)
        for i in range(n):
            row = self._first_fresh(self._sources[(turn + i) % n])
            if row is not None:
                return row
        if any(one.limits for one in self._distributions):
            return None  # whatever is left keeps no distribution's limits, or nobody finds it
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

    def _source(self, number: int, one: Probabilities) -> Iterator[Genes]:
        """Return the likeliest allowed architecture, then allowed draws, each once.

        Where draws bring nothing new any more, they go on from flatter probabilities.
        """
        logarithms = self._logarithms(one)
        limits = tuple(map(Constraint.parse, one.limits))
        self._check_known(limits)

        def excess(population: Genes) -> Floats:
            broken = self.problem.violations(population)
            if limits and self.problem.cheap is not None:
                costs = self.problem.cheap(population)
                broken = broken + total_violations(limits, costs, len(population))
            return broken

        def proposals() -> Iterator[Genes]:
            start = self.problem.sample(_N_STARTS, self._rng(_STREAM_START, number))
            likeliest = most_likely(
                self.problem.space, logarithms, excess=excess, start=start, seed=self.seed + number
            )
            if likeliest is not None:
                yield likeliest
            for flatness in _FLATNESS:
                flat = [values / flatness for values in logarithms]
                draw = partial(self._allowed_draws, number, flat, excess)
                yield from self._candidates(draw, n_chunks=_N_CHUNKS)

        return proposals()

    def _allowed_draws(
        self, number: int, logarithms: list[Floats], excess: Excess, chunk: int
    ) -> Genes:
        rng = self._rng(_STREAM_DRAWS, number, chunk)
        drawn = draws(self.problem.space, logarithms, _FIRST_CHUNK << min(chunk, 5), rng)
        kept: Genes = drawn[excess(drawn) <= 0]
        return kept

    def _check_known(self, limits: tuple[Constraint, ...]) -> None:
        """Refuse limits on what nobody knows before an evaluation: they would not be kept."""
        known = set() if self.problem.cheap is None else set(self.problem.cheap_names)
        for limit in limits:
            if cost_key(limit.name, limit.confidence) not in known:
                raise UsageError(
                    f"'{limit}' limits what is not known before an evaluation; known: "
                    f"{', '.join(sorted(known)) or 'nothing'}"
                )


def _read(given: Mapping[str, Any]) -> Probabilities:
    """Return a distribution from a file.

    Raises:
        UsageError: a key that it has not.
    """
    known = [field.name for field in fields(Probabilities)]
    for key in given:
        if key not in known:
            raise UsageError(f"a distribution has no {key!r}; {choices(key, known)}")
    return Probabilities(**given)
