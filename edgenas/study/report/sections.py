"""The report's sections that speak of the networks: headline, front, search, proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgenas.core.objective import Constraint
from edgenas.study.report import finalists, learned
from edgenas.study.report.data import (
    BlockCost,
    ExportCheck,
    ExportedFile,
    FileCost,
    FrontMember,
    Remeasured,
    ReportData,
)
from edgenas.study.report.figures import MAX_POINTS, blocks_height_px, runtimes_of
from edgenas.study.report.markup import (
    NONE,
    Cell,
    count,
    escape,
    ms,
    note,
    number,
    number_or_dash,
    percent,
    plain,
    plot,
    short_hash,
    span,
    table,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the budget, in a word and in a sentence (plain text)."""

    state: Literal["kept", "broken", "unproven", "none"]
    text: str


def verdict(data: ReportData) -> Verdict:
    """Return whether the exported files keep the budget; only measurements prove that.

    It is asked of the primary runtime; of files for others it is only told.
    """
    if not data.constraints:
        return Verdict("none", "No budget was set for this job.")
    budget = ", ".join(data.constraints)
    judged = [entry for entry in data.exports if entry.budget_kept is not None]
    above = [entry for entry in judged if not entry.budget_kept]
    broken = [entry.target for entry in above if _is_asked(entry, data.runtime)]
    if broken:
        return Verdict("broken", f"Budget {budget}: broken by {', '.join(broken)}.")
    if len(judged) > len(above):
        kept = ", ".join(entry.target for entry in judged if entry.budget_kept)
        text = f"Budget {budget}: kept, measured on the device ({kept})." + _not_measured(data)
        if above:
            text += f" Above it, and not asked: {', '.join(entry.target for entry in above)}."
        others = [entry.target for entry in data.exports if entry.budget_kept is None]
        return Verdict("kept", text + (f" Not measured here: {', '.join(others)}." * bool(others)))
    return Verdict(
        "unproven",
        f"Budget {budget}: no exported file was measured for it; nothing is proven."
        f"{_not_measured(data)}",
    )


def _not_measured(data: ReportData) -> str:
    """Return which limits were held against figures that nobody measured; nothing if none was."""
    modelled = {cost.objective for e in data.exports for cost in e.costs if cost.modelled}
    names = [name for name in sorted(modelled) if data.limit(name) is not None]
    elsewhere = {Constraint.parse(text).name for text in data.constraints}
    predicted = sorted(name for name in elsewhere if "." in name)
    text = f" {', '.join(names)}: modelled, not measured." if names else ""
    return text + (f" {', '.join(predicted)}: predicted, not measured." if predicted else "")


def headline(data: ReportData) -> str:
    """Return the pick in numbers and the verdict on the budget."""
    found = verdict(data)
    signs = {"kept": "✓", "broken": "✗", "unproven": "?", "none": "·"}
    banner = (
        f'<p class="verdict {found.state}"><span aria-hidden="true">{signs[found.state]}</span> '
        f"{escape(found.text)}</p>"
    )
    pick = data.pick
    if pick is None:
        return banner + note("No architecture has been picked; the front below is what there is.")
    rule = f" (rule: {escape(data.pick_rule)})" if data.pick_rule else ""
    return (
        f"{banner}<p>The pick is <strong>{escape(pick.id)}</strong>{rule}, one of "
        f"{len(data.front)} on the front.</p>"
        f'<div class="cards">{"".join(_cards(data, pick))}</div>'
    )


def _cards(data: ReportData, pick: FrontMember) -> list[str]:
    tested = next((entry for entry in data.exports if entry.test_accuracy is not None), None)
    own = next((e for e in data.exports if e.runtime == data.runtime and e.measured_ms), None)
    measured_ms = own.measured_ms if own else pick.measured_ms
    if own:
        source = f"{escape(own.file or own.target)} on {escape(data.runtime)}"
    else:
        source = f"the pick on {escape(data.runtime)}" if measured_ms else "not measured here"
    if tested:
        images = f" on {tested.n_test:,} test images" if tested.n_test else " on the test part"
        accuracy = _card("Test accuracy", percent(tested.test_accuracy), f"exported file{images}")
    else:
        accuracy = _card("Test accuracy", "–", "no labelled test images were used in this run")
    what = "Predicted" if data.predicted_accuracy else "Validation"
    return [
        accuracy,
        _card(f"{what} accuracy", percent(pick.accuracy), "as the search saw it"),
        _card(
            "Predicted latency",
            ms(pick.latency_ms),
            "no interval"
            if pick.low_ms is None
            else f"{span(pick.low_ms, pick.high_ms)} ms ({data.confidence:.0%} interval)",
        ),
        _card("Measured latency", "–" if measured_ms is None else ms(measured_ms), source),
        _card(
            "Size",
            f"{count(pick.n_params)}",
            f"parameters; {count(pick.n_macs)} MACs, "
            f"{number(pick.peak_activation_kib)} KiB of activations",
        ),
    ]


def _card(title: str, value: str, remark: str) -> str:
    return (
        f'<div class="card"><div class="label">{title}</div>'
        f'<div class="value">{value}</div><div class="remark">{remark}</div></div>'
    )


def front(data: ReportData) -> str:
    """Return the front's plot and its table."""
    if not data.front:
        why = note("The search found no architecture that keeps every constraint.")
        return why + (plot("front", "All evaluations", 440) if _has_values(data) else "")
    label = "Accuracy against latency of all evaluations, the Pareto front and the pick"
    remarks = ["Hover over a point for its network; peak is that of the activations."]
    if any(member.low_ms is not None for member in data.front):
        remarks.insert(0, f"Bars are {data.confidence:.0%} prediction intervals.")
    else:
        remarks.insert(0, "No prediction intervals were recorded.")
    n_failed = sum(entry.status == "failed" for entry in data.evaluations)
    if not data.evaluations:
        remarks.append("The single evaluations were not recorded.")
    if n_failed:
        remarks.append(f"{n_failed} of {len(data.evaluations)} evaluations failed.")
    if len(data.evaluations) > MAX_POINTS:
        remarks.append(f"Of {len(data.evaluations):,} evaluations, {MAX_POINTS:,} are drawn.")
    if data.limit("latency_ms") is None and data.limit("accuracy") is None:
        remarks.append("No limit on either axis was set.")
    members = sorted(data.front, key=lambda member: member.latency_ms)
    headers = ["Architecture", "Accuracy", "Predicted (ms)", "Interval (ms)", "Measured (ms)"]
    costs = list(dict.fromkeys(name for member in members for name in member.costs))
    lines = table(
        [*headers, *map(escape, costs), "MACs", "Parameters", "Peak (KiB)", "Network"],
        [_front_row(member, costs) for member in members],
        sortable=True,
        row_classes=["picked" if member.picked else "" for member in members],
    )
    judged = finalists.section(data.finalists, data.precision) if data.finalists else ""
    remark = f'<p class="remark">{" ".join(remarks)}</p>'
    return f"{plot('front', label, 460)}{remark}{lines}{judged}"


def _has_values(data: ReportData) -> bool:
    return any(point.accuracy is not None for point in data.evaluations)


def _front_row(member: FrontMember, costs: Sequence[str]) -> list[Cell | str]:
    config = ", ".join(f"{name} {plain(value)}" for name, value in member.config.items())
    star = ' <span class="star" title="the pick">★ pick</span>' if member.picked else ""
    return [
        f"<code>{escape(member.id)}</code>{star}",
        Cell(percent(member.accuracy), member.accuracy),
        Cell(number(member.latency_ms), member.latency_ms),
        Cell(span(member.low_ms, member.high_ms), member.high_ms),
        Cell(number_or_dash(member.measured_ms), member.measured_ms),
        *(Cell(number_or_dash(member.costs.get(name)), member.costs.get(name)) for name in costs),
        Cell(count(member.n_macs), member.n_macs),
        Cell(count(member.n_params), member.n_params),
        Cell(number(member.peak_activation_kib), member.peak_activation_kib),
        f"<details><summary>show</summary>{escape(config)}</details>" if config else NONE,
    ]


def search(data: ReportData) -> str:
    """Return the search's progress."""
    if not data.progress:
        return note("The search's progress was not recorded.")
    last = data.progress[-1]
    best = "none yet" if last.best_accuracy is None else percent(last.best_accuracy)
    return (
        plot("progress", "Hypervolume and best accuracy after each evaluation", 400)
        + f'<p class="remark">After {last.n_evaluations:,} evaluations: hypervolume '
        f"{last.hypervolume:.4g}, best accuracy within the budget {best}.</p>"
        + (f'<p class="remark">{escape(data.predictor)}</p>' if data.predictor else "")
        + (learned.section(data.learned) if data.learned else "")
    )


def remeasured(data: ReportData) -> str:
    """Return predictions beside measurements of the front's members."""
    if not data.remeasured:
        return note(
            "No member of the front was measured again on the device, so this report cannot say "
            "how well the predictions hold for this run. The tables' own errors stand below."
        )
    rows = []
    for runtime in runtimes_of(data):
        own = [point for point in data.remeasured if point.runtime == runtime]
        if own:
            rows.append(_agreement(runtime, own))
    headers = ["Runtime", "Networks", "MAPE", "Within ± 10 %", "Bias"]
    return plot("remeasured", "Predicted against measured latency", 480) + table(
        [*headers, f"Inside the {data.confidence:.0%} interval"], rows
    )


def _agreement(runtime: str, points: Sequence[Remeasured]) -> list[Cell | str]:
    predicted = np.array([point.predicted_ms for point in points])
    measured = np.array([point.measured_ms for point in points])
    errors = predicted / measured - 1
    known = [point.inside for point in points if point.inside is not None]
    inside = sum(known)
    mape, bias = float(np.abs(errors).mean()), float(errors.mean())
    within = float((np.abs(errors) <= 0.1).mean())
    share = inside / len(known) if known else None
    return [
        escape(runtime),
        Cell(str(len(points)), len(points)),
        Cell(percent(mape), mape),
        Cell(percent(within, 0), within),
        Cell(f"{100 * bias:+.2f} %", bias),
        NONE if share is None else Cell(f"{percent(share, 0)} ({inside} of {len(known)})", share),
    ]


def blocks(data: ReportData) -> str:
    """Return what each part of the pick costs, drawn and as a table."""
    if not data.blocks:
        return note("No costs by block were recorded for the pick.")
    runtimes = [name for name in runtimes_of(data) if any(b.runtime == name for b in data.blocks)]
    cells = {(block.name, block.runtime): block for block in data.blocks}
    names = list(dict.fromkeys(block.name for block in data.blocks))
    macs = {block.name: block.n_macs for block in data.blocks if block.n_macs is not None}

    def latency(block: BlockCost | None) -> Cell:
        return Cell(NONE) if block is None else Cell(number(block.latency_ms), block.latency_ms)

    rows: list[list[Cell | str]] = [
        [
            escape(name),
            Cell(count(macs[name]), macs[name]) if name in macs else NONE,
            *(latency(cells.get((name, runtime))) for runtime in runtimes),
        ]
        for name in names
    ]
    sums = [sum(b.latency_ms for b in data.blocks if b.runtime == name) for name in runtimes]
    total: list[Cell | str] = [
        "<strong>sum</strong>",
        Cell(count(sum(macs.values())), sum(macs.values())) if macs else NONE,
        *(Cell(number(value), value) for value in sums),
    ]
    return (
        plot("blocks", "Latency of each block of the pick", blocks_height_px(data))
        + "<details><summary>The same as a table</summary>"
        + table(["Block", "MACs", *(f"{name} (ms)" for name in runtimes)], [*rows, total])
        + "</details>"
    )


def proof(data: ReportData) -> str:
    """Return a line for each exported file, with its checks and what could not be done."""
    if not data.exports:
        return note("No file was exported in this run.")
    budget = ", ".join(data.constraints) or "none set"
    headers = ["Target", "File", "Predicted (ms)", "Interval (ms)", "Measured (ms)", "Budget"]
    return (
        f"<p>Budget: <strong>{escape(budget)}</strong></p>"
        + table(
            [*headers, "Test accuracy", "Checks", "SHA-256"],
            [_proof_row(entry, data) for entry in data.exports],
        )
        + (f'<p class="remark">{escape(data.quantised)}</p>' if data.quantised else "")
        + _other_costs(data)
        + "".join(_proof_details(entry) for entry in data.exports)
    )


def _other_costs(data: ReportData) -> str:
    """Return a table of what the files cost beside their latency; nothing if nothing was asked."""
    rows = [_cost_row(entry, cost) for entry in data.exports for cost in entry.costs]
    if not rows:
        return ""
    modelled = any(cost.modelled for entry in data.exports for cost in entry.costs)
    remark = (
        '<p class="caveat">What is marked as modelled was not measured: it follows from powers in '
        "the device's description.</p>"
    )
    headers = ["File", "Cost", "Predicted", "Interval", "Measured", "Budget"]
    return "<h3>Other costs of the files</h3>" + table(headers, rows) + (remark * modelled)


def _cost_row(entry: ExportedFile, cost: FileCost) -> list[Cell | str]:
    mark = " (modelled)" if cost.modelled else ""
    kept = '<span class="none">none</span>' if cost.budget_kept is None else _kept(cost.budget_kept)
    return [
        f"<code>{escape(entry.file or entry.target)}</code>",
        escape(f"{cost.objective}, {cost.unit}{mark}"),
        Cell(number_or_dash(cost.predicted), cost.predicted),
        Cell(span(cost.low, cost.high), cost.high),
        Cell(number_or_dash(cost.measured), cost.measured),
        kept,
    ]


def _proof_row(entry: ExportedFile, data: ReportData) -> list[Cell | str]:
    size = "" if entry.n_bytes is None else f" <small>{count(entry.n_bytes)}B</small>"
    missing = '<span class="bad">no file</span>'
    failed = ' <span class="bad">failed</span>' if entry.failed else ""
    passed = sum(check.passed is True for check in entry.checks)
    made = sum(check.passed is not None for check in entry.checks)
    style = "good" if made and passed == made else "bad" if made else "none"
    checks = f'<span class="{style}">{passed} of {made} passed</span>' if made else NONE
    return [
        escape(entry.target),
        f"<code>{escape(entry.file)}</code>{size}{failed}" if entry.file else missing,
        Cell(number_or_dash(entry.latency_ms), entry.latency_ms),
        Cell(span(entry.low_ms, entry.high_ms), entry.high_ms),
        Cell(_measured_text(entry), entry.measured_ms),
        _judged(entry, data.runtime) if data.constraints else '<span class="none">none set</span>',
        Cell(percent(entry.test_accuracy), entry.test_accuracy),
        checks,
        short_hash(entry.sha256) if entry.sha256 else NONE,
    ]


def _measured_text(entry: ExportedFile) -> str:
    """Return the measured latency, and up to where the processes that measured it found it."""
    if entry.measured_ms is None:
        return '<span class="none">not run here</span>'
    found = entry.process_ms
    if len(found) < 2:
        return number(entry.measured_ms)
    most = f"up to {number(max(found))} in {len(found)} processes"
    return f"{number(entry.measured_ms)} <small>{most}</small>"


def _judged(entry: ExportedFile, runtime: str) -> str:
    """Return whether a file keeps the budget, and whether that was asked of it."""
    if entry.budget_kept is None or _is_asked(entry, runtime):
        return _kept(entry.budget_kept)
    return "kept, too" if entry.budget_kept else "above, not asked"


def _is_asked(entry: ExportedFile, runtime: str) -> bool:
    """Return whether the budget is asked of a file: of those for the job's own runtime alone."""
    return entry.runtime in (None, runtime)


def _kept(kept: bool | None) -> str:
    if kept is None:
        return '<span class="none">not proven here</span>'
    return '<span class="good">✓ kept</span>' if kept else '<span class="bad">✗ broken</span>'


def _proof_details(entry: ExportedFile) -> str:
    lines = [_check_line(check) for check in entry.checks]
    if entry.error:
        lines.insert(0, f'<li class="bad">Export failed: {escape(entry.error)}</li>')
    known = {check.name for check in entry.checks if check.passed is None}
    lines += [
        f'<li class="none">{escape(name)}: not done here; {escape(reason)}</li>'
        for name, reason in entry.not_run.items()
        if name not in known
    ]
    if not lines:
        lines = ['<li class="none">No checks were recorded.</li>']
    opened = " open" if entry.error or any(c.passed is False for c in entry.checks) else ""
    return (
        f"<details{opened}><summary>{escape(entry.target)}: what was checked</summary>"
        f"<ul>{''.join(lines)}</ul></details>"
    )


def _check_line(check: ExportCheck) -> str:
    detail = f": {escape(check.detail)}" if check.detail else ""
    if check.passed is None:
        return f'<li class="none">{escape(check.name)}: not done here{detail}</li>'
    style, sign = ("good", "✓") if check.passed else ("bad", "✗")
    return f'<li><span class="{style}">{sign}</span> {escape(check.name)}{detail}</li>'
