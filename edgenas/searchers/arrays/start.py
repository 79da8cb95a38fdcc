"""How a selection over arrays begins: target budgets, the grid over the costs, first elites."""

from __future__ import annotations

from contextlib import suppress
from itertools import product

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import InfeasibleError
from edgenas.searchers.arrays.exact import FrontProgram
from edgenas.searchers.arrays.problem import Selection
from edgenas.searchers.arrays.terms import GeneSum
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]

_N_CELLS = (84, 144, 216)
"""Cells of the grid for one, two, three and more costs."""
_N_UNASKED = 8  # budgets to work towards where none is given, for one cost
_N_BINS = 1 << 10
_N_PROBED = 2000


def target_budgets(selection: Selection, axes: tuple[str, ...]) -> Floats:
    """Return limits on the signed costs `axes`, shape (n_budgets, n_axes), inf where there is none.

    Those that are asked for come first; without any, a few are spread over the space.
    """
    signs = {name: selection.sign(name) for name in axes}
    if selection.budgets:
        return np.array(
            [
                [signs[name] * limits[name] if name in limits else np.inf for name in axes]
                for limits in selection.all_limits()
            ]
        )
    limits = selection.all_limits()[0]
    ends = [_range(selection, name, limits.get(name)) for name in axes]
    n = max(2, round(_N_UNASKED ** (1 / len(axes))))
    levels = [np.linspace(low, high, n + 1)[1:] for low, high in ends]
    return np.array(list(product(*levels)))


def cell_edges(selection: Selection, axes: tuple[str, ...], budgets: Floats) -> list[Floats]:
    """Return by cost the upper ends of the grid's cells, among them every budget."""
    n_cells = _N_CELLS[min(len(axes), len(_N_CELLS)) - 1] ** (1 / len(axes))
    edges = []
    for axis, name in enumerate(axes):
        low, high = _range(selection, name, None)
        limits = np.unique(budgets[:, axis])
        inner = limits[np.isfinite(limits) & (limits < high)]
        last = limits[-1] if np.isfinite(limits[-1]) else np.inf
        ends = np.append(inner, min(max(high, low), last))
        each = max(1, round(n_cells / len(ends)))
        starts = np.append(min(low, ends[0]), ends[:-1])
        parts = [np.linspace(a, b, each + 1)[1:] for a, b in zip(starts, ends, strict=True)]
        found = np.unique(np.concatenate(parts))
        # A budget beyond everything in the space, and rounding: the last cell is open to it.
        found[-1] = last if np.isfinite(last) else np.inf
        edges.append(found)
    return edges


def initial(selection: Selection, n: int, rng: np.random.Generator) -> Genes:
    """Return first architectures: uniform ones, and for every budget some that keep it."""
    every = selection.all_limits()
    share = -(-n // (2 * len(every)))
    parts = [selection.space.sample(n, rng)]
    known: set[tuple[tuple[str, float], ...]] = set()
    for limits in every:
        key = tuple(sorted(limits.items()))
        if limits and key not in known:
            known.add(key)
            parts += _under(selection, limits, share, rng)
    return np.concatenate(parts)


def _under(
    selection: Selection, limits: dict[str, float], n: int, rng: np.random.Generator
) -> list[Genes]:
    folds = {
        name: cost
        for name, cost in selection.costs.items()
        if isinstance(cost, Fold) and name in limits and selection.sign(name) > 0
    }
    sums = {name: fold for name, fold in folds.items() if fold.how == "sum"}
    maxima = [(fold, limits[name]) for name, fold in folds.items() if fold.how == "max"]
    found: list[Genes] = []
    for name, fold in sums.items():
        program = BudgetProgram(fold, limits=maxima, n_bins=_N_BINS)
        found.append(program.sample(n, limits[name], rng))
    if len(folds) > 1 and sums:  # one that keeps all of them, as samples may not
        first = next(iter(sums))
        others = [(fold, limits[name]) for name, fold in folds.items() if name != first]
        with suppress(InfeasibleError):  # checked before; labels may have been left out
            found.append(FrontProgram({first: sums[first]}, limits=others).front().genes)
    return found


def _range(selection: Selection, name: str, limit: float | None) -> tuple[float, float]:
    """Return least and greatest signed cost, the greatest cut at `limit`."""
    cost, sign = selection.costs[name], selection.sign(name)
    if isinstance(cost, Fold) and cost.how == "sum":
        program = BudgetProgram(cost)
        ends = [sign * program.least()[0], sign * program.greatest()[0]]
    elif isinstance(cost, Fold | GeneSum) and sign > 0:
        ends = [float(FrontProgram({name: cost}).front().values[0, 0]), _probed(selection, name)[1]]
    else:
        ends = list(_probed(selection, name))
    low, high = min(ends), max(ends)
    if limit is None:
        return low, high
    if sign * limit < low and isinstance(cost, Fold):
        raise InfeasibleError(f"no architecture has {name} of {limit:g}; the best is {low:g}")
    return low, min(high, sign * limit)


def _probed(selection: Selection, name: str) -> tuple[float, float]:
    """Return least and greatest signed cost among some random architectures."""
    space = selection.space
    genes = space.sample(_N_PROBED, np.random.default_rng(0))
    genes = np.concatenate([genes, space.largest()[None], space.smallest()[None]])
    values = selection.signed((name,), space.canonical(genes))[:, 0]
    return float(values.min()), float(values.max())
