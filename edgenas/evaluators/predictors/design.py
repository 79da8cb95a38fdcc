"""Which architectures to evaluate next: those that teach a predictor most.

Integrated-variance design on a Gaussian process (MacKay 1992, doi:10.1162/neco.1992.4.4.590;
Seo et al. 2000, doi:10.1109/IJCNN.2000.861310): each choice is the one that most reduces the mean
doubt over the architectures that matter, given all choices before it. No accuracy is needed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky

from edgenas.core.errors import UsageError
from edgenas.evaluators.predictors.features import Features, Floats, Singles
from edgenas.evaluators.predictors.process import START, Distances, Projection

_LEAST_NOISE = 1e-3  # of the candidates' variance


class PriorProcess:
    """What is believed of accuracies before any is known: the process with its prior's numbers.

    Args:
        features: of the space.
        rows: architectures that say how wide the space is, in columns.
    """

    def __init__(self, features: Features, rows: Singles) -> None:
        self._n_options = features.n_options
        self._projection = Projection.of(features, rows)

    @property
    def noise(self) -> float:
        """Variance of one evaluation, the accuracies' own variance being about 1."""
        return float(np.exp(START[6]))

    def covariance(self, left: Singles, right: Singles) -> Floats:
        """Return the covariance of two sets of architectures, shape (n, m)."""
        sets = [
            (self._projection(rows), rows[self._n_options :].T.astype(np.float64))
            for rows in (left, right)
        ]
        return Distances.between(sets[0], sets[1], self._n_options).covariance(START)


def most_telling(
    among: Floats, to_target: Floats, n: int, *, noise: float, known: tuple[int, ...] = ()
) -> list[int]:
    """Return which `n` candidates to evaluate, the most telling first.

    Args:
        among: covariance of the candidates with each other, shape (n_candidates, n_candidates).
        to_target: of the target with the candidates, shape (n_target, n_candidates).
        n: how many are wanted.
        noise: variance of one evaluation; a thousandth of the candidates' variance at least.
        known: candidates that were evaluated, or will be anyway; they are not chosen.

    Raises:
        UsageError: there are not so many candidates.
    """
    taken = np.zeros(len(among), dtype=bool)
    taken[list(known)] = True
    places = np.flatnonzero(~taken)
    if not 0 <= n <= len(places):
        raise UsageError(f"{n} architectures are wanted of {len(places)} candidates")
    # Evaluations without noise would leave no doubt but rounding errors to divide by.
    noise = max(noise, _LEAST_NOISE * float(np.diag(among).mean()))
    doubt, target = _given(among, to_target, taken, noise)
    free = np.ones(len(places), dtype=bool)
    chosen: list[int] = []
    for _ in range(n):
        variance = np.maximum(np.diag(doubt), 0.0)
        # The squared covariance with a target is what its variance shrinks by, times that of
        # the evaluation.
        gain = np.einsum("ij,ij->j", target, target) / (variance + noise)
        best = int(np.argmax(np.where(free, gain, -1.0)))
        chosen.append(int(places[best]))
        free[best] = False
        column = doubt[:, best].copy()
        share = column / (variance[best] + noise)
        target -= np.outer(target[:, best], share)
        doubt -= np.outer(column, share)
    return chosen


def _given(
    among: Floats, to_target: Floats, taken: npt.NDArray[np.bool_], noise: float
) -> tuple[Floats, Floats]:
    """Return the covariances of the candidates that are not taken, given those that are."""
    doubt, target = among[np.ix_(~taken, ~taken)], to_target[:, ~taken]
    if not taken.any():
        return doubt, target
    own = among[np.ix_(taken, taken)] + noise * np.eye(int(taken.sum()))
    cross = among[np.ix_(taken, ~taken)]
    share = cho_solve((cholesky(own, lower=True), True), cross)
    return doubt - cross.T @ share, target - to_target[:, taken] @ share
