"""What a run's search is about: its space, objectives, limits, and all that is known beforehand."""

from __future__ import annotations

from edgenas.evaluators.costs import CheapCosts
from edgenas.evaluators.predictors import AccuracyPredictor
from edgenas.evaluators.predictors.learner import AccuracyLearner
from edgenas.searchers import SearchProblem
from edgenas.searchers.problem import Cheap
from edgenas.study.context import Run


def search_problem(run: Run) -> SearchProblem:
    """Return the problem that the run's searcher is given."""
    costs = run.costs(run.constraints, models=run.searched_models)
    limits = (*run.constraints, *run.job.sweep_limits())
    known = run.costs(limits, models=run.searched_models)  # limits of one distribution, too
    return SearchProblem(
        run.space,
        run.objectives,
        constraints=run.constraints,
        cheap=known if run.predictor is None else _with_accuracy(known, run.predictor),
        draw=costs.draw if run.constraints else None,
        folds=costs.folds(),
        learner=AccuracyLearner(run.model.fold),
    )


def _with_accuracy(costs: CheapCosts, predictor: AccuracyPredictor) -> Cheap:
    """Return costs and predicted accuracy of populations."""
    return lambda population: {**costs(population), "accuracy": predictor(population)}
