"""Samplers of Optuna and OptunaHub as searchers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.searchers import SEARCHERS
from edgenas.searchers.base import Searcher
from edgenas.searchers.problem import SearchProblem
from edgenas.spaces.base import SearchSpace
from edgenas.study.backends import distributions, quiet_optuna
from edgenas.study.samplers import check_name, sampler_kind

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

_N_MUTATIONS = 256
_SEEDED_ONCE = ("QMCSampler",)
"""Samplers whose seed chooses a sequence, and the study tells how far along it is."""
_WITHOUT_NOTES = ("GPSampler",)
"""Samplers that take long to propose and note nothing, so that no replay has to ask them."""


@dataclass(frozen=True, slots=True)
class OptunaSettings:
    """Which sampler, and how it sees the genes.

    Attributes:
        sampler: see `edgenas.study.samplers`.
        arguments: of the sampler, but the seed.
        genes: ``choices`` are categories without an order; ``numbers`` are the positions of the
            options, for samplers that know numbers only (CMA-ES, QMC: from categories they draw at
            random) or do better with an order (Gaussian processes).
    """

    sampler: str = "TPESampler"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    genes: Literal["choices", "numbers"] = "choices"

    def __post_init__(self) -> None:
        """Refuse what is no sampler."""
        check_name(self.sampler)
        if self.genes not in ("choices", "numbers"):
            raise UsageError(f"genes are 'choices' or 'numbers', got {self.genes!r}")
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
        import optuna

        with quiet_optuna():
            self._kind = sampler_kind(self.settings.sampler)
        self._parameters = _Parameters(problem.space, self.settings.genes)
        self._trials: dict[Architecture, optuna.Trial] = {}
        self._draws = self._random_candidates(1)
        with quiet_optuna():
            self._storage = optuna.storages.InMemoryStorage()
            self._study = optuna.create_study(
                storage=self._storage,
                directions=[goal.direction for goal in problem.objectives],
                sampler=self._sampler(0, 0),
            )

    def identity(self) -> Mapping[str, Any]:
        """Return what decides on the proposals, with a hash of code from OptunaHub."""
        code = {} if self._kind.digest is None else {"sampler_code": self._kind.digest}
        return {**super().identity(), **code}

    def _propose(self) -> Genes | None:
        from optuna.trial import TrialState

        n_pending = len(self._trials)
        with quiet_optuna(), self._kind.at_work():
            self._study.sampler = self._sampler(self.n_told, n_pending)
            trial = self._study.ask(dict(self._parameters.distributions))
            raw = self._parameters.row(trial.params)
            row = self._made_fresh(raw, n_pending)
            if row is None:
                self._study.tell(trial, state=TrialState.FAIL)
                return None
            (arch,) = self.problem.space.architectures(row[None])
            # The same trial is given the new genes: samplers count trials, and a replay, which is
            # told what came of them only, must come to the same number.
            self._parameters.put(self._storage, trial, row)
        self._trials[arch] = trial
        return row

    def _learn(self, evaluation: Evaluation) -> None:
        from optuna.trial import TrialState

        goals = self.problem.objectives
        with quiet_optuna(), self._kind.at_work():
            trial = self._trials.pop(evaluation.arch, None)
            if trial is None:
                # In a run it was proposed when one fewer had been told.
                trial = self._enqueued(evaluation.arch.row, self.n_told - 1, 0)
            whole = all(np.isfinite(evaluation.values.get(goal.name, np.nan)) for goal in goals)
            if evaluation.status == "failed" or not whole:
                self._study.tell(trial, state=TrialState.FAIL)
                return
            # Either all trials have one or none: samplers that know no constraints warn of them.
            if self.problem.constraints or evaluation.violation > 0:
                trial.set_constraint("violation", evaluation.violation)
            self._study.tell(trial, [evaluation.values[goal.name] for goal in goals])

    def _await(self, row: Genes) -> None:
        (arch,) = self.problem.space.architectures(row[None])
        with quiet_optuna(), self._kind.at_work():
            self._trials[arch] = self._enqueued(row, self.n_told, len(self._trials))

    def _sampler(self, n_told: int, n_pending: int) -> optuna.samplers.BaseSampler:
        stream = () if self.settings.sampler in _SEEDED_ONCE else (n_told, n_pending)
        seed = int(self._rng(2, *stream).integers(2**31))
        return self._kind.make(seed=seed, arguments=self.settings.arguments)

    def _enqueued(self, row: Genes, n_told: int, n_pending: int) -> optuna.Trial:
        """Return a running trial of that architecture, as if the sampler had proposed it."""
        self._study.sampler = self._sampler(n_told, n_pending)
        self._study.enqueue_trial(self._parameters.of(row))
        trial = self._study.ask()
        # Lets the sampler note what it notes of its own proposals (NSGA-II the generation).
        if self.settings.sampler not in _WITHOUT_NOTES:
            _ = trial.relative_params
        self._parameters.suggest(trial)
        return trial

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


class _Parameters:
    """The genes of a space as the parameters of a study, all of them in every trial."""

    def __init__(self, space: SearchSpace, genes: Literal["choices", "numbers"]) -> None:
        from optuna.distributions import IntDistribution

        self._space, self._are_numbers = space, genes == "numbers"
        self.distributions: dict[str, BaseDistribution] = dict(distributions(space))
        if self._are_numbers:
            self.distributions = {
                gene.name: IntDistribution(0, len(gene.options) - 1) for gene in space.genes
            }

    def of(self, row: Genes) -> dict[str, Any]:
        """Return parameters that stand for genes, shape (n_genes,)."""
        genes = self._space.genes
        if self._are_numbers:
            return {gene.name: int(i) for gene, i in zip(genes, row, strict=True)}
        return {gene.name: gene.options[int(i)] for gene, i in zip(genes, row, strict=True)}

    def put(self, storage: BaseStorage, trial: optuna.Trial, row: Genes) -> None:
        """Give a running trial the parameters that stand for genes instead of its own."""
        for name, value in self.of(row).items():
            if trial.params[name] != value:
                kind = self.distributions[name]
                storage.set_trial_param(trial._trial_id, name, kind.to_internal_repr(value), kind)

    def suggest(self, trial: optuna.Trial) -> None:
        """Give a trial all parameters."""
        for gene in self._space.genes:
            if self._are_numbers:
                trial.suggest_int(gene.name, 0, len(gene.options) - 1)
            else:
                trial.suggest_categorical(gene.name, gene.options)

    def row(self, params: Mapping[str, Any]) -> Genes:
        """Return the genes, shape (n_genes,), that parameters stand for."""
        if not self._are_numbers:
            return self._space.parse(params)
        genes = [[params[gene.name] for gene in self._space.genes]]
        row: Genes = self._space.canonical(np.array(genes, dtype=np.int8))[0]
        return row


SEARCHERS.add(OptunaSearcher.name)(OptunaSearcher)
