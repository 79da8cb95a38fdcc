"""NSGA-II whose first trials are TPE's."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial


class WarmedUpSampler(optuna.samplers.NSGAIISampler):
    """Like one of the registry, shorter."""

    def __init__(self, *, seed: int | None = None, n_warmup: int = 10, population_size: int = 50):
        super().__init__(seed=seed, population_size=population_size)
        self._tpe = optuna.samplers.TPESampler(seed=seed, n_startup_trials=n_warmup // 2)
        self._n_warmup = n_warmup

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if trial.number < self._n_warmup:
            return {}
        return super().sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        if trial.number < self._n_warmup:
            return self._tpe.sample_independent(study, trial, name, distribution)
        return super().sample_independent(study, trial, name, distribution)
