"""Progressive searchers: architectures that grow gene by gene, and a surrogate that goes before.

Level l sets the first l genes and leaves the others at their first option, the smallest (where
there is a depth, those are the shallow networks; where a cell grows, the short cells, which get
their next part once all genes of the last one are set). A round evaluates the K that are kept of
all extensions of the round before; the surrogate learns from all evaluations so far. After the last
level, rounds go on over the neighbours of the front, which is our extension: the papers end there.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.extras import require
from edgenas.searchers.base import SearchProblem
from edgenas.searchers.gene_order import gene_order
from edgenas.searchers.goals import Goals
from edgenas.searchers.neighbours import neighbours
from edgenas.searchers.problem import Floats
from edgenas.searchers.rounds import RoundSearcher
from edgenas.searchers.told import Told
from edgenas.spaces.base import SearchSpace

if TYPE_CHECKING:
    from edgenas.searchers.neural.recurrent import RecurrentSurrogate

_STREAM_WEIGHTS, _STREAM_TIES = 2, 3


class ProgressiveSearcher(RoundSearcher):
    """See the module; settings have `beam_size`, `n_hidden`, `rate` and `n_steps`."""

    def __init__(self, problem: SearchProblem, *, seed: int = 0, settings: Any = None) -> None:
        require("torch")  # now, not after the first evaluations
        super().__init__(problem, seed=seed, settings=settings)
        self.goals = Goals.of(problem)
        self._complete: list[Evaluation] = []
        self._valued: dict[bytes, float] = {}  # the bought objective, minimised
        self._known: set[bytes] = set()  # told in rounds that have ended
        self._level = 0
        self._beam: Genes = problem.space.smallest()[None]
        self._plan()

    # -- for the kinds ---------------------------------------------------------------------

    @abstractmethod
    def _order(self, population: Genes, predicted: Floats) -> np.ndarray:
        """Return the places of candidates in the order in which they are to be kept.

        Args:
            population: shape (n, n_genes).
            predicted: the bought objective, minimised, shape (n,).
        """

    # -- the contract ----------------------------------------------------------------------

    @cached_property
    def levels(self) -> list[int]:
        """Columns of the genes that have a choice, parents before what they make active.

        A growing gene is there once for every option but the first, before the genes of the part
        that the option adds.
        """
        space, found = self.problem.space, list[int]()
        order = [column for column in gene_order(space) if space.n_options[column] > 1]
        growing = {space.index[name] for name in space.growing} & {*order}
        later = {c for c in order if (p := space.conditions.get(c)) and p[0] in growing}
        for column in order:
            if column in later:
                continue
            if column not in growing:
                found.append(column)
                continue
            for option in range(1, int(space.n_options[column])):
                found.append(column)
                found += [c for c in order if c in later and _first_under(space, c, column, option)]
        return found

    def _round_size(self) -> int:
        return self._n_round

    def _proposals(self) -> Iterator[Genes]:
        rng = self._rng(_STREAM_TIES, self.round)
        candidates = self._candidates_now[rng.permutation(len(self._candidates_now))]
        if not len(candidates) or not self._valued:
            return iter(candidates)
        return iter(candidates[self._order(candidates, self._surrogate(candidates))])

    def _end_round(self, news: list[Evaluation]) -> None:
        bought = self.goals.bought
        for evaluation in news:
            self._known.add(evaluation.arch.row.tobytes())
            value = evaluation.values.get(bought.name, math.nan)
            # What breaks a limit on accuracy says how accurate it is, too.
            if evaluation.status != "failed" and math.isfinite(value):
                self._valued[evaluation.arch.row.tobytes()] = bought.minimised(value)
        self._complete += [e for e in news if e.has_values]
        if self._valued:
            genes = np.array([np.frombuffer(key, dtype=np.int8) for key in self._valued])
            self._surrogate.update(genes, np.array(list(self._valued.values())))
        if self._level < len(self.levels):
            self._grow()
        self._plan()

    def _grow(self) -> None:
        """Keep the best of this level's extensions that are known, and go on to the next level.

        The one that leaves the gene at its first option is among them, and has been known longer.
        """
        keys = [row.tobytes() for row in self._extended]
        rows = [i for i, key in enumerate(keys) if key in self._valued]
        if rows:  # else the last sound beam stays
            known = self._extended[rows]
            values = np.array([self._valued[keys[i]] for i in rows])
            self._beam = known[self._order(known, values)[: self.settings.beam_size]]
        self._level += 1

    def _plan(self) -> None:
        """Set what the round that begins evaluates: levels of which all is known are passed by."""
        while True:
            self._extended = self._feasible(self._extensions())
            fresh = np.array([row.tobytes() not in self._known for row in self._extended], bool)
            if fresh.any() or self._level >= len(self.levels):
                break
            self._grow()
        self._candidates_now = self._extended[fresh]
        self._n_round = max(1, min(int(fresh.sum()), int(self.settings.beam_size)))

    @cached_property
    def _surrogate(self) -> RecurrentSurrogate:
        from edgenas.searchers.neural.recurrent import RecurrentSurrogate

        return RecurrentSurrogate(
            self.problem.space,
            n_hidden=self.settings.n_hidden,
            rate=self.settings.rate,
            n_steps=self.settings.n_steps,
            seed=int(self._rng(_STREAM_WEIGHTS).integers(2**31)),
        )

    def _extensions(self) -> Genes:
        """Return the beam with every option of the level's gene; past the last one, neighbours."""
        space = self.problem.space
        if self._level < len(self.levels):
            column = self.levels[self._level]
            if space.genes[column].name in space.growing:
                return self._grown(column, self.levels[: self._level + 1].count(column))
            rows = np.repeat(self._beam, int(space.n_options[column]), axis=0)
            rows[:, column] = np.tile(np.arange(space.n_options[column]), len(self._beam))
            extended: Genes = np.unique(space.canonical(rows), axis=0)
            return extended
        best = Told.of(self._complete, self.problem.objectives, space.n_genes).front()
        around = [neighbours(space, genes) for genes in best.genes]
        found: Genes = np.unique(np.concatenate(around), axis=0) if around else best.genes
        return found

    def _grown(self, column: int, option: int) -> Genes:
        """Return the beam and, of those that are largest, what they are with one part more."""
        larger = self._beam[self._beam[:, column] == option - 1].copy()
        larger[:, column] = option
        grown: Genes = np.unique(np.concatenate([self._beam, larger]), axis=0)
        return grown


def _first_under(space: SearchSpace, column: int, parent: int, option: int) -> bool:
    """Return whether a gene is a child of `parent` that becomes active with its `option`."""
    above, allowed = space.conditions[column]
    return above == parent and int(allowed.argmax()) == option


def check_progressive(settings: Any) -> None:
    """Refuse settings that no run can use.

    Raises:
        UsageError: which one, and what is allowed.
    """
    for name in ("beam_size", "n_hidden", "n_steps"):
        if getattr(settings, name) < 1:
            raise UsageError(f"{name} is at least 1, got {getattr(settings, name)}")
    if settings.rate <= 0:
        raise UsageError(f"rate is above 0, got {settings.rate}")
