"""Searchers that learn in rounds: a generation, a policy update, a beam."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from edgenas.core.architecture import Genes
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.base import Searcher, SearchProblem

_STREAM_DRAWS = 1


class RoundSearcher(Searcher):
    """Rounds end by what was told, not by what was asked.

    The proposals of a round are a sequence that the seed and the rounds before it decide; whoever
    asks for more than a round gets more of the same. When all of them are known, random
    architectures take their place, and in the end what is left of a small space.
    """

    def __init__(self, problem: SearchProblem, *, seed: int = 0, settings: Any = None) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self.round = 0
        self._news: list[Evaluation] = []
        self._source: Iterator[Genes] | None = None
        self._draws = self._random_candidates(_STREAM_DRAWS, self.round)

    # -- for the kinds of searchers --------------------------------------------------------

    @abstractmethod
    def _round_size(self) -> int:
        """Return after how many told evaluations the present round ends, at least 1."""

    @abstractmethod
    def _end_round(self, news: list[Evaluation]) -> None:
        """Learn from the evaluations of the round that ends, in the order in which they came."""

    @abstractmethod
    def _proposals(self) -> Iterator[Genes]:
        """Return the feasible candidates of the present round; round 0 knows nothing yet."""

    # -- the contract ----------------------------------------------------------------------

    def _propose(self) -> Genes | None:
        if self._source is None:
            self._source = self._proposals()
        row = self._first_fresh(self._source)
        if row is None:
            row = self._first_fresh(self._draws)
        return self._last_resort() if row is None else row

    def _learn(self, evaluation: Evaluation) -> None:
        self._news.append(evaluation)
        if len(self._news) < self._round_size():
            return
        news, self._news = self._news, []
        self._end_round(news)
        self.round += 1
        self._begin()

    def _begin(self) -> None:
        # Made when somebody asks: a replay passes by many rounds without asking.
        self._source = None
        self._draws = self._random_candidates(_STREAM_DRAWS, self.round)
