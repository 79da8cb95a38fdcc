"""Searchers as Optuna samplers; for the other direction see `optuna_searcher`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from edgenas.core.architecture import Architecture
from edgenas.core.errors import SpaceError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.base import Searcher
from edgenas.study.backends import distributions
from edgenas.study.optuna_searcher import OptunaSearcher, OptunaSettings

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["OptunaSearcher", "OptunaSettings", "SearcherSampler"]


class SearcherSampler(optuna.samplers.BaseSampler):
    """Makes a searcher propose the genes in a study of one's own.

    The objective function suggests each active gene with `trial.suggest_categorical`, under the
    gene's name and with its options; other parameters are sampled at random. All finished trials
    that hold a whole architecture are told to the searcher, in their order, so a loaded study goes
    on where it stood. A trial with a constraint above 0 (`trial.set_constraint`) is infeasible.
    What other workers of the study are at (`n_jobs`, more processes) is not proposed to this one.

    Args:
        searcher: fresh; its objectives are the study's, in order and direction.
    """

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._space = searcher.problem.space
        self._others = optuna.samplers.RandomSampler(seed=searcher.seed)
        self._seen: set[int] = set()
        self._lock = threading.Lock()  # `optimize(n_jobs=...)` samples in several threads

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the genes."""
        return dict(distributions(self._space))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the active genes of the searcher's next architecture.

        Raises:
            UsageError: the study has other objectives than the searcher.
            SpaceError: every feasible architecture has been tried.
        """
        with self._lock:
            self._tell_news(study)
            found = self.searcher.ask(1)
        if not found:
            raise SpaceError(
                f"all {self.searcher.n_told} architectures of {self._space.name} that are feasible "
                "have been tried; end the study"
            )
        return dict(self._space.describe(found[0].row))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a random value of a parameter that is no active gene."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Reseed the other parameters only: proposals are the searcher's."""
        self._others.reseed_rng()

    def _tell_news(self, study: Study) -> None:
        goals = self.searcher.problem.objectives
        wanted = [goal.direction for goal in goals]
        found = [direction.name.lower() for direction in study.directions]
        if found != wanted:
            raise UsageError(f"the study has directions {found}, the searcher {wanted}")
        for trial in study.get_trials(deepcopy=False):
            if trial.number in self._seen:
                continue
            if not trial.state.is_finished():
                self._expect(trial)
                continue
            self._seen.add(trial.number)
            evaluation = self._evaluation(trial)
            if evaluation is not None:
                self.searcher.tell([evaluation])

    def _expect(self, trial: FrozenTrial) -> None:
        arch = self._architecture(trial)
        if arch is not None:
            self.searcher.expect([arch])

    def _architecture(self, trial: FrozenTrial) -> Architecture | None:
        """Return the architecture that a trial has parameters of, or None if none as a whole."""
        genes = {name: option for name, option in trial.params.items() if name in self._space.index}
        try:
            row = self._space.parse(genes)
        except SpaceError:  # not all genes are suggested yet, or it is somebody else's
            return None
        return self._space.architectures(row[None])[0]

    def _evaluation(self, trial: FrozenTrial) -> Evaluation | None:
        """Return what a finished trial says about an architecture, or None if about none."""
        arch = self._architecture(trial)
        if arch is None:
            return None
        violation = sum(max(0.0, amount) for amount in trial.constraints.values())
        if trial.state is TrialState.COMPLETE:
            names = [goal.name for goal in self.searcher.problem.objectives]
            values = dict(zip(names, trial.values, strict=True))
            finite = all(np.isfinite(value) for value in trial.values)
            if violation > 0:
                return Evaluation(arch, "infeasible", values if finite else {}, None, violation)
            if finite:
                return Evaluation(arch, "complete", values)
        if trial.state is TrialState.PRUNED and violation > 0:
            return Evaluation(arch, "infeasible", {}, None, violation)
        return Evaluation(arch, "failed", error=f"trial {trial.number} {trial.state.name.lower()}")
