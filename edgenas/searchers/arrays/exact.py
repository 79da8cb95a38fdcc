"""Exact Pareto fronts over a whole space, for quantities that fold over its factors.

Label setting (Martins 1984, doi:10.1016/0377-2217(84)90077-8) along the elimination order of
`edgenas.spaces.budget`: a label is a part of a network with what it has cost so far, and of the
labels whose open genes are equal only the non-dominated ones can become members of the front.
Where they are too many, one label a box is kept (the scheme of Warburton 1987,
doi:10.1287/opre.35.1.70), and the error that this can have made is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import moocore
import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import InfeasibleError, UsageError
from edgenas.searchers.arrays.terms import Additive, GeneSum
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import Step, eliminate, groups
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_LABELS = 200_000
"""Labels kept between two factors before boxes are used."""
_EXPANDED = 4_000_000  # labels made at a time
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ExactFront:
    """A front that no architecture of the space improves on by more than `errors`.

    Attributes:
        genes: canonical, shape (n, n_genes), by the first objective.
        values: of the objectives as they are asked for, shape (n, n_objectives).
        errors: by objective what a member of the true front can be better by, at most; zeros where
            the front is exact.
        n_labels: the most labels between two factors.
    """

    genes: Genes
    values: Floats
    errors: tuple[float, ...]
    n_labels: int

    @property
    def exact(self) -> bool:
        """Whether these are exactly the values of the true front."""
        return not any(self.errors)


class FrontProgram:
    """Makes exact fronts of additive quantities.

    `boxed` says whether labels were left out for want of room: then architectures within the
    errors of a limit can have been passed over, all that keep it even.

    Args:
        objectives: what is to be small, by name; `maximised` ones large.
        maximised: names of those.
        limits: other additive quantities, and objectives again, with the most that each may be
            (the least for maximised ones).
        max_labels: see `MAX_LABELS`.

    Raises:
        UsageError: no objective, or quantities of several spaces.
        SpaceError: the space's factors are too entangled (see `eliminate`).
    """

    def __init__(
        self,
        objectives: Mapping[str, Additive],
        *,
        maximised: Sequence[str] = (),
        limits: Sequence[tuple[Additive, float]] = (),
        max_labels: int = MAX_LABELS,
    ) -> None:
        if not objectives:
            raise UsageError("a front needs at least one objective")
        if max_labels < 1:
            raise UsageError(f"max_labels is {max_labels}, allowed: 1 or more")
        self.names, self.max_labels = tuple(objectives), max_labels
        self.quantities = list(objectives.values())
        self.signs = np.array([-1.0 if name in maximised else 1.0 for name in objectives])
        self.space: SearchSpace = self.quantities[0].space
        spaces = {q.space.fingerprint for q in (*self.quantities, *(q for q, _ in limits))}
        if len(spaces) > 1:
            raise UsageError("the quantities of one front have to be of one space")
        self._limits = list(limits)
        self._tracked = [*zip(self.quantities, self.signs, strict=True)]
        bounds = [np.inf] * len(self._tracked)
        for quantity, limit in limits:  # a limit on an objective needs no label value of its own
            found = [i for i, own in enumerate(self.quantities) if own is quantity]
            sign = self.signs[found[0]] if found else 1.0
            if found:
                bounds[found[0]] = min(bounds[found[0]], sign * limit)
            else:
                self._tracked.append((quantity, 1.0))
                bounds.append(limit)
        self._bounds = np.array(bounds)
        self._maxima = np.array([_is_maximum(quantity) for quantity, _ in self._tracked])
        self._steps = _steps(self.space, self._tracked)
        self.boxed = False
        self._offsets = np.array([sign * q.offset for q, sign in self._tracked])
        self._completion = _completions(self._steps, self._maxima)

    def front(self) -> ExactFront:
        """Return the front.

        Raises:
            InfeasibleError: no architecture keeps the limits.
        """
        n = len(self._tracked)
        values = np.full((1, n), 0.0)
        values[:, self._maxima] = -np.inf
        states = np.zeros(1, dtype=np.int64)
        history: list[tuple[Ints, Ints]] = []
        errors, most = np.zeros(n), 1
        for step, after in zip(self._steps, self._completion[1:], strict=True):
            values, states, parents, choices, rounding = self._advance(step, after, values, states)
            history.append((parents, choices))
            errors, most = errors + rounding, max(most, len(values))
        genes = self._genes(history)
        return self._finished(genes, errors, most)

    # -- internal --------------------------------------------------------------------------

    def _advance(
        self, step: _ValuedStep, after: Floats, values: Floats, states: Ints
    ) -> tuple[Floats, Ints, Ints, Ints, Floats]:
        """Return the labels behind a step: values, states, the labels and options they are from."""
        n_new = step.allowed.shape[1]
        kept: list[tuple[Floats, Ints, Ints, Ints]] = []
        chunk = max(1, _EXPANDED // n_new)
        for start in range(0, len(values), chunk):
            rows = np.arange(start, min(start + chunk, len(values)))
            parents, choices = np.nonzero(step.allowed[states[rows]])
            parents = rows[parents]
            origin = states[parents]
            added = step.values[origin, choices]
            total = values[parents] + added
            total[:, self._maxima] = np.maximum(values[parents], added)[:, self._maxima]
            following = step.following[origin, choices]
            fine = self._within(total, after[following])
            kept.append((total[fine], following[fine], parents[fine], choices[fine]))
            kept = [self._pruned(kept)]
        values, states, parents, choices = kept[0]
        if not len(values):
            raise InfeasibleError(
                f"no architecture of {self.space.name} keeps the limits "
                f"{', '.join(f'{limit:g}' for _, limit in self._limits)} together; allow more"
            )
        if len(values) <= self.max_labels:
            return values, states, parents, choices, np.zeros(values.shape[1])
        self.boxed = True
        rows, widths = _boxed(values, states, self.max_labels)
        return values[rows], states[rows], parents[rows], choices[rows], widths

    def _within(self, values: Floats, completion: Floats) -> npt.NDArray[np.bool_]:
        """Return which labels can still keep the limits, shape (n,)."""
        least = values + completion
        least[:, self._maxima] = np.maximum(values, completion)[:, self._maxima]
        slack = _ROUNDING * np.maximum(np.abs(self._bounds), 1.0)
        slack[~np.isfinite(self._bounds)] = 0.0
        fine: npt.NDArray[np.bool_] = (least + self._offsets <= self._bounds + slack).all(axis=1)
        return fine

    def _pruned(
        self, parts: Sequence[tuple[Floats, Ints, Ints, Ints]]
    ) -> tuple[Floats, Ints, Ints, Ints]:
        values, states, parents, choices = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        rows = efficient(values, states)
        return values[rows], states[rows], parents[rows], choices[rows]

    def _genes(self, history: Sequence[tuple[Ints, Ints]]) -> Genes:
        labels = np.arange(len(history[-1][0]))
        genes = np.zeros((len(labels), self.space.n_genes), dtype=np.int8)
        for step, (parents, choices) in zip(reversed(self._steps), reversed(history), strict=True):
            genes[:, list(step.new_genes)] = step.options[choices[labels]]
            labels = parents[labels]
        return genes

    def _finished(self, genes: Genes, errors: Floats, most: int) -> ExactFront:
        """Return the front with the values that the quantities themselves give."""
        values = np.stack([quantity(genes) for quantity in self.quantities], axis=1)
        fine = np.ones(len(genes), dtype=bool)
        for quantity, limit in self._limits:
            sign = self._sign_of(quantity)
            fine &= sign * quantity(genes) <= sign * limit + _ROUNDING * max(abs(limit), 1.0)
        rows = np.flatnonzero(fine)
        own = values[rows] * self.signs
        keep = rows[efficient(own, np.zeros(len(rows), dtype=np.int64))]
        keep = keep[np.lexsort((values[keep] * self.signs).T[::-1])]
        told = tuple(float(error) for error in errors[: len(self.names)])
        return ExactFront(genes[keep], values[keep], told, most)

    def _sign_of(self, quantity: Additive) -> float:
        found = [s for own, s in zip(self.quantities, self.signs, strict=True) if own is quantity]
        return float(found[0]) if found else 1.0


@dataclass(frozen=True, slots=True)
class _ValuedStep:
    """A step with what it adds to every quantity, shape (n_open, n_new, n_quantities)."""

    new_genes: tuple[int, ...]
    options: Genes
    values: Floats
    allowed: npt.NDArray[np.bool_]
    following: Ints


def efficient(values: Floats, groups: Ints) -> Ints:
    """Return the rows that no other of their group dominates, equal rows once, in a fixed order.

    Args:
        values: shape (n, n_quantities), minimised.
        groups: shape (n,).
    """
    order = np.lexsort((*values.T[::-1], groups))
    sorted_groups = groups[order]
    starts = np.flatnonzero(np.diff(sorted_groups, prepend=-1))
    if values.shape[1] == 1:
        return order[starts]
    if values.shape[1] == 2:
        # Ranks, turned so that the running minimum starts anew with every group.
        _, rank = np.unique(values[order, 1], return_inverse=True)
        number = np.cumsum(np.diff(sorted_groups, prepend=-1) != 0)
        level = rank.astype(np.int64) - number * (len(order) + 1)
        before = np.minimum.accumulate(level)
        return order[np.concatenate([[True], level[1:] < before[:-1]])] if len(order) else order
    bounds = [*starts.tolist(), len(order)]
    rows = [order[a:b] for a, b in pairwise(bounds)]
    kept = [r[moocore.is_nondominated(values[r], keep_weakly=False)] for r in rows]
    return np.concatenate(kept) if kept else order


def _is_maximum(quantity: Additive) -> bool:
    return isinstance(quantity, Fold) and quantity.how == "max"


def _steps(space: SearchSpace, tracked: Sequence[tuple[Additive, float]]) -> list[_ValuedStep]:
    """Return the elimination steps with the values of every quantity."""
    numbers, place = [], 1  # 0 is a step of no factor
    for _, places in groups(space):
        size = len(space.combination_ops[places[0]])
        numbers.append(np.arange(place, place + size, dtype=np.float64))
        place += size
    return [_valued(step, tracked) for step in eliminate(space, numbers)]


def _tables(quantity: Fold) -> Floats:
    """Return what every combination of every group of factors adds, behind nothing."""
    join, nothing = (np.max, -np.inf) if quantity.how == "max" else (np.sum, 0.0)
    parts = (
        join([quantity.tables[i] for i in places], axis=0) for _, places in groups(quantity.space)
    )
    return np.concatenate([[nothing], *parts])


def _valued(step: Step, tracked: Sequence[tuple[Additive, float]]) -> _ValuedStep:
    allowed = np.isfinite(step.cost)
    number = np.where(allowed, step.cost, 0).astype(np.int64)
    columns = []
    for quantity, sign in tracked:
        if isinstance(quantity, GeneSum):
            parts = [
                quantity.weights[gene][step.options[:, k]] for k, gene in enumerate(step.new_genes)
            ]
            added = np.broadcast_to(sum(parts, np.zeros(len(step.options))), number.shape)
        else:
            added = _tables(quantity)[number]
            if sign < 0 and quantity.how == "max":
                raise UsageError("a maximum over the factors cannot be maximised exactly")
        columns.append(sign * added)
    return _ValuedStep(
        step.new_genes, step.options, np.stack(columns, axis=2), allowed, step.following
    )


def _completions(steps: Sequence[_ValuedStep], maxima: npt.NDArray[np.bool_]) -> list[Floats]:
    """Return per step and state the least that the rest of the network adds, each on its own."""
    n = len(maxima)
    last = np.zeros((1, n))
    last[:, maxima] = -np.inf
    found = [last]
    for step in reversed(steps):
        later = found[-1][step.following]
        total = step.values + later
        total[..., maxima] = np.maximum(step.values, later)[..., maxima]
        total[~step.allowed] = np.inf
        found.append(total.min(axis=1))
    return found[::-1]


def _boxed(values: Floats, states: Ints, most: int) -> tuple[Ints, Floats]:
    """Return rows, one a box of all quantities but the last, and the width of the boxes."""
    n_states = len(np.unique(states))
    axes = values.shape[1] - 1
    n_boxes = max(1, int((most / n_states) ** (1 / max(axes, 1))))
    low, high = values.min(axis=0), values.max(axis=0)
    low, high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
    widths = np.append((high - low)[:-1] / n_boxes, 0.0)
    safe = np.where(widths > 0, widths, 1.0)
    boxes = np.floor(np.maximum(values[:, :-1] - low[:-1], 0) / safe[:-1])
    order = np.lexsort((values[:, -1], *boxes.T, states))
    key = np.column_stack([states[order], boxes[order]])
    first = np.append(True, (key[1:] != key[:-1]).any(axis=1)) if len(key) else np.zeros(0, bool)
    return order[first], widths
