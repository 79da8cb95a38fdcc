"""Searchers as Optuna samplers, and Optuna samplers as searchers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import SpaceError, UsageError, choices
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.base import Searcher
from edgenas.searchers.problem import SearchProblem
from edgenas.study.backends import distributions, quiet_optuna

if TYPE_CHECKING:
    from optuna.study import Study

_N_MUTATIONS = 256


class SearcherSampler(optuna.samplers.BaseSampler):
    """Makes a searcher propose the genes in a study of one's own.

    The objective function suggests each active gene with `trial.suggest_categorical`, under the
    gene's name and with its options; other parameters are sampled at random. All finished trials
    that hold a whole architecture are told to the searcher, in their order, so a loaded study goes
    on where it stood. A trial with a constraint above 0 (`trial.set_constraint`) is infeasible.

    Args:
        searcher: fresh; its objectives are the study's, in order and direction.
    """

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._space = searcher.problem.space
        self._others = optuna.samplers.RandomSampler(seed=searcher.seed)
        self._seen: set[int] = set()

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
            if trial.number in self._seen or not trial.state.is_finished():
                continue
            self._seen.add(trial.number)
            evaluation = self._evaluation(trial)
            if evaluation is not None:
                self.searcher.tell([evaluation])

    def _evaluation(self, trial: FrozenTrial) -> Evaluation | None:
        """Return what a finished trial says about an architecture, or None if about none."""
        genes = {name: option for name, option in trial.params.items() if name in self._space.index}
        try:
            row = self._space.parse(genes)
        except SpaceError:  # pruned before all genes were suggested, or somebody else's
            return None
        (arch,) = self._space.architectures(row[None])
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


@dataclass(frozen=True, slots=True)
class OptunaSettings:
    """Which sampler: a class of `optuna.samplers` and its arguments but the seed."""

    sampler: str = "TPESampler"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no sampler."""
        names = {name for name in optuna.samplers.__all__ if name.endswith("Sampler")}
        names.remove("BaseSampler")
        if self.sampler not in names:
            raise UsageError(f"Optuna has no {self.sampler!r}; {choices(self.sampler, names)}")
        # Plain values, so that settings can be compared and recorded.
        object.__setattr__(self, "arguments", json.loads(json.dumps(dict(self.arguments))))


class OptunaSearcher(Searcher):
    """Lets an Optuna sampler propose.

    Every proposal is made by a sampler of its own seed, from a study in memory that holds what was
    told: so a replay goes on like the run. What the sampler proposes twice, or against a cheap
    constraint, is mutated until it is new and feasible. Samplers that keep state in themselves
    between trials, not in the study, cannot be used.
    """

    name = "optuna"
    Settings = OptunaSettings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: OptunaSettings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self._kind = getattr(optuna.samplers, self.settings.sampler)
        self._distributions = distributions(problem.space)
        self._trials: dict[Architecture, optuna.Trial] = {}
        self._draws = self._random_candidates(1)
        with quiet_optuna():
            self._study = optuna.create_study(
                directions=[goal.direction for goal in problem.objectives],
                sampler=self._sampler(0, 0),
            )

    def _propose(self) -> Genes | None:
        n_pending = len(self._trials)
        with quiet_optuna():
            self._study.sampler = self._sampler(self.n_told, n_pending)
            trial = self._study.ask(dict(self._distributions))
            raw = self.problem.space.parse(trial.params)
            row = self._made_fresh(raw, n_pending)
            if row is None:
                self._study.tell(trial, state=TrialState.FAIL)
                return None
            (arch,) = self.problem.space.architectures(row[None])
            if trial.params != self._params(row):
                self._study.tell(trial, state=TrialState.FAIL)  # which samplers pass over
                trial = self._enqueued(row, self.n_told, n_pending)
        self._trials[arch] = trial
        return row

    def _learn(self, evaluation: Evaluation) -> None:
        goals = self.problem.objectives
        with quiet_optuna():
            trial = self._trials.pop(evaluation.arch, None)
            if trial is None:
                # In a run it was proposed when one fewer had been told.
                trial = self._enqueued(evaluation.arch.row, self.n_told - 1, 0)
            whole = all(np.isfinite(evaluation.values.get(goal.name, np.nan)) for goal in goals)
            if evaluation.status == "failed" or not whole:
                self._study.tell(trial, state=TrialState.FAIL)
                return
            trial.set_constraint("violation", evaluation.violation)
            self._study.tell(trial, [evaluation.values[goal.name] for goal in goals])

    def _await(self, row: Genes) -> None:
        (arch,) = self.problem.space.architectures(row[None])
        with quiet_optuna():
            self._trials[arch] = self._enqueued(row, self.n_told, len(self._trials))

    def _sampler(self, n_told: int, n_pending: int) -> optuna.samplers.BaseSampler:
        seed = int(self._rng(2, n_told, n_pending).integers(2**31))
        sampler: optuna.samplers.BaseSampler = self._kind(seed=seed, **self.settings.arguments)
        return sampler

    def _enqueued(self, row: Genes, n_told: int, n_pending: int) -> optuna.Trial:
        """Return a running trial of that architecture, as if the sampler had proposed it."""
        self._study.sampler = self._sampler(n_told, n_pending)
        self._study.enqueue_trial(self._params(row))
        trial = self._study.ask()
        # Lets the sampler note what it notes of its own proposals (NSGA-II the generation).
        _ = trial.relative_params
        for gene in self.problem.space.genes:
            trial.suggest_categorical(gene.name, gene.options)
        return trial

    def _params(self, row: Genes) -> dict[str, Any]:
        genes = self.problem.space.genes
        return {gene.name: gene.options[int(i)] for gene, i in zip(genes, row, strict=True)}

    def _made_fresh(self, row: Genes, n_pending: int) -> Genes | None:
        """Return `row` if it is new and feasible, else a mutant of it, else a random one."""
        if self._is_fresh(row) and len(self._feasible(row[None])):
            return row
        rng = self._rng(3, self.n_told, n_pending)
        mutants = row[None]
        for _ in range(4):  # ever further away
            mutants = self.problem.space.mutate(np.repeat(mutants, 4, axis=0)[-_N_MUTATIONS:], rng)
            mutant = self._first_fresh(iter(self._feasible(mutants)))
            if mutant is not None:
                return mutant
        random = self._first_fresh(self._draws)
        return self._last_resort() if random is None else random
