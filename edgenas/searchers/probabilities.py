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

_STREAM_DRAWS = 2
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
        least_use: the likeliest is looked for among those that use at least this share of the
            limit that they are nearest to, if there are any: the likeliest of all can be far
            cheaper than what a broad distribution costs in the mean.
    """

    options: Mapping[str, Sequence[float]] = field(default_factory=dict)
    limits: Sequence[str] = ()
    least_use: float = 0.0


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

    def likeliest(self, number: int) -> Genes | None:
        """Return the likeliest allowed architecture of a distribution that is found, if any is.

        It depends on what was learned alone, not on the searcher's seed.
        """
        one = self._distributions[number]
        logarithms, excess = self._logarithms(one), self._excess(one)
        start = self.problem.sample(_N_STARTS, np.random.default_rng(number))
        for goal in filter(None, (self._near(one, excess), excess)):
            row = most_likely(self.problem.space, logarithms, excess=goal, start=start, seed=number)
            if row is not None:
                return row
        return None

    def _excess(self, one: Probabilities) -> Excess:
        """Return how much architectures break the problem's and the distribution's limits."""
        limits = tuple(map(Constraint.parse, one.limits))
        self._check_known(limits)

        def excess(population: Genes) -> Floats:
            broken = self.problem.violations(population)
            if limits and self.problem.cheap is not None:
                costs = self.problem.cheap(population)
                broken = broken + total_violations(limits, costs, len(population))
            return broken

        return excess

    def _near(self, one: Probabilities, excess: Excess) -> Excess | None:
        """Return the same for being allowed and as near to a limit as the distribution asks."""
        limits, cheap = tuple(map(Constraint.parse, one.limits)), self.problem.cheap
        if not (limits and one.least_use and cheap is not None):
            return None

        def near(population: Genes) -> Floats:
            costs = cheap(population)
            used = [
                np.asarray(costs[cost_key(limit.name, limit.confidence)]) / limit.limit
                for limit in limits
            ]
            missing: Floats = np.maximum(one.least_use - np.max(used, axis=0), 0.0)
            return excess(population) + missing

        return near

    def _source(self, number: int, one: Probabilities) -> Iterator[Genes]:
        """Return the likeliest allowed architecture, then allowed draws, each once.

        Where draws bring nothing new any more, they go on from flatter probabilities.
        """
        logarithms, excess = self._logarithms(one), self._excess(one)

        def proposals() -> Iterator[Genes]:
            likeliest = self.likeliest(number)
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
