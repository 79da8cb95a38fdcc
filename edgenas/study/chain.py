"""The chain of steps: each is done once, and again only when what it was made from has changed.

A step's inputs are its part of the job and the hashes of the files that earlier steps made. So a
changed job redoes what depends on the change, and a step that is redone with the same result
leaves everything after it alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from edgenas.core.errors import UsageError, ValidationError, choices
from edgenas.profiling.progress import Progress
from edgenas.study.context import Run
from edgenas.study.run_folder import StepRecord, digest_of


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    `inputs` returns, as JSON values, all that decides on the result beside the outputs of the
    steps in `needs`; `make` does the work and returns the files that it wrote into the run folder;
    `summary` says the result in a line. `version` goes up when the same inputs give other files.
    `check` looks at the result whenever the chain passes by, and may refuse to go on. A
    `ValidationError` of it is raised at the end: what other files become is not this file's fault.
    Such a step is done again by the next command.
    """

    name: str
    needs: tuple[str, ...]
    version: int
    inputs: Callable[[Run], dict[str, Any]]
    make: Callable[[Run, Progress], Sequence[Path]]
    summary: Callable[[Run], str]
    check: Callable[[Run], None] | None = None


@dataclass(frozen=True, slots=True)
class StepEvent:
    """What the chain says of a step: why it begins, or how it ended."""

    step: str
    state: Literal["begins", "done", "kept"]
    text: str
    took_s: float = 0.0


class OnStep(Protocol):
    """Called when a step begins and ends; must return quickly."""

    def __call__(self, event: StepEvent) -> None:
        """Take in `event`."""


def unheard(event: StepEvent) -> None:
    """Tell nobody."""


def up_to(steps: Sequence[Step], last: str) -> list[Step]:
    """Return the steps until `last`, which is among them.

    Raises:
        UsageError: no step has that name.
    """
    names = [step.name for step in steps]
    if last not in names:
        raise UsageError(f"no step {last!r}; {choices(last, names)}")
    return list(steps[: names.index(last) + 1])


def run_steps(
    run: Run, steps: Sequence[Step], *, progress: Progress, on_step: OnStep
) -> list[StepRecord]:
    """Bring the steps up to date, in order; the caller holds the run folder.

    Raises:
        ValidationError: files failed their checks, found at the end; every step is done.
        EdgenasError: a step failed; what was finished before stays done.
    """
    records: dict[str, StepRecord] = {}
    failed: list[ValidationError] = []
    names = frozenset(step.name for step in steps)
    for step in steps:
        upstream = {name: dict(records[name].outputs) for name in step.needs}
        record, reason = _standing(run, step, upstream)
        if record is not None and reason is None:
            on_step(StepEvent(step.name, "kept", step.summary(run), record.took_s))
        else:
            run.check_possible(names)
            record = _bring_up_to_date(run, step, upstream, reason, progress, on_step)
        records[step.name] = record
        try:
            if step.check is not None:
                step.check(run)
        except ValidationError as error:
            # So are those whose files it has set aside: they are written anew.
            aside = [name for name in step.needs if not run.folder.is_in_place(records[name])]
            for name in (step.name, *aside):
                run.folder.forget(name)
            failed.append(error)
    if failed:
        raise ValidationError.of(failed)
    return list(records.values())


def _inputs(run: Run, step: Step, upstream: dict[str, Any]) -> dict[str, Any]:
    return {"version": step.version, "upstream": upstream, **step.inputs(run)}


def _standing(
    run: Run, step: Step, upstream: dict[str, Any]
) -> tuple[StepRecord | None, str | None]:
    """Return the record of a step and why it must be done, None if it need not."""
    record = run.folder.record(step.name)
    return record, _reason(run, record, _inputs(run, step, upstream))


def _bring_up_to_date(  # noqa: PLR0913
    run: Run,
    step: Step,
    upstream: dict[str, Any],
    reason: str | None,
    progress: Progress,
    on_step: OnStep,
) -> StepRecord:
    on_step(StepEvent(step.name, "begins", reason or ""))
    began = time.monotonic()
    outputs = step.make(run, progress)
    took_s = time.monotonic() - began
    # Taken again: profiling makes the very tables that its inputs name.
    inputs = _inputs(run, step, upstream)
    record = run.folder.write_record(step.name, inputs, outputs, took_s)
    on_step(StepEvent(step.name, "done", step.summary(run), took_s))
    return record


def _reason(run: Run, record: StepRecord | None, inputs: dict[str, Any]) -> str | None:
    """Return why a step must be done, None if it is done."""
    if record is None:
        return "not done yet"
    if record.digest != digest_of(inputs):
        # As they are in the record: tuples are lists there.
        now = json.loads(json.dumps(inputs))
        return f"changed: {', '.join(_changes(dict(record.inputs), now))}"
    damaged = run.folder.damaged(record)
    return f"missing or damaged: {', '.join(damaged)}" if damaged else None


def _changes(before: dict[str, Any], now: dict[str, Any], place: str = "") -> list[str]:
    """Return where two trees of JSON values differ; of earlier steps only their names."""
    found: list[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if place != "upstream." and isinstance(old, dict) and isinstance(new, dict):
            found += _changes(old, new, f"{place}{key}.")
        else:
            found.append(f"{place}{key}".removeprefix("upstream."))
    return found
