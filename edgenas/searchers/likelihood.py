"""From probabilities of options to architectures: the likeliest that is allowed, and draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]
Allowed = Callable[[Genes], npt.NDArray[np.bool_]]
"""Which architectures of a population, shape (n, n_genes), keep all budgets, shape (n,)."""

_N_DRAWS = 4096
_N_STARTS = 8


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
    """Return architectures drawn by the probabilities, canonical, shape (n, n_genes)."""
    rows = np.zeros((n, space.n_genes), dtype=np.int8)
    for column, values in enumerate(logarithms):
        probabilities = np.exp(values - values.max())
        rows[:, column] = rng.choice(len(values), n, p=probabilities / probabilities.sum())
    return space.canonical(rows)


def most_likely(
    space: SearchSpace,
    logarithms: Sequence[Floats],
    *,
    allowed: Allowed,
    start: Genes,
    seed: int = 0,
) -> Genes:
    """Return the allowed architecture of the greatest `likelihood` that is found.

    The most likely option of every gene, if that is allowed. Else the best of what single genes
    and pairs of them, changed until nothing becomes better, make of the likeliest allowed draws.

    Args:
        space: of the architectures.
        logarithms: of the probabilities by gene.
        allowed: what may be returned.
        start: an allowed architecture, shape (n_genes,).
        seed: of the draws.
    """
    best = np.array([[int(np.argmax(values)) for values in logarithms]], dtype=np.int8)
    best = space.canonical(best)
    if allowed(best)[0]:
        row: Genes = best[0]
        return row
    rng = np.random.default_rng(seed)
    drawn = np.unique(draws(space, logarithms, _N_DRAWS, rng), axis=0)
    drawn = np.concatenate([start[None], drawn[allowed(drawn)]])
    order = np.argsort(-likelihood(space, logarithms, drawn), kind="stable")
    ends = [_climb(space, logarithms, drawn[i], allowed) for i in order[:_N_STARTS]]
    scores = likelihood(space, logarithms, np.stack(ends))
    return ends[int(np.argmax(scores))]


def _climb(space: SearchSpace, logarithms: Sequence[Floats], row: Genes, allowed: Allowed) -> Genes:
    """Change one gene, or two where one does not help, until nothing allowed is likelier."""
    score = likelihood(space, logarithms, row[None])[0]
    while True:
        for around in (_changed(space, row[None]), None):
            candidates = _changed(space, _changed(space, row[None])) if around is None else around
            scores = likelihood(space, logarithms, candidates)
            better = scores > score + 1e-12
            candidates, scores = candidates[better], scores[better]
            kept = allowed(candidates) if len(candidates) else np.zeros(0, dtype=bool)
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
