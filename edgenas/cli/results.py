"""A run's front, pick and proof as tables."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from edgenas.cli.screen import show, show_table
from edgenas.core.digits import small
from edgenas.study.storage_names import dashboard_name

if TYPE_CHECKING:
    from edgenas.study.api import CompileResult

_HEADS = {
    "latency_ms": "latency\nms",
    "energy_mj": "energy\nmJ",
    "load_ms": "load\nms",
    "cold_start_ms": "cold start\nms",
    "peak_memory_mib": "memory\nMiB",
    "sustained_p95_ms": "p95 under\nload, ms",
    "n_macs": "MACs\nmillion",
    "n_params": "params\nmillion",
    "peak_activation_kib": "peak\nKiB",
    "weights_kib": "weights\nKiB",
}
_MOST_ROWS = 40


def show_front(result: CompileResult) -> None:
    """Print the front, the picked member marked, and who fell off it as a file."""
    picked = result.pick["id"] if result.pick else None
    objectives = list(result.job.objectives)
    names = [*objectives, *(n for n in ("accuracy", "latency_ms") if n not in objectives)]
    others = [name for name in ("n_macs", "n_params", "peak_activation_kib") if name not in names]
    measured = _measured(result)
    columns = [
        "",
        "id",
        *(_HEADS.get(name, name) for name in names),
        "90 %\nat most",
        "measured\nms",
    ]
    rows = []
    for member in result.front[:_MOST_ROWS]:
        chosen = member["id"] == picked
        cells = [
            "→" if chosen else "",
            member["id"],
            *(_value(name, member[name]) for name in names),
            _value("latency_ms", member.get("latency_ms_upper")),
            _value("latency_ms", measured.get(member["id"])),
            *(_value(name, member[name]) for name in others),
        ]
        rows.append([Text(cell, style="bold" if chosen else "") for cell in cells])
    left = len(result.front) - _MOST_ROWS
    show_table(
        f"Front of {result.job.name}: {len(result.front)} architectures",
        [*columns, *(_HEADS.get(name, name) for name in others)],
        rows,
        left=2,
    )
    if left > 0:
        show(f"... and {left} more in {result.folder / 'search' / 'front.json'}")
    for line in fallen(result.finalists, result.job.device.precision):
        show(line)


def fallen(finalists: Sequence[Mapping[str, Any]], precision: str) -> list[str]:
    """Return lines on the members of the front that are no finalists any more; or none.

    Others beat them once all were files, or they could not be written, or do not run.
    """
    known = {one["id"]: one for one in finalists}
    beaten = [one for one in finalists if one["beaten_by"] is not None]
    out = [f"finalist {one['id']} is out: {one['error']}" for one in finalists if one["error"]]
    if not beaten:
        return out
    return [
        *out,
        f"as {precision} files, {len(beaten)} of {len(finalists)} finalists are no better than "
        "another one in any objective, and fell off the front:",
        *(
            f"  {one['id']} with {_judged(one)}, beaten by {one['beaten_by']} with "
            f"{_judged(known[one['beaten_by']])}"
            for one in beaten
        ),
    ]


def _judged(finalist: Mapping[str, Any]) -> str:
    accuracy, measured = finalist["file_accuracy"], finalist["measured_ms"]
    known = [] if accuracy is None else [_value("accuracy", accuracy)]
    return " in ".join([*known, f"{_value('latency_ms', measured)} ms"])


def show_pick(result: CompileResult) -> None:
    """Print the picked architecture."""
    if result.pick is None:
        return
    pick = result.pick
    show()
    show(f"Picked {pick['id']} by {pick['pick']}", style="bold")
    for runtime, predicted in pick["predicted"].items():
        show(f"  predicted on {runtime}: {_interval(predicted)} ms, {predicted['coverage']}")
    for name, predicted in pick["predicted_costs"].items():
        show(
            f"  predicted {name}{_modelled(predicted)}: {_cost(predicted)} {predicted['unit']}, "
            f"{predicted['coverage']}"
        )
    show("  " + ", ".join(f"{name}={value}" for name, value in pick["config"].items()))


def show_caveats(result: CompileResult) -> None:
    """Print what is to be known of the tables; nothing where they are the device's own."""
    for text in result.caveats:
        show(f"note: {text}", style="yellow")


def show_proof(result: CompileResult) -> None:
    """Print the proof: budget, prediction and measurement of every file."""
    proof = result.proof
    if proof is None:
        return
    budgets = ", ".join(proof["budgets"]) or "none"
    title = f"Proof of {proof['architecture']['id']}; budget: {budgets}"
    rows = [
        [
            entry["file"],
            entry["runtime"] or "-",
            _interval(entry["predicted"]),
            _timing(entry["measured"], "latency_ms"),
            _timing(entry["measured"], "p95_ms"),
            _verdict(entry, proof["runtime"]),
            _checks(entry),
        ]
        for entry in proof["files"]
    ]
    interval = f"predicted\n{proof['interval_coverage']:.0%} interval, ms"
    columns = ["file", "runtime", interval, "measured\nms", "p95\nms", "budget", "checks\npassed"]
    show_table(title, columns, rows, left=2)
    _show_costs(proof)
    others = [e["runtime"] for e in proof["files"] if e["runtime"] not in (None, proof["runtime"])]
    if others and any(entry["budget_kept"] is not None for entry in proof["files"]):
        show(f"the budget is asked of {proof['runtime']}; of {', '.join(others)} it is only told")
    for limit in proof["limits"]:
        word = "kept" if limit["kept"] else "BROKEN"
        word += " as predicted, not measured" if limit.get("predicted") else ""
        show(f"{limit['budget']}: {_value(limit['budget'].split()[0], limit['value'])}, {word}")
    show(f"measured on {proof['device']}")
    for entry in proof["files"]:
        if entry["status"] == "failed":
            show(f"{entry['file']} failed a check; it is now called {entry['file']}.failed")
        if entry["measured"] is None:
            reason = entry["not_run"].get("measured_latency", "not measured")
            show(f"{entry['file']}: built, not run here: {reason}")
    if proof["test_accuracy"] is None:
        show("accuracy: not known, as the images have no labels")
        return
    known = "" if proof["precision"] == "float32" else " before it was written"
    show(
        f"accuracy{known}: {proof['test_accuracy']:.2%} on {proof['n_test']} test images "
        f"({proof['validation_accuracy']:.2%} on validation)"
    )
    for entry in proof["files"] if known else ():
        if entry["test_accuracy"] is not None:
            show(
                f"accuracy of {entry['file']} in {proof['precision']}: {entry['test_accuracy']:.2%}"
            )


def _show_costs(proof: Mapping[str, Any]) -> None:
    """Print what the files cost beside their latency, if that was asked for."""
    rows = [
        [
            entry["file"],
            f"{name}{_modelled(cost['predicted'], cost['measured'])}",
            _cost(cost["predicted"]),
            _cost(cost["measured"]),
            _word(cost["budget_kept"], asked=entry["runtime"] == proof["runtime"]),
        ]
        for entry in proof["files"]
        for name, cost in entry["costs"].items()
    ]
    if rows:
        interval = f"predicted\n{proof['interval_coverage']:.0%} interval"
        show_table("", ["file", "cost", interval, "measured", "budget"], rows, left=2)


def _modelled(*found: Mapping[str, Any] | None) -> str:
    modelled = any(one is not None and one["provenance"] == "modelled" for one in found)
    return " (modelled)" if modelled else ""


def _cost(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    if found["low"] is None:
        return f"{found['value']:.4g}"
    return f"{found['value']:.4g} [{found['low']:.4g}, {found['high']:.4g}]"


def show_files(result: CompileResult) -> None:
    """Print where everything is."""
    show()
    paths: list[Path] = [*result.files, *result.bundles]
    if result.report is not None:
        paths.append(result.report)
    for path in paths:
        show(str(path))
    for target, reason in result.unbundled.items():
        show(f"no bundle for {target}: {reason}", style="yellow")
    storage = result.job.search.storage or str(result.folder / "study.db")
    if "://" in storage or Path(storage).is_file():
        show(f"every evaluation: optuna-dashboard {shlex.quote(dashboard_name(storage))}")


def _measured(result: CompileResult) -> dict[str, float]:
    if result.proof is None:
        return {}
    runtime = result.proof["runtime"]
    return {
        entry["id"]: entry["measured_ms"]
        for entry in result.proof["front"]
        if entry["runtime"] == runtime
    }


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "accuracy":
        return f"{value:.2%}"
    if name.endswith(("_ms", "_mj", "_mib")):
        return small(value)
    if name.startswith("n_"):
        return f"{value / 1e6:.3f}"
    return f"{value:.1f}"


def _interval(predicted: Mapping[str, Any] | None) -> str:
    if predicted is None:
        return "-"
    if predicted["low_ms"] is None:
        return small(predicted["latency_ms"])
    low, high = small(predicted["low_ms"]), small(predicted["high_ms"])
    return f"{small(predicted['latency_ms'])} [{low}, {high}]"


def _timing(measured: Mapping[str, Any] | None, key: str) -> str:
    return "-" if measured is None else small(measured[key])


def _verdict(entry: Mapping[str, Any], runtime: str) -> Text:
    if entry["measured"] is None:
        return Text("not run", style="yellow")
    return _word(entry["budget_kept"], asked=entry["runtime"] == runtime)


def _word(kept: bool | None, *, asked: bool) -> Text:
    if kept is None:
        return Text("no limit")
    if kept:
        return Text("kept" if asked else "kept too", style="green")
    return Text("BROKEN", style="bold red") if asked else Text("above, not asked", style="yellow")


def _checks(entry: Mapping[str, Any]) -> Text:
    made = [check for check in entry["checks"] if check["passed"] is not None]
    passed = sum(check["passed"] for check in made)
    style = "green" if passed == len(made) else "bold red"
    return Text(f"{passed} of {len(made)}", style=style)
