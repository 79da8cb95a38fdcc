"""A search problem whose answers are known: a space, and accuracy and latency of its networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import moocore
import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Architecture, Genes
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, objective
from edgenas.pareto import hypervolume, hypervolume_history, non_dominated
from edgenas.searchers.problem import Floats, SearchProblem
from edgenas.spaces.base import SearchSpace

COUNTS = (50, 100, 200, 400)
"""Numbers of distinct evaluations after which a search is judged."""


@dataclass(frozen=True)
class Known:
    """One problem: accuracy is bought, latency is known to whoever asks.

    Attributes:
        name: of its results.
        space: what is searched.
        accuracy: of populations, shape (n, n_genes) to (n,), fractions; NaN for what is no
            candidate.
        latency_ms: likewise; inf for what is no candidate.
        front: points of the true front (of the best known one where there are too many networks
            for the true one), minimised: latency, minus accuracy. Shape (n, 2).
        reference: worst latency and minus the worst accuracy of all candidates.
        is_exact: whether the front is the true one.
        draw: random candidates, where uniform genes are hardly ever one.
    """

    name: str
    space: SearchSpace
    accuracy: Callable[[Genes], Floats]
    latency_ms: Callable[[Genes], Floats]
    front: Floats
    reference: tuple[float, float]
    is_exact: bool = True
    draw: Callable[[int, np.random.Generator], Genes] | None = None

    @property
    def search(self) -> SearchProblem:
        """The problem as searchers take it."""
        return SearchProblem(
            self.space,
            (objective("accuracy"), objective("latency_ms")),
            (Constraint("latency_ms", self.reference[0]),),
            lambda population: {"latency_ms": self.latency_ms(population)},
            draw=self.draw,
        )

    def is_candidate(self, population: Genes) -> npt.NDArray[np.bool_]:
        """Return which architectures have values, shape (n,)."""
        return np.isfinite(self.latency_ms(population))

    def points(self, population: Genes) -> Floats:
        """Return latency and minus accuracy, shape (n, 2)."""
        return np.stack([self.latency_ms(population), -self.accuracy(population)], axis=1)

    def evaluations(self, archs: list[Architecture]) -> list[Evaluation]:
        """Return what evaluating them says."""
        rows = np.array([arch.genes for arch in archs], dtype=np.int8)
        return [
            Evaluation(arch, "complete", {"accuracy": float(-y), "latency_ms": float(x)})
            for arch, (x, y) in zip(archs, self.points(rows), strict=True)
        ]

    @cached_property
    def volume(self) -> float:
        """Hypervolume of the true front."""
        return hypervolume(self.front, self.reference)

    def judge(self, rows: Genes) -> dict[str, list[float]]:
        """Return how good a search was after each of `COUNTS` evaluations.

        Args:
            rows: what it evaluated, in order, all distinct, shape (n, n_genes).

        Returns:
            ``regret``: share of the true hypervolume that is missing; ``recall``: share of the
            true front's points that were found; ``igd_plus``: mean distance of the true front's
            points from what was found, each objective scaled to the front's range (Ishibuchi et
            al. 2015, doi:10.1007/978-3-319-15892-1_8). A search that ended early counts
            with what it had.
        """
        points = self.points(rows)
        history = hypervolume_history(points, self.reference)
        low, high = self.front.min(axis=0), self.front.max(axis=0)
        spread = np.where(high > low, high - low, 1.0)
        truth = {tuple(point) for point in self.front.tolist()}
        found: dict[str, list[float]] = {"regret": [], "recall": [], "igd_plus": []}
        for count in COUNTS:
            n = min(count, len(rows))
            hits = truth & {tuple(point) for point in points[:n].tolist()}
            distance = moocore.igd_plus(
                (points[:n] - low) / spread, ref=(self.front - low) / spread
            )
            found["regret"].append(1.0 - float(history[n - 1]) / self.volume)
            found["recall"].append(len(hits) / len(truth))
            found["igd_plus"].append(float(distance))
        return found


def of_table(  # noqa: PLR0913
    name: str,
    space: SearchSpace,
    rows: Genes,
    accuracy: Floats,
    latency_ms: Floats,
    *,
    draw: Callable[[int, np.random.Generator], Genes] | None = None,
) -> Known:
    """Return the problem whose candidates are the rows of a table.

    Args:
        name: of the problem.
        space: of the rows.
        rows: distinct, canonical, shape (n, n_genes).
        accuracy: fractions, shape (n,).
        latency_ms: shape (n,).
        draw: see `Known`.
    """
    places = {row.tobytes(): i for i, row in enumerate(rows)}
    padded = np.append(accuracy, np.nan), np.append(latency_ms, np.inf)

    def place(population: Genes) -> npt.NDArray[np.int64]:
        found = (places.get(row.tobytes(), -1) for row in population)
        return np.fromiter(found, np.int64, len(population))

    points = np.stack([latency_ms, -accuracy], axis=1)
    return Known(
        name,
        space,
        lambda population: padded[0][place(population)],
        lambda population: padded[1][place(population)],
        np.unique(points[non_dominated(points)], axis=0),
        (float(latency_ms.max()), float(-accuracy.min())),
        draw=draw,
    )
