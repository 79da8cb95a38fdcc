"""Which architectures are worth an evaluation: expected hypervolume improvement.

Emmerich et al. 2006, doi:10.1109/TEVC.2005.859463. What is known of an architecture before it is
evaluated (its costs) is used as it is; only what has to be bought is uncertain.
"""

from __future__ import annotations

import numpy as np

from edgenas.pareto import hypervolume, ordered
from edgenas.searchers.problem import Floats

_N_NODES = 9
_N_DRAWS = 16
_MOST_GENERAL = 128  # candidates of three objectives or more whose gain is computed


def nodes(n_uncertain: int) -> tuple[Floats, Floats]:
    """Return standard normal deviations, shape (n_nodes, n_uncertain), and their weights.

    One uncertain value has Gauss and Hermite's nodes, several have draws, always the same ones.
    """
    if n_uncertain == 0:
        return np.zeros((1, 0)), np.ones(1)
    if n_uncertain == 1:
        places, weights = np.polynomial.hermite_e.hermegauss(_N_NODES)
        return places[:, None], weights / weights.sum()
    draws = np.random.default_rng(0).standard_normal((_N_DRAWS, n_uncertain))
    return draws, np.full(_N_DRAWS, 1 / _N_DRAWS)


def expected_gains(points: Floats, weights: Floats, front: Floats, reference: Floats) -> Floats:
    """Return the expected growth of the hypervolume by each candidate, shape (n,).

    Args:
        points: what each candidate may turn out to be, minimised, shape (n, n_nodes, n_objectives).
        weights: of the nodes, shape (n_nodes,).
        front: non-dominated points so far, shape (m, n_objectives); may be empty.
        reference: the worst point worth considering, shape (n_objectives,).
    """
    n, n_nodes, n_objectives = points.shape
    if n_objectives == 1:
        best = min([float(reference[0]), *front[:, 0].tolist()])
        return np.asarray(np.maximum(best - points[:, :, 0], 0.0) @ weights)
    if n_objectives == 2:
        flat = points.reshape(-1, 2)
        return np.asarray(gains_of_two(flat, front, reference).reshape(n, n_nodes) @ weights)
    return _general(points, weights, front, reference)


def gains_of_two(points: Floats, front: Floats, reference: Floats) -> Floats:
    """Return how much the area that `front` dominates grows by each point alone, shape (n,).

    Left to right the front is a staircase: between two of its members, a point better than the
    stair gains the stair's width times the difference.
    """
    inside = front[(front < reference).all(axis=1)]
    stairs = inside[np.argsort(inside[:, 0])]
    edges = np.concatenate([[-np.inf], stairs[:, 0], reference[:1]])
    levels = np.concatenate([reference[1:], stairs[:, 1]])
    gains = np.zeros(len(points))
    for left, right, level in zip(edges[:-1], edges[1:], levels, strict=True):
        width = right - np.maximum(points[:, 0], left)
        gains += np.maximum(width, 0.0) * np.maximum(level - points[:, 1], 0.0)
    return gains


def _general(points: Floats, weights: Floats, front: Floats, reference: Floats) -> Floats:
    """Return the gains of the candidates whose best possible points look best; 0 for the others."""
    hopeful = points.min(axis=1)
    order = ordered(np.concatenate([hopeful, front]))
    looked = order[order < len(points)][:_MOST_GENERAL]
    before = hypervolume(front, reference) if len(front) else 0.0
    gains = np.zeros(len(points))
    for i in looked:
        after = [hypervolume(np.vstack([front, point]), reference) for point in points[i]]
        gains[i] = float((np.array(after) - before) @ weights)
    return gains
