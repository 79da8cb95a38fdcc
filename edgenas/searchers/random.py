"""Random search: the baseline, and hard to beat where evaluations are few.

Li and Talwalkar 2019, arXiv:1902.07638.
"""

from __future__ import annotations

from edgenas.core.architecture import Genes
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.base import Searcher, SearchProblem, Settings


class RandomSearcher(Searcher):
    """Proposes random feasible architectures: uniform genes, or whatever the problem draws."""

    name = "random"

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: Settings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self._draws = self._random_candidates(1)

    def _propose(self) -> Genes | None:
        row = self._first_fresh(self._draws)
        return self._last_resort() if row is None else row

    def _learn(self, evaluation: Evaluation) -> None:
        """Learn nothing: told architectures are only never proposed again."""
