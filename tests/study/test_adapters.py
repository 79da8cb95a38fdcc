"""Searchers in Optuna's studies, and Optuna's samplers in searches."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import optuna
import pytest

from edgenas.core.errors import SpaceError, UsageError
from edgenas.pareto import hypervolume
from edgenas.searchers import Searcher, make_searcher
from edgenas.study.adapters import OptunaSearcher, OptunaSettings, SearcherSampler
from edgenas.study.loop import run_search
from edgenas.testing.searcher_contract import (
    SearcherContract,
    run,
    tiny_costs,
    tiny_problem,
    tiny_space,
)
from tests.study.test_loop import Artificial

SPACE = tiny_space()


class TestTpe(SearcherContract):
    factory = "edgenas.study.adapters:OptunaSearcher"
    settings: ClassVar = {"sampler": "TPESampler", "arguments": {"n_startup_trials": 5}}


class TestNsga2(SearcherContract):
    factory = "edgenas.study.adapters:OptunaSearcher"
    settings: ClassVar = {"sampler": "NSGAIISampler", "arguments": {"population_size": 8}}


@pytest.mark.parametrize("name", ["TPESampler", "NSGAIISampler"])
def test_a_sampler_of_optuna_searches_and_resumes(tmp_path: Path, name: str) -> None:
    def go(file: str, n: int) -> list[tuple[int, ...]]:
        searcher = OptunaSearcher(tiny_problem(4.0), seed=1, settings=OptunaSettings(name))
        found = run_search(searcher, Artificial(), n_evaluations=n, storage=tmp_path / file)
        return [e.arch.genes for e in found.evaluations]

    go("parts.journal", 13)
    assert go("parts.journal", 30) == go("whole.journal", 30)


def test_an_unknown_sampler_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="nearest: TPESampler"):
        OptunaSettings("TPSampler")


def suggest(trial: optuna.Trial) -> tuple[float, float]:
    """Build a network step by step, as its depth allows, and cost it."""
    config = {}
    for gene in SPACE.genes:
        if not gene.parent or config[gene.parent] in gene.active_under:
            config[gene.name] = trial.suggest_categorical(gene.name, gene.options)
    trial.suggest_float("learning_rate", 0.1, 1.0)
    costs = tiny_costs(SPACE.parse(config)[None])
    return float(costs["accuracy"][0]), float(costs["latency_ms"][0])


def study(
    searcher: Searcher, n: int, *, storage: str | None = None, fn: Callable[..., object] = suggest
) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=SearcherSampler(searcher),
        storage=storage,
        study_name="own",
        load_if_exists=True,
    )
    made.optimize(fn, n_trials=n, catch=(ArithmeticError,))  # type: ignore[arg-type]
    return made


def nsga2(limit_ms: float | None = None) -> Searcher:
    return make_searcher("nsga2", tiny_problem(limit_ms), settings={"population_size": 8}, seed=2)


def volume(made: optuna.Study) -> float:
    return hypervolume([[-t.values[0], t.values[1]] for t in made.trials], [0.0, 10.0])


def test_a_searcher_samples_in_a_study_of_one_s_own() -> None:
    made = study(nsga2(), 60)
    chosen = [
        SPACE.parse({k: v for k, v in t.params.items() if k in SPACE.index}) for t in made.trials
    ]
    assert len({row.tobytes() for row in chosen}) == 60
    assert all(0.1 <= trial.params["learning_rate"] <= 1 for trial in made.trials)
    own = [e for e in run(nsga2(), 60) if e.values]
    assert volume(made) > 0.9 * hypervolume(
        [[-e.values["accuracy"], e.values["latency_ms"]] for e in own], [0.0, 10.0]
    )


def test_a_loaded_study_goes_on_where_it_stood(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/own.db"
    study(nsga2(), 11, storage=url)
    parts = study(nsga2(), 9, storage=url)
    whole = study(nsga2(), 20)
    names = list(SPACE.index)

    def genes(made: optuna.Study) -> list[list[object]]:
        return [[trial.params.get(name) for name in names] for trial in made.trials]

    assert genes(parts) == genes(whole)


def test_what_other_workers_of_a_study_are_at_is_not_proposed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/own.db"
    workers = [study(nsga2(), 0, storage=url) for _ in range(2)]
    chosen = []
    for turn in range(12):
        trial = workers[turn % 2].ask()
        chosen.append(
            {
                gene.name: trial.suggest_categorical(gene.name, gene.options)
                for gene in SPACE.genes
                if gene.name in trial.relative_params
            }
        )
    assert len({SPACE.parse(config).tobytes() for config in chosen}) == 12


def test_a_searcher_samples_in_threads() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(
        directions=["maximize", "minimize"], sampler=SearcherSampler(nsga2())
    )
    made.optimize(suggest, n_trials=40, n_jobs=4)
    genes = [{k: v for k, v in t.params.items() if k in SPACE.index} for t in made.trials]
    assert len({SPACE.parse(config).tobytes() for config in genes}) == 40


def test_failed_pruned_and_constrained_trials_are_understood() -> None:
    searcher = nsga2()

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        if trial.number == 9:
            raise optuna.TrialPruned  # before any gene: tells nothing
        values = suggest(trial)
        trial.set_constraint("latency", values[1] - 3.0)
        if trial.number % 5 == 1:
            raise ArithmeticError
        if trial.number % 5 == 2:
            raise optuna.TrialPruned
        return values

    study(searcher, 40, fn=objective)
    assert searcher.n_told == 38  # all but the empty one and the last, which nobody asked after


def test_a_study_with_other_objectives_is_refused() -> None:
    made = optuna.create_study(sampler=SearcherSampler(nsga2()))
    with pytest.raises(UsageError, match="the study has directions"):
        made.ask().suggest_categorical("depth", (1, 2, 3))


def test_an_exhausted_space_ends_the_study() -> None:
    with pytest.raises(SpaceError, match="have been tried; end the study"):
        study(nsga2(limit_ms=1.6), 100)
