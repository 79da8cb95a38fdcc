"""Selection over arrays: accuracy and compiled costs in, the front and a pick a budget out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import InfeasibleError
from edgenas.searchers.arrays.evolution import Evolution, EvolutionSettings
from edgenas.searchers.arrays.exact import FrontProgram
from edgenas.searchers.arrays.front import Front, Pick, Statistics
from edgenas.searchers.arrays.problem import Limits, Numbers, Selection
from edgenas.searchers.arrays.terms import GeneSum
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]


def select(  # noqa: PLR0913
    space: SearchSpace,
    costs: Mapping[str, Numbers],
    *,
    accuracy: Numbers | None = None,
    objectives: Sequence[str] = (),
    maximised: Sequence[str] = (),
    budgets: Sequence[Mapping[str, float]] = (),
    constraints: Mapping[str, float] | None = None,
    seed: int = 0,
    limits: Limits | None = None,
    settings: EvolutionSettings | None = None,
    start: Genes | None = None,
) -> Front:
    """Return the Pareto front of a space, and the best architecture for every budget.

    Where objectives and limits all fold over the space's factors (`Fold`, `GeneSum`) the front is
    exact. Else the accuracy is a callable on populations of genes, which evolution calls, or of a
    small space with all of them.

    Args:
        space: what is selected from.
        costs: to be small, by name: folds, or callables on populations of genes.
        accuracy: to be large; a callable on populations of genes. None: only costs count.
        objectives: what the front is of; default: the accuracy and all costs.
        maximised: costs that are to be large.
        budgets: limits by the name of the cost. The pick of a budget is the best in the accuracy,
            or in the first objective.
        constraints: limits that everything has to keep.
        seed: of every random choice.
        limits: what ends evolution; default 400,000 evaluations.
        settings: of evolution.
        start: architectures that evolution begins with, beside its own, shape (n, n_genes).

    Raises:
        InfeasibleError: a budget that nothing keeps; the message has the least value.
        UsageError: names that are not given, or a callable that does not give one number each.
    """
    began = time.perf_counter()
    selection = Selection(
        space, costs, accuracy, objectives, maximised, budgets, dict(constraints or {})
    )
    selection.check_budgets()
    if selection.additive:
        return _exact(selection, began)
    evolution = Evolution(selection, seed=seed, settings=settings, start=start)
    evolution.run(limits or Limits())
    told = Statistics(
        "exhaustive" if evolution.exhaustive else "evolution",
        {},
        evolution.n_evaluated,
        evolution.n_costed,
        evolution.n_rounds,
        time.perf_counter() - began,
    )
    rows = evolution.archive.best_genes[: len(selection.budgets)]
    found = np.isfinite(evolution.archive.best[: len(selection.budgets)])
    return _front(selection, evolution.genes, rows, found, told)


def _exact(selection: Selection, began: float) -> Front:
    quantities = selection.quantities
    objectives = {name: _folding(quantities[name]) for name in selection.objectives}
    large = [name for name in objectives if selection.sign(name) < 0]
    limits = [(_folding(quantities[n]), limit) for n, limit in selection.constraints.items()]
    result = FrontProgram(objectives, maximised=large, limits=limits).front()
    first = selection.objectives[0]
    rows = np.zeros((len(selection.budgets), selection.space.n_genes), dtype=np.int8)
    for i, asked in enumerate(selection.all_limits()[: len(selection.budgets)]):
        own = [(_folding(quantities[n]), limit) for n, limit in asked.items()]
        best = FrontProgram({first: objectives[first]}, maximised=large, limits=own).front()
        rows[i] = best.genes[0]
    told = Statistics(
        "exact",
        dict(zip(selection.objectives, result.errors, strict=True)),
        0,
        0,
        result.n_labels,
        time.perf_counter() - began,
    )
    return _front(selection, result.genes, rows, np.ones(len(rows), dtype=bool), told)


def _folding(quantity: Numbers) -> Fold | GeneSum:
    assert isinstance(quantity, Fold | GeneSum)  # noqa: S101 - `Selection.additive` says so
    return quantity


def _front(
    selection: Selection,
    genes: Genes,
    picked: Genes,
    found: npt.NDArray[np.bool_],
    told: Statistics,
) -> Front:
    for budget, fine in zip(selection.budgets, found, strict=True):
        if not fine:
            texts = ", ".join(f"{name} <= {limit:g}" for name, limit in budget.items())
            raise InfeasibleError(
                f"nothing that keeps {texts} was found in {selection.space.name} among "
                f"{told.n_costs} architectures; allow more"
            )
    names = list(selection.quantities)
    every = {name: _values(selection, name, genes) for name in names}
    order = np.lexsort([selection.sign(n) * every[n] for n in reversed(selection.objectives)])
    at = {name: _values(selection, name, picked) for name in names}
    picks = tuple(
        Pick(dict(budget), row, {name: float(at[name][i]) for name in names})
        for i, (budget, row) in enumerate(zip(selection.budgets, picked, strict=True))
    )
    values = {name: column[order] for name, column in every.items()}
    return Front(selection.space, tuple(selection.objectives), genes[order], values, picks, told)


def _values(selection: Selection, name: str, genes: Genes) -> Floats:
    return np.asarray(selection.quantities[name](genes), dtype=np.float64).reshape(len(genes))
