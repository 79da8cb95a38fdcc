"""Evolution with local search over whole populations, for every budget in one run.

Elites of neighbouring costs are crossed and mutated, and of the children those are evaluated that
an additive model finds promising. Around the best for each budget every choice of one part of the
network is evaluated, and of all pairs of such choices those whose effects add up to most. That
costs a few hundred evaluations an elite instead of ten thousand.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import InfeasibleError, UsageError
from edgenas.searchers.arrays.archive import Archive, Seen
from edgenas.searchers.arrays.exact import efficient
from edgenas.searchers.arrays.neighbours import Moves
from edgenas.searchers.arrays.problem import Limits, Selection
from edgenas.searchers.arrays.screen import Screen
from edgenas.searchers.arrays.start import cell_edges, initial, target_budgets
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.listing import listing

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EvolutionSettings:
    """How a selection goes about it.

    Attributes:
        n_initial: architectures drawn at the start.
        n_children: evaluated in a generation.
        n_drawn: children for each that is evaluated; 1 evaluates all.
        n_first: evaluations before neighbours are looked at for the first time.
        n_generations: between two looks at neighbours.
        n_expanded: elites a budget whose neighbours are looked at, each time.
        n_pairs: of choices, evaluated around each.
        n_triples: of choices, evaluated around each.
        n_promising: choices of one part that pairs are made of.
        n_tripled: choices of one part that triples are made of.
        n_targets: budgets looked at each time.
        n_elites: a cell of the costs' grid.
        distance: how unlike elites of a cell are at least, in genes (`gene_weights`).
        mutated: genes drawn anew in a child, on average.
    """

    n_initial: int = 6000
    n_children: int = 1000
    n_drawn: int = 3
    n_first: int = 100_000
    n_generations: int = 1
    n_expanded: int = 1
    n_pairs: int = 30
    n_triples: int = 40
    n_promising: int = 64
    n_tripled: int = 30
    n_targets: int = 8
    n_elites: int = 13
    distance: int = 10
    mutated: float = 1.5

    def __post_init__(self) -> None:
        positive = "n_initial n_children n_drawn n_generations n_expanded n_pairs n_targets"
        for name in (*positive.split(), "n_elites"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, allowed: 1 or more")
        if self.n_promising < 2:
            raise UsageError(f"n_promising is {self.n_promising}, allowed: 2 or more")


class Evolution:
    """One run; `run` ends it, and `archive`, `genes` and `values` are what was found.

    Args:
        selection: what is selected; its `primary` is what is evaluated, its `axes` are cheap.
        seed: of every random choice.
        settings: see `EvolutionSettings`.
        start: architectures to begin with, beside random ones, shape (n, n_genes).
    """

    def __init__(
        self,
        selection: Selection,
        *,
        seed: int,
        settings: EvolutionSettings | None = None,
        start: Genes | None = None,
    ) -> None:
        self.selection, self.space = selection, selection.space
        self.settings = settings or EvolutionSettings()
        self.rng = np.random.default_rng(seed)
        self._start = start
        self._n_better = 0
        self.axes = selection.axes()
        self.n_evaluated = self.n_costed = self.n_rounds = 0
        self.exhaustive = False
        self.budgets = target_budgets(selection, self.axes)
        self.n_asked = len(selection.budgets)
        edges = cell_edges(selection, self.axes, self.budgets)
        n_elites, distance = self.settings.n_elites, min(self.settings.distance, self._most_apart())
        self.seen, self.moves = Seen(self.space.n_genes), Moves(self.space)
        self.screen = Screen(self.space)
        self.archive = Archive(
            self.space.n_genes,
            edges,
            self.budgets,
            n_elites=n_elites,
            distance=distance,
            weights=gene_weights(self.space),
        )
        self.genes: Genes = np.zeros((0, self.space.n_genes), dtype=np.int8)
        self.values: Floats = np.zeros((0, len(selection.objectives)))

    def run(self, limits: Limits) -> None:
        """Search until a limit is reached.

        Raises:
            InfeasibleError: nothing that keeps the limits was found.
        """
        began, idle = time.perf_counter(), 0

        def ended() -> bool:
            late = limits.seconds is not None and time.perf_counter() - began >= limits.seconds
            self._room = (
                np.iinfo(np.int64).max
                if limits.n_evaluations is None
                else limits.n_evaluations - self.n_evaluated
            )
            return late or self._room <= 0

        ended()
        if self._start is not None:
            self.space.check(self._start)
        every = listing(self.space)
        if every is not None and len(every) <= self._room:
            self._take_all(every)
            return
        if self._start is not None:
            self._take(self.space.canonical(self._start))
        self._n_children, n_initial, self.archive.n_elites = self._sizes(limits)
        self._take(initial(self.selection, n_initial, self.rng))
        self._check_found()
        while not ended() and idle < _IDLE:
            before, n_better = self.n_evaluated, self._n_better
            around = self.genes[:0]
            if before >= min(self.settings.n_first, (limits.n_evaluations or before + 1) // 4):
                around = self._look_around()
            for _ in range(self.settings.n_generations):
                if ended():
                    break
                self._take(np.concatenate([around, self._children()]))
                around = around[:0]
            self.n_rounds += 1
            few = (self.n_evaluated - before) * _FEW < self._n_children
            idle = idle + 1 if few and self._n_better == n_better else 0

    # -- internal --------------------------------------------------------------------------

    def _take_all(self, every: Genes) -> None:
        """Evaluate every architecture of a small space: nothing is left to be searched for."""
        self._take(every)
        self._check_found()
        self.exhaustive = True

    def _check_found(self) -> None:
        if not len(self.archive):
            raise InfeasibleError(
                f"nothing in {self.space.name} was found that keeps the limits among "
                f"{self.n_costed} architectures; allow more"
            )

    def _sizes(self, limits: Limits) -> tuple[int, int, int]:
        """Return children a generation, first architectures, elites: fewer where few are allowed.

        Many unlike elites find more in the end, few find something soon.
        """
        own = self.settings
        if limits.n_evaluations is None:
            return own.n_children, own.n_initial, own.n_elites
        least, allowed = 32, limits.n_evaluations
        return (
            min(own.n_children, max(least, allowed // 40)),
            min(own.n_initial, max(least, allowed // 8)),
            min(own.n_elites, max(2, allowed // _PER_ELITE)),
        )

    def _most_apart(self) -> int:
        return max(1, int((self.space.n_options > 1).sum()) // 4)

    def _costs(self, genes: Genes) -> Floats:
        self.n_costed += len(genes)
        return self.selection.signed(self.axes, genes)

    def _take(self, genes: Genes) -> None:
        """Evaluate what is new and within some budget, and take it in."""
        genes = genes[self.seen.fresh(genes)]
        costs = self._costs(genes)
        fine = np.flatnonzero(self.archive.within(costs))[: self._room]
        self._evaluate(genes[fine], costs[fine])

    def _evaluate(self, genes: Genes, costs: Floats) -> Floats:
        if not len(genes):
            return np.zeros(0)
        accuracy = self.selection.primary_values(genes)
        self.n_evaluated += len(genes)
        self._room -= len(genes)
        self.screen.learn(genes, accuracy)
        self.archive.merge(genes, accuracy, costs)
        self._note_front(genes, accuracy, costs)
        return accuracy

    def _note_front(self, genes: Genes, accuracy: Floats, costs: Floats) -> None:
        fine = self.archive.within(costs)
        values = self.selection.objective_values(self.axes, accuracy[fine], costs[fine])
        genes = np.concatenate([self.genes, genes[fine]])
        values = np.concatenate([self.values, values])
        rows = efficient(values, np.zeros(len(values), dtype=np.int64))
        self._n_better += bool((rows >= len(self.genes)).any())
        self.genes, self.values = genes[rows], values[rows]

    def _children(self) -> Genes:
        """Return the children of a generation, those of all that are drawn that promise most."""
        n = self._n_children
        if self.settings.n_drawn == 1 or not self.screen.ready:
            return self._drawn(n)[0]
        genes, parents = self._drawn(n * self.settings.n_drawn)
        new = self.seen.missing(genes[:n])
        if len(new) <= n // 2:  # little is left to choose from, as near the least cost of a space
            return genes[new]
        self.screen.fit()
        archive, costs = self.archive, self._costs(genes)
        # What the model leaves unexplained in a parent it leaves unexplained in the child.
        known = archive.accuracy - self.screen(archive.genes)
        margin = known[parents] + self.screen(genes) - archive.best_within(costs)
        margin[~archive.within(costs)] = -np.inf
        return genes[np.argpartition(-margin, n)[:n]]

    def _drawn(self, n: int) -> tuple[Genes, Ints]:
        """Return `n` children, and the elites that they have most genes of."""
        archive, rng = self.archive, self.rng
        axis = self.n_rounds % archive.costs.shape[1] if archive.costs.shape[1] > 1 else None
        order = (
            np.arange(len(archive))
            if axis is None
            else np.argsort(archive.costs[:, axis], kind="stable")
        )
        left = rng.integers(0, len(order), n)
        steps = np.round(rng.normal(0, 2.0 * self.settings.n_elites, n)).astype(np.int64)
        right = np.clip(left + steps, 0, len(order) - 1)
        shape = (n, self.space.n_genes)
        # Up to half of the genes: bytes are the cheapest random numbers.
        share = rng.integers(0, 128, (n, 1), dtype=np.uint8)
        taken = rng.integers(0, 256, shape, dtype=np.uint8) < share
        parents = order[left]
        genes = np.where(taken, archive.genes[order[right]], archive.genes[parents])
        rate = self.settings.mutated / self.space.n_genes
        n_changed = rng.binomial(n * self.space.n_genes, min(rate, 1.0))
        changed = rng.integers(0, n * self.space.n_genes, n_changed)
        options = self.space.n_options[changed % self.space.n_genes]
        flat = genes.ravel()
        flat[changed] = (rng.random(len(changed)) * options).astype(np.int8)
        return self.space.canonical(flat.reshape(shape)), parents

    def _look_around(self) -> Genes:
        """Evaluate what is one move from the best elites of some budgets; return what is more."""
        budgets = np.arange(len(self.budgets))
        if len(budgets) > self.settings.n_targets:
            budgets = self.rng.choice(budgets, self.settings.n_targets, replace=False)
        rows, owners = self.archive.to_expand(budgets, self.settings.n_expanded)
        allowed = self._room // len(self.moves)  # every one's neighbours or none
        rows, owners = rows[:allowed], owners[:allowed]
        archive = self.archive
        if not len(rows):
            return archive.genes[:0]
        elites, accuracy, costs = archive.genes[rows], archive.accuracy[rows], archive.costs[rows]
        gains, extra = self._effects(elites, accuracy, costs)
        return self._combined(elites, gains, extra, self.budgets[owners] - costs)

    def _effects(self, elites: Genes, accuracy: Floats, costs: Floats) -> tuple[Floats, Floats]:
        """Evaluate every single move: gains (n, n_moves), extra costs (n, n_moves, n_costs)."""
        n, m = len(elites), len(self.moves)
        singles = self.moves.singles(elites)
        _, first, places = np.unique(
            self.seen.keys(singles), return_index=True, return_inverse=True
        )
        distinct = singles[first]
        self.seen.fresh(distinct)
        own = self._costs(distinct)
        found = self._evaluate(distinct, own)
        gains = found[places].reshape(n, m) - accuracy[:, None]
        extra = own[places].reshape(n, m, -1) - costs[:, None, :]
        same = (singles.reshape(n, m, -1) == elites[:, None, :]).all(axis=2)
        gains[same] = -np.inf
        return gains, extra

    def _combined(self, elites: Genes, gains: Floats, extra: Floats, room: Floats) -> Genes:
        """Return the pairs and triples of moves whose effects add up to most within the room."""
        k = min(self.settings.n_promising, len(self.moves))
        worth = gains - (extra * _prices(gains, extra)[:, None, :]).sum(axis=2)
        promising = np.argsort(-worth, axis=1, kind="stable")[:, :k]
        gains = np.take_along_axis(gains, promising, axis=1)
        extra = np.take_along_axis(extra, promising[..., None], axis=1)
        limit = room + _SLACK * np.abs(room)
        children = []
        for places, n_best in (
            (_combinations(k, 2), self.settings.n_pairs),
            (_combinations(min(k, self.settings.n_tripled), 3), self.settings.n_triples),
        ):
            if not (n_best and len(places)):
                continue
            total = gains[:, places].sum(axis=2)
            fits = self.moves.independent(promising, places)
            for axis in range(extra.shape[2]):
                fits &= extra[:, :, axis][:, places].sum(axis=2) <= limit[:, axis, None]
            total[~fits] = -np.inf
            n = min(n_best, len(places))
            best = np.argpartition(-total, n - 1, axis=1)[:, :n]
            rows, columns = np.nonzero(np.isfinite(np.take_along_axis(total, best, axis=1)))
            moves = promising[rows[:, None], places[best[rows, columns]]]
            children.append(self.moves.apply(elites[rows], moves))
        return np.concatenate(children) if children else elites[:0]


def gene_weights(space: SearchSpace) -> Ints:
    """Return how much each gene makes networks unlike, shape (n_genes,), 1 to `_MOST_WEIGHT`.

    A gene counts as often as parts of the network read it. One that decides whether others matter
    (a depth), or that all parts read (the resolution), counts most: networks that differ in it are
    other designs, whose kernels and widths are worth finding apart.
    """
    weights = np.ones(space.n_genes, dtype=np.int64)
    for factor in space.factors:
        for gene in factor.genes:
            weights[space.index[gene]] += 1
    weights = np.clip(weights - 1, 1, _MOST_WEIGHT)
    weights[[parent for parent, _ in space.conditions.values()]] = _MOST_WEIGHT
    return weights


_MOST_WEIGHT = 5
_PER_ELITE = 25_000  # evaluations that are worth another elite a cell
_SLACK = 0.05
"""Effects of two moves on a cost need not add up to the last bit: this much room is given."""
_IDLE, _FEW = 50, 10
"""So many idle rounds in a row end a run: what the budgets allow is as good as known.

Idle is a round that adds nothing to the front and evaluates less than one architecture in `_FEW`
children: the others came by before, or no budget allows them. Near the least cost of a space such
rounds could go on for minutes.
"""


@cache
def _combinations(n: int, size: int) -> Ints:
    """Return all choices of `size` of n places, shape (n_combinations, size)."""
    return np.array(list(combinations(range(n), size)), dtype=np.int64).reshape(-1, size)


def _prices(gains: Floats, extra: Floats) -> Floats:
    """Return what a unit of each cost is worth in accuracy, shape (n, n_costs): least squares."""
    known = np.where(np.isfinite(gains), gains, 0.0)
    gram = np.einsum("nma,nmb->nab", extra, extra)
    scale = np.einsum("naa->na", gram)
    gram += np.eye(extra.shape[2]) * (1e-6 * scale[:, None, :] + 1e-300)
    slopes = np.linalg.solve(gram, np.einsum("nma,nm->na", extra, known)[..., None])[..., 0]
    positive: Floats = np.maximum(slopes, 0.0)
    return positive
