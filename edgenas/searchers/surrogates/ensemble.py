"""Five perceptrons, each fitted without a fifth of the evaluations.

Liu et al. 2018 (PNAS), arXiv:1712.00559, section 3.3 (the MLP ensemble). What a perceptron does
not see measures how wrong it is; where the five disagree they are less sure than that.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgenas.searchers.problem import Floats
from edgenas.searchers.surrogates.base import Normal

_N_MEMBERS = 5
_N_HIDDEN = 32
_DECAY = 0.1
_N_STEPS = 100


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Fitted perceptrons; the values are standardised: `mean` and `spread` are theirs."""

    members: list[Any]
    error: float  # of what a member did not see, in units of the spread
    mean: float
    spread: float

    @classmethod
    def fit(cls, blocks: list[Floats], values: Floats, *, seed: int) -> Ensemble:
        """Return the ensemble given at least two values, shape (n,).

        Args:
            blocks: features in groups, each (n, n_features).
            values: shape (n,).
            seed: of the folds and of the first weights.
        """
        from sklearn.neural_network import MLPRegressor

        mean, spread = float(values.mean()), float(values.std()) or 1.0
        features, target = np.hstack(blocks), (values - mean) / spread
        fold = np.random.default_rng(seed).permutation(len(target)) % _N_MEMBERS
        members, missed = [], []
        for i in range(min(_N_MEMBERS, len(target))):
            member = MLPRegressor(
                hidden_layer_sizes=(_N_HIDDEN,),
                activation="tanh",
                solver="lbfgs",
                alpha=_DECAY,
                max_iter=_N_STEPS,
                random_state=seed + i,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a hundred steps are enough, converged or not
                member.fit(features[fold != i], target[fold != i])
            missed.append((member.predict(features[fold == i]) - target[fold == i]) ** 2)
            members.append(member)
        return cls(members, float(np.sqrt(np.concatenate(missed).mean())), mean, spread)

    def __call__(self, blocks: list[Floats]) -> Normal:
        """Return what they expect together (see `Model`)."""
        features = np.hstack(blocks)
        found = np.stack([member.predict(features) for member in self.members])
        std = np.sqrt(found.var(axis=0) + self.error**2)
        return Normal(self.mean + self.spread * found.mean(axis=0), self.spread * std)
