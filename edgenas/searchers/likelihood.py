"""From probabilities of options to architectures: the likeliest that is allowed, and draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]
Excess = Callable[[Genes], Floats]
"""How much each of a population, shape (n, n_genes), breaks its budgets, shape (n,); 0: not."""

_N_DRAWS = 4096
_N_STARTS = 8
_LEAST = -40.0


def likelihood(space: SearchSpace, logarithms: Sequence[Floats], population: Genes) -> Floats:
    """Return how well architectures agree with the probabilities, shape (n,); 0 is best possible.

    The sum of the active genes' log probabilities, each less that of its gene's best option. A
    gene that is not active agrees as well as its best one: else shallow networks, which have few
    active genes, would be the most likely ones whatever has been learned.
    """
    active = space.active(population)
    total = np.zeros(len(population))
    for column, values in enumerate(logarithms):
        own = (values - values.max())[population[:, column]]
        total += np.where(active[:, column], own, 0.0)
    return total


def draws(
    space: SearchSpace, logarithms: Sequence[Floats], n: int, rng: np.random.Generator
) -> Genes:
    """Return architectures drawn by the probabilities, canonical, shape (n or fewer, n_genes).

    Of layers in a row that may be skipped, the ones that run are the first (canonical genes): a
    draw in which others run is another path of a supernet, with other weights, and is left out.
    """
    rows = np.zeros((n, space.n_genes), dtype=np.int8)
    for column, values in enumerate(logarithms):
        probabilities = np.exp(values - values.max())
        rows[:, column] = rng.choice(len(values), n, p=probabilities / probabilities.sum())
    kept: Genes = space.canonical(rows[_in_order(space, rows)])
    return kept


def _in_order(space: SearchSpace, rows: Genes) -> npt.NDArray[np.bool_]:
    """Return which rows have the zeros of every sequence last."""
    found = np.ones(len(rows), dtype=bool)
    for columns in space.sequence_columns:
        runs = rows[:, columns] > 0
        found &= (runs[:, :-1] | ~runs[:, 1:]).all(axis=1)
    return found


def most_likely(
    space: SearchSpace,
    logarithms: Sequence[Floats],
    *,
    excess: Excess,
    start: Genes,
    seed: int = 0,
) -> Genes | None:
    """Return the allowed architecture of the greatest `likelihood` that is found, if any is.

    The most likely option of every gene, if that is allowed. Else the best of what single genes
    and pairs of them, changed until nothing becomes better, make of the likeliest allowed draws,
    or of the draw that is nearest to being allowed.

    Args:
        space: of the architectures.
        logarithms: of the probabilities by gene.
        excess: how much architectures break what they are to keep, shape (n,); 0 is allowed.
        start: random architectures, shape (n, n_genes), where draws are too few.
        seed: of the draws.
    """
    logarithms = [np.maximum(values, _LEAST) for values in logarithms]  # closed ones can be left
    best = np.array([[int(np.argmax(values)) for values in logarithms]], dtype=np.int8)
    if _in_order(space, best)[0] and excess(space.canonical(best))[0] <= 0:
        row: Genes = space.canonical(best)[0]
        return row
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([start, draws(space, logarithms, _N_DRAWS, rng)])
    drawn = np.unique(drawn, axis=0)
    broken = excess(drawn)
    if not (broken <= 0).any():
        mended = _mended(space, drawn[int(np.argmin(broken))], excess)
        if mended is None:
            return None
        drawn, broken = mended[None], np.zeros(1)
    drawn = drawn[broken <= 0]
    order = np.argsort(-likelihood(space, logarithms, drawn), kind="stable")
    ends = [_climb(space, logarithms, drawn[i], excess) for i in order[:_N_STARTS]]
    scores = likelihood(space, logarithms, np.stack(ends))
    return ends[int(np.argmax(scores))]


def _mended(space: SearchSpace, row: Genes, excess: Excess) -> Genes | None:
    """Change genes, the one that helps most first, until the architecture is allowed."""
    left = float(excess(row[None])[0])
    while left > 0:
        around = _changed(space, row[None])
        broken = excess(around)
        place = int(np.argmin(broken))
        if not broken[place] < left:
            return None
        row, left = around[place], float(broken[place])
    return row


def _climb(space: SearchSpace, logarithms: Sequence[Floats], row: Genes, excess: Excess) -> Genes:
    """Change one gene, or two where one does not help, until nothing allowed is likelier."""
    score = likelihood(space, logarithms, row[None])[0]
    while True:
        for around in (_changed(space, row[None]), None):
            candidates = _changed(space, _changed(space, row[None])) if around is None else around
            scores = likelihood(space, logarithms, candidates)
            better = scores > score + 1e-12
            candidates, scores = candidates[better], scores[better]
            kept = excess(candidates) <= 0 if len(candidates) else np.zeros(0, dtype=bool)
            if kept.any():
                place = int(np.argmax(np.where(kept, scores, -np.inf)))
                row, score = candidates[place], scores[place]
                break
        else:
            return row


def _changed(space: SearchSpace, rows: Genes) -> Genes:
    """Return all architectures that differ from one of `rows` in one gene, canonical."""
    found = []
    for column, n in enumerate(space.n_options):
        for option in range(int(n)):
            changed = rows[rows[:, column] != option].copy()
            changed[:, column] = option
            found.append(changed)
    every: Genes = np.unique(space.canonical(np.concatenate(found)), axis=0)
    return every
