"""Exact questions about budgets, by dynamic programming over the factors.

The factors are eliminated in the order of the network. Between two factors only the genes that
both sides read stay open (a stage's depth, the resolution), so the tables stay small whatever the
size of the space: least and greatest cost, the number of architectures under a budget, and uniform
samples under it, none of them by trial and error. The method is variable elimination on a
factor graph (Dechter 1999, doi:10.1016/S0004-3702(99)00059-4) along a path decomposition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import InfeasibleError, SpaceError
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold

MAX_STATES = 2_000_000
"""Largest table between two factors (open combinations times new ones)."""

_FORBIDDEN = np.inf


@dataclass(frozen=True, slots=True)
class Step:
    """One factor's elimination.

    `cost[i, j]` is what the factor adds if the open genes have combination i and its new genes
    combination j (inf where that is forbidden or not canonical); `following[i, j]` is the
    combination of the genes that stay open after it; `options[j]` are the new genes' options.
    """

    new_genes: tuple[int, ...]
    options: Genes
    cost: npt.NDArray[np.float64]
    following: npt.NDArray[np.int64]


class BudgetProgram:
    """Least, greatest, number and samples of architectures under a budget on one cost.

    Args:
        fold: the cost; a sum over the factors.
        limits: costs that fold by max (peak memory) with the most that each may reach.
        n_bins: resolution of counting and sampling where costs are no whole numbers. Costs are
            rounded up, so that every sample keeps the budget; with b bins the architectures in
            the last `n_factors / b` of the budget may be left out.

    Raises:
        SpaceError: the factors are so entangled that the tables would not fit in memory.
    """

    def __init__(
        self, fold: Fold, *, limits: Sequence[tuple[Fold, float]] = (), n_bins: int = 1 << 14
    ) -> None:
        if fold.how != "sum":
            raise SpaceError("a budget programme needs a cost that is a sum over the factors")
        self.fold, self.space, self.n_bins = fold, fold.space, n_bins
        tables = [table.copy() for table in fold.tables]
        for limit_fold, limit in limits:
            if limit_fold.how != "max":
                raise SpaceError("a limit is on a cost that is a maximum over the factors")
            for table, other in zip(tables, limit_fold.tables, strict=True):
                table[other + limit_fold.offset > limit] = _FORBIDDEN
        self._steps = eliminate(
            self.space,
            [np.sum([tables[i] for i in places], axis=0) for _, places in groups(self.space)],
        )

    def least(self) -> tuple[float, Genes]:
        """Return the least cost and an architecture that has it, genes of shape (n_genes,).

        Raises:
            InfeasibleError: the limits forbid every architecture.
        """
        return self._extreme(1.0)

    def greatest(self) -> tuple[float, Genes]:
        """Return the greatest cost and an architecture that has it (errors as `least`)."""
        return self._extreme(-1.0)

    def size(self) -> int:
        """Return the number of distinct architectures that keep the limits, exactly."""
        ways: list[int] = [1]
        for step in reversed(self._steps):
            allowed = np.isfinite(step.cost)
            ways = [
                sum(ways[k] for k in step.following[i][allowed[i]]) for i in range(len(allowed))
            ]
        return ways[0]

    def count(self, budget: float) -> float:
        """Return how many distinct architectures cost at most `budget`.

        Exact for whole-number costs up to `n_bins`; else a lower bound (see `n_bins`).
        """
        n = self.size()
        if n == 0 or budget < self.least()[0]:
            return 0.0
        if budget >= self.greatest()[0]:
            return float(n)
        program = self._under(budget)
        # The cheapest one is there, even where rounding up leaves it out.
        return 1.0 if program is None else max(1.0, float(program[0][0][0, program[2]]))

    def sample(self, n: int, budget: float, rng: np.random.Generator) -> Genes:
        """Return `n` architectures, uniform among those that cost at most `budget`.

        Nothing is rejected: each gene is drawn in proportion to the number of completions.

        Returns:
            Canonical genes, shape (n, n_genes).

        Raises:
            InfeasibleError: no architecture costs that little; the message has the least cost.
        """
        least, cheapest = self.least()
        if least > budget:
            raise InfeasibleError(
                f"no architecture costs {budget:g} or less; the least is {least:g}"
            )
        program = self._under(budget)
        if program is None or program[0][0][0, program[2]] == 0:
            return np.repeat(cheapest[None], n, axis=0)  # the budget is the least, to rounding
        ways, bins, room = program
        genes = np.zeros((n, self.space.n_genes), dtype=np.int8)
        state, left = np.zeros(n, dtype=np.int64), np.full(n, room)
        for step, cost, after in zip(self._steps, bins, ways[1:], strict=True):
            remaining = left[:, None] - cost[state]
            weights = np.where(
                remaining >= 0, after[step.following[state], np.maximum(remaining, 0)], 0.0
            )
            edges = np.cumsum(weights, axis=1)
            draw = rng.random(n) * edges[:, -1]
            choice = (edges <= draw[:, None]).sum(axis=1)
            genes[:, list(step.new_genes)] = step.options[choice]
            left = remaining[np.arange(n), choice]
            state = step.following[state, choice]
        return genes

    # -- internal --------------------------------------------------------------------------

    def _extreme(self, sign: float) -> tuple[float, Genes]:
        best: npt.NDArray[np.float64] = np.zeros(1)
        decisions: list[npt.NDArray[np.int64]] = []
        for step in reversed(self._steps):
            value = np.where(np.isfinite(step.cost), sign * step.cost, np.inf)
            value = value + best[step.following]
            decisions.append(value.argmin(axis=1))
            best = value.min(axis=1)
        if not np.isfinite(best[0]):
            raise InfeasibleError("the limits forbid every architecture of the space")
        genes = np.zeros(self.space.n_genes, dtype=np.int8)
        state = 0
        for step, decision in zip(self._steps, reversed(decisions), strict=True):
            choice = decision[state]
            genes[list(step.new_genes)] = step.options[choice]
            state = int(step.following[state, choice])
        # As the fold adds it up, to the last bit: a budget of exactly this cost is kept.
        return float(self.fold(genes[None])[0]), genes

    def _under(
        self, budget: float
    ) -> tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.int64]], int] | None:
        """Return (completions by step, state and bins left; costs in bins; bins in the budget).

        None if costs are no whole numbers and the budget leaves no room above the sum of every
        factor's least.
        """
        floors = [float(step.cost[np.isfinite(step.cost)].min()) for step in self._steps]
        room = budget - self.fold.offset - sum(floors)
        finite = np.concatenate([step.cost[np.isfinite(step.cost)] for step in self._steps])
        whole = bool(np.all(finite == np.round(finite))) and 0 <= room <= self.n_bins
        if room <= 0 and not whole:
            return None
        n_bins = int(room) if whole else self.n_bins
        width = 1.0 if whole else room / n_bins
        bins = []
        for step, floor in zip(self._steps, floors, strict=True):
            # The tolerance keeps a cost that is a whole number of bins from being rounded up.
            excess = np.ceil((step.cost - floor) / width - 1e-9)
            bins.append(np.where(excess <= n_bins, excess, n_bins + 1).astype(np.int64))
        ways = [np.ones((1, n_bins + 1))]
        for step, cost in zip(reversed(self._steps), reversed(bins), strict=True):
            before = np.zeros((len(cost), n_bins + 1))
            for i, j in product(*map(range, cost.shape)):
                shift = cost[i, j]
                if shift <= n_bins:
                    before[i, shift:] += ways[-1][step.following[i, j], : n_bins + 1 - shift]
            ways.append(before)
        return ways[::-1], bins, n_bins


def groups(space: SearchSpace) -> list[tuple[tuple[str, ...], list[int]]]:
    """Return the genes that factors read and the places of these factors, in network order.

    Factors that read the same genes, several of them, are eliminated together: all genes of a cell
    that a network repeats would stay open between its stages. One gene costs nothing to keep open,
    so such factors stay where they are, and so do the random draws of spaces without cells.
    """
    found: list[tuple[tuple[str, ...], list[int]]] = []
    for place, factor in enumerate(space.factors):
        together = [places for genes, places in found if len(genes) > 1 and genes == factor.genes]
        if together:
            together[0].append(place)
        else:
            found.append((factor.genes, [place]))
    return found


def eliminate(space: SearchSpace, tables: list[npt.NDArray[np.float64]]) -> list[Step]:
    """Turn factors, and the conditions that make genes canonical, into steps.

    Args:
        space: whose factors are eliminated, in the order of their `groups`.
        tables: per group an array, shape (n_combinations,), of what its factors add; inf forbids.

    Raises:
        SpaceError: the factors are so entangled that the tables would not fit in memory.
    """
    terms = [
        (tuple(space.index[name] for name in genes), table)
        for (genes, _), table in zip(groups(space), tables, strict=True)
    ]
    terms += [((gene,), np.zeros(space.n_options[gene])) for gene in range(space.n_genes)]
    terms = _with_conditions(space, terms, _links(space))
    steps: list[Step] = []
    open_genes: tuple[int, ...] = ()
    for position, (genes, table) in enumerate(terms):
        later = {gene for others, _ in terms[position + 1 :] for gene in others}
        new = tuple(gene for gene in genes if gene not in open_genes)
        staying = tuple(gene for gene in (*open_genes, *new) if gene in later)
        steps.append(_step(space, genes, table, open_genes, new, staying))
        open_genes = staying
    return steps


def _links(space: SearchSpace) -> list[tuple[int, int, npt.NDArray[np.bool_]]]:
    """Return (gene, other gene, the other's options under which the gene may be other than 0)."""
    links: list[tuple[int, int, npt.NDArray[np.bool_]]] = []
    for column in space.conditions:
        above: int | None = column
        while above in space.conditions:
            above, allowed = space.conditions[above]
            links.append((column, above, allowed))
    for columns in space.sequence_columns:  # after a zero, only zeros
        for before, after in pairwise(columns):
            links.append((after, before, np.arange(space.n_options[before]) > 0))
    return links


def _with_conditions(
    space: SearchSpace,
    terms: list[tuple[tuple[int, ...], npt.NDArray[np.float64]]],
    conditions: list[tuple[int, int, npt.NDArray[np.bool_]]],
) -> list[tuple[tuple[int, ...], npt.NDArray[np.float64]]]:
    """Forbid non-canonical genes, and drop the helper terms that then bring nothing new."""
    result: list[tuple[tuple[int, ...], npt.NDArray[np.float64]]] = []
    pending, seen = list(conditions), set[int]()
    for genes, table in terms:
        if len(genes) == 1 and genes[0] in seen and not table.any():
            continue
        here = [c for c in pending if c[0] in genes and c[1] in genes]
        pending = [c for c in pending if c not in here]
        values = table.reshape([space.n_options[gene] for gene in genes]).copy()
        for child, parent, allowed in here:
            grid = np.indices(values.shape)
            dead = ~allowed[grid[genes.index(parent)]] & (grid[genes.index(child)] != 0)
            values[dead] = _FORBIDDEN
        result.append((genes, values.ravel()))
        seen.update(genes)
    for child, parent, allowed in pending:  # no factor reads both: a term of its own
        values = np.zeros((space.n_options[parent], space.n_options[child]))
        values[~allowed, 1:] = _FORBIDDEN
        # Just before the second of the two is first read, so that few genes stay open for long.
        firsts = [next(i for i, (g, _) in enumerate(result) if x in g) for x in (parent, child)]
        result.insert(max(firsts), ((parent, child), values.ravel()))
    return result


def _step(  # noqa: PLR0913
    space: SearchSpace,
    genes: tuple[int, ...],
    table: npt.NDArray[np.float64],
    open_genes: tuple[int, ...],
    new: tuple[int, ...],
    staying: tuple[int, ...],
) -> Step:
    open_options = _grid(space, open_genes)
    new_options = _grid(space, new)
    if len(open_options) * len(new_options) > MAX_STATES:
        raise SpaceError(
            f"space {space.name}: {len(open_options)} open and {len(new_options)} new combinations "
            f"exceed {MAX_STATES}; order its factors so that fewer genes stay open"
        )
    column: dict[int, npt.NDArray[np.int64]] = {
        **{gene: open_options[:, None, k] for k, gene in enumerate(open_genes)},
        **{gene: new_options[None, :, k] for k, gene in enumerate(new)},
    }
    shape = (len(open_options), len(new_options))

    def number(of: tuple[int, ...]) -> npt.NDArray[np.int64]:
        total = np.zeros(shape, dtype=np.int64)
        for gene in of:
            total = total * space.n_options[gene] + column[gene]
        return total

    return Step(new, new_options.astype(np.int8), table[number(genes)], number(staying))


def _grid(space: SearchSpace, genes: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return all combinations of the genes' options, shape (n, len(genes)); (1, 0) for none."""
    combinations = list(product(*(range(space.n_options[gene]) for gene in genes)))
    return np.array(combinations, dtype=np.int64).reshape(len(combinations), len(genes))
