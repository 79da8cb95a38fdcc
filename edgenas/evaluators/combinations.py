"""Evaluators made of several: one after the other, or each for its own objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgenas.core.architecture import Architecture
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.evaluators.base import Evaluator


class FirstThatKnows(Evaluator):
    """Asks the first evaluator, then the next for what failed there: a table, then training.

    Args:
        evaluators: all give the same objectives, so that it does not matter which one answers.
    """

    def __init__(self, *evaluators: Evaluator) -> None:
        self.evaluators = _some(evaluators)

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """Return each one's first evaluation that did not fail, else all errors in turn."""
        found = self.evaluators[0].evaluate(archs)
        for evaluator in self.evaluators[1:]:
            failed = [i for i, evaluation in enumerate(found) if evaluation.status == "failed"]
            if not failed:
                break
            again = evaluator.evaluate([archs[i] for i in failed])
            for i, evaluation in zip(failed, again, strict=True):
                found[i] = _with_errors(evaluation, found[i].error)
        return found

    def recall(self, evaluations: Sequence[Evaluation]) -> None:
        """Pass them on to all."""
        _recall(self.evaluators, evaluations)


class JointEvaluator(Evaluator):
    """Joins evaluators of different objectives: accuracy by the one, a measurement by the other.

    The dearest comes last: what failed or is infeasible before is not given to it.
    """

    def __init__(self, *evaluators: Evaluator) -> None:
        self.evaluators = _some(evaluators)

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """Return all values of each of `archs`; its status is the worst that one of them gives.

        Raises:
            UsageError: two evaluators give a value of the same objective.
        """
        found = [Evaluation(arch, "complete") for arch in archs]
        for evaluator in self.evaluators:
            sound = [i for i, evaluation in enumerate(found) if evaluation.has_values]
            more = evaluator.evaluate([archs[i] for i in sound])
            for i, evaluation in zip(sound, more, strict=True):
                twice = found[i].values.keys() & evaluation.values.keys()
                if twice:
                    raise UsageError(
                        f"{type(evaluator).__name__} gives {', '.join(sorted(twice))}, which an "
                        "evaluator before it has given; let one of them do it"
                    )
                values = {**found[i].values, **evaluation.values}
                worse = found[i] if evaluation.status == "complete" else evaluation
                found[i] = replace(worse, values=values)
        return found

    def recall(self, evaluations: Sequence[Evaluation]) -> None:
        """Pass them on to all."""
        _recall(self.evaluators, evaluations)


def _some(evaluators: tuple[Evaluator, ...]) -> tuple[Evaluator, ...]:
    if not evaluators:
        raise UsageError("evaluators are joined of one at least; none was given")
    return evaluators


def _recall(evaluators: Sequence[Evaluator], evaluations: Sequence[Evaluation]) -> None:
    for evaluator in evaluators:
        evaluator.recall(evaluations)


def _with_errors(evaluation: Evaluation, before: str | None) -> Evaluation:
    """Return an evaluation; one that failed as well says so of both."""
    if evaluation.status != "failed" or before is None:
        return evaluation
    return replace(evaluation, error=f"{before}; {evaluation.error}")
