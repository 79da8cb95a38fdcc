"""Step 5: one member of the front, by a budget, by the knee or by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgenas.core.architecture import Architecture
from edgenas.core.digits import small
from edgenas.core.files import write_json
from edgenas.profiling.progress import Progress
from edgenas.study.chain import Step
from edgenas.study.context import INTERVAL_COVERAGE, Run
from edgenas.study.picking import pick
from edgenas.study.steps.accuracy_source import how
from edgenas.study.steps.finalists import reranked, upper_of

PICK = "pick.json"


def picked(run: Run) -> Architecture:
    """Return the picked architecture."""
    content = run.read(PICK)
    return Architecture(content["space"], tuple(content["genes"]))


def predicted_latency(run: Run, runtime: str) -> dict[str, Any]:
    """Return the predicted latency of the picked architecture on a runtime, as JSON values.

    ``low_ms`` and ``high_ms`` are None where the table has no intervals; ``mismatch`` says in what
    the table is of something else.
    """
    prediction = run.models[runtime].predictions(picked(run).row[None])[0]
    return {
        "latency_ms": prediction.value,
        "low_ms": prediction.low,
        "high_ms": prediction.high,
        "confidence": INTERVAL_COVERAGE,
        "coverage": prediction.coverage,
        "provenance": prediction.provenance,
        "mismatch": list(prediction.mismatch),
    }


def predicted_costs(run: Run) -> dict[str, dict[str, Any]]:
    """Return what is predicted of the pick beside its latency, on the job's runtime and elsewhere.

    By objective: ``value``, ``low``, ``high`` in ``unit``, and what `predicted_latency` says of it.
    """
    found = {}
    own = {name: model for name, model in run.cost_models.items() if model.kind != "latency"}
    for name, model in {**own, **run.other_devices}.items():
        prediction = model.predictions(picked(run).row[None])[0]
        found[name] = {
            "unit": model.table.passport.unit,
            "value": prediction.value,
            "low": prediction.low,
            "high": prediction.high,
            "confidence": INTERVAL_COVERAGE,
            "coverage": prediction.coverage,
            "provenance": prediction.provenance,
            "mismatch": list(prediction.mismatch),
        }
    return found


def _inputs(run: Run) -> dict[str, Any]:
    others = {
        name: model.table.passport.checksum
        for name, model in run.cost_models.items()
        if model.kind != "latency"
    }
    others |= {name: one.table.passport.checksum for name, one in run.other_devices.items()}
    found = {"pick": run.job.pick, "table": run.model.table.passport.checksum}
    return found | ({"tables": others} if others else {})


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    del progress
    costs = run.costs(run.job.budgets())
    found = pick(
        reranked(run),
        run.job.pick,
        objectives=run.objectives,
        upper=upper_of(run, costs.upper),
        least=costs.least,
    )
    write_json(
        run.folder / PICK,
        {
            "pick": run.job.pick,
            "id": found.arch.id,
            "space": found.arch.space,
            "space_parameters": run.space.parameters,
            "genes": list(found.arch.genes),
            "config": run.space.describe(found.arch.row),
            "values": dict(found.values),
        },
    )
    return [run.folder / PICK]


def _summary(run: Run) -> str:
    content = run.read(PICK)
    values = content["values"]
    parts = [f"{content['id']} by {content['pick']}"]
    if "accuracy" in values:
        what = f"of its {run.job.device.precision} file " if run.job.n_finalists else ""
        parts.append(f"accuracy {what}{values['accuracy']:.2%} {how(run)}")
    predicted = predicted_latency(run, run.job.device.runtime)
    text = f"predicted {small(predicted['latency_ms'])} ms"
    if predicted["low_ms"] is not None:
        text += f" [{small(predicted['low_ms'])}, {small(predicted['high_ms'])}]"
    parts.append(text)
    parts += [cost_text(name, one) for name, one in predicted_costs(run).items()]
    models = (*run.cost_models.values(), *run.other_devices.values())
    parts += [caveat for model in models for caveat in model.caveats]
    return ", ".join(parts)


def cost_text(name: str, predicted: Mapping[str, Any]) -> str:
    """Return a predicted cost with its interval in words."""
    text = f"{name} {predicted['value']:.4g}"
    if predicted["low"] is not None:
        text += f" [{predicted['low']:.4g}, {predicted['high']:.4g}]"
    return text + (" (modelled)" if predicted["provenance"] == "modelled" else "")


PICK_STEP = Step(
    name="pick",
    needs=("search", "finalists"),
    version=2,
    inputs=_inputs,
    make=_make,
    summary=_summary,
)
