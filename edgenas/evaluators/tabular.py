"""Objective values out of a table: what somebody has measured, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.evaluators.base import Evaluator, check_space
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]


class TabularValues(Evaluator):
    """Looks architectures up; one that is not in the table is a failed evaluation.

    One of which the table has some values only is complete with those; a search that has another
    one among its objectives counts it as failed (`edgenas.evaluators.combined.sound`).

    Rows that are the same architecture, as repeated trainings are, count as the mean of their
    values.

    Args:
        space: of the architectures.
        rows: shape (n, n_genes), canonical.
        values: by objective, each of shape (n,); NaN where it was not measured.

    Raises:
        UsageError: columns of another length, or none at all.
        SpaceError: rows that are no architectures of the space.
    """

    def __init__(
        self, space: SearchSpace, rows: Genes, values: Mapping[str, npt.ArrayLike]
    ) -> None:
        columns = {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}
        wrong = [name for name, column in columns.items() if column.shape != (len(rows),)]
        if not len(rows):
            raise UsageError("a table has one row at least; this one has none")
        if wrong or not columns:
            raise UsageError(
                f"a table has a value of every objective for each of its {len(rows)} rows; got "
                f"{', '.join(f'{name} of shape {columns[name].shape}' for name in wrong) or 'none'}"
            )
        space.check(rows)
        self.space = space
        self.rows, places = np.unique(rows.astype(np.int8), axis=0, return_inverse=True)
        places = places.reshape(-1)
        self.values = {name: self._means(places, column) for name, column in columns.items()}
        self._places = {row.tobytes(): i for i, row in enumerate(self.rows)}

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """Return what the table says of each of `archs` (see `Evaluator.evaluate`)."""
        check_space(archs, self.space)
        return [self._one(arch) for arch in archs]

    def __call__(self, population: Genes) -> dict[str, npt.NDArray[np.float64]]:
        """Return the values of a population by objective, each (n,); NaN where there is none."""
        places = np.array([self._places.get(row.tobytes(), -1) for row in population], np.int64)
        return {
            name: np.where(places < 0, np.nan, column[places])
            for name, column in self.values.items()
        }

    def _means(self, places: npt.NDArray[np.int64], column: npt.NDArray[np.float64]) -> Floats:
        """Return the means of known values by place, shape (n_rows,); NaN where none is known."""
        known, n = np.isfinite(column), len(self.rows)
        counts = np.bincount(places[known], minlength=n)
        sums = np.bincount(places[known], column[known], n)
        return np.asarray(np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0))

    def _one(self, arch: Architecture) -> Evaluation:
        place = self._places.get(arch.row.tobytes())
        if place is None:
            error = f"not among the {len(self.rows)} architectures of the table"
            return Evaluation(arch, "failed", error=error)
        found = {name: float(column[place]) for name, column in self.values.items()}
        values = {name: value for name, value in found.items() if np.isfinite(value)}
        if not values:
            return Evaluation(arch, "failed", error=f"the table has no {', '.join(found)} of it")
        return Evaluation(arch, "complete", values)
