"""The report's sections on what everything was measured, trained and made with."""

from __future__ import annotations

from edgenas.costs.conditions import setting_text
from edgenas.costs.passport import ErrorReport, Passport
from edgenas.study.report.data import ReportData, TableRecord
from edgenas.study.report.markup import (
    NONE,
    Cell,
    definitions,
    escape,
    note,
    number,
    percent,
    plain,
    seconds,
    short_hash,
    table,
)


def warnings(data: ReportData) -> str:
    """Return what may make a number wrong; nothing if nothing does."""
    if not data.warnings:
        return ""
    lines = "".join(f"<li>{escape(text)}</li>" for text in data.warnings)
    return f'<aside class="warnings"><h2>Warnings</h2><ul>{lines}</ul></aside>'


def provenance(data: ReportData) -> str:
    """Return tables' passports, the data set, settings, times and versions."""
    tables = "".join(_table_record(record) for record in data.tables)
    return (
        "<h3>Tables of costs</h3>"
        + (tables or note("No latency table is on record for this run."))
        + "<h3>Data set</h3>"
        + _dataset(data)
        + "<h3>Settings</h3>"
        + _settings(data)
        + "<h3>Time</h3>"
        + _times(data)
        + "<h3>Versions</h3>"
        + _versions(data)
    )


def _table_record(record: TableRecord) -> str:
    passport = record.passport
    caveats = "".join(f'<p class="caveat">{escape(text)}.</p>' for text in record.caveats)
    return (
        f'<section class="table"><h4>{escape(passport.kind)}: {escape(passport.runtime.name)} '
        f"{escape(passport.runtime.version)}, {escape(passport.runtime.precision)}, "
        f"space {escape(passport.space.name)}</h4>"
        + caveats
        + _calibration(passport)
        + definitions([*_measurement(passport), ("File", f"<code>{escape(record.path)}</code>")])
        + "<details><summary>The device's fingerprint</summary>"
        + definitions(
            (name, escape(plain(value))) for name, value in passport.device.fingerprint.items()
        )
        + "</details></section>"
    )


def _calibration(passport: Passport) -> str:
    fit = passport.fit
    if fit is None:
        return note("These costs were never held against whole networks.")
    reports = [
        ("this table's predictions, networks held out", fit.held_out),
        ("naive sum of isolated operators", fit.naive_sum),
        ("noise ceiling: the same networks timed in two sessions", fit.noise_ceiling),
    ]
    headers = ["Against measured networks", "Networks", "MAPE", "Within ± 5 %"]
    least, greatest = fit.value_range
    where = "" if fit.space is None else f" of {escape(fit.space)}"
    return (
        table(
            [*headers, "Within ± 10 %", "Spearman", "Bias"],
            [_errors(name, report) for name, report in reports if report is not None],
        )
        + f'<p class="remark">Calibrated on {fit.n_networks} networks{where} of '
        f"{number(least)} to {number(greatest)} {passport.unit}.</p>"
    )


def _errors(name: str, report: ErrorReport) -> list[Cell | str]:
    return [
        escape(name),
        Cell(str(report.n_networks), report.n_networks),
        Cell(percent(report.mape), report.mape),
        Cell(percent(report.within_5_percent, 1), report.within_5_percent),
        Cell(percent(report.within_10_percent, 1), report.within_10_percent),
        Cell(f"{report.spearman:.4f}", report.spearman),
        Cell(f"{100 * report.bias:+.2f} %", report.bias),
    ]


def _measurement(passport: Passport) -> list[tuple[str, str]]:
    runtime = passport.runtime
    cores = "not pinned" if runtime.affinity is None else f"on cores {plain(runtime.affinity)}"
    lines = [
        ("Device", f"{escape(passport.device.slug)} {short_hash(passport.device.match_key)}"),
        ("Delegate", escape(runtime.delegate) if runtime.delegate else "none"),
        ("Threads", "not told" if runtime.threads is None else f"{runtime.threads}, {cores}"),
        *(
            (name.capitalize(), escape(setting_text(value)))
            for name, value in (runtime.settings or {}).items()
        ),
        *_how_measured(passport),
    ]
    took = "" if passport.duration_s is None else f", in {seconds(passport.duration_s)}"
    lines.append(("Costs are", f"{passport.provenance}{took}"))
    if passport.parents:
        parents = ", ".join(
            f"{escape(parent.space)} {short_hash(parent.checksum)} ({parent.n_rows} rows)"
            for parent in passport.parents
        )
        lines.append(("Rows from", parents))
    if passport.source is not None:
        files = ", ".join(f"{f.name} ({f.sha256[:12]})" for f in passport.source.files)
        lines.append(("Imported from", escape(f"{passport.source.format}: {files}")))
    return [
        *lines,
        ("Made", f"{escape(passport.created)} by edgenas {escape(passport.tool_version)}"),
        ("Checksum", short_hash(passport.checksum)),
    ]


def _how_measured(passport: Passport) -> list[tuple[str, str]]:
    plan, drift = passport.plan, passport.drift
    lines = []
    if passport.network_plan is not None:
        lines.append(("Plan", escape(passport.network_plan.in_words())))
    if plan is not None:
        visits = (
            f"{plan.n_operator_visits} visits to each operator, {plan.n_network_visits} to each "
            f"network, {plan.n_runs} runs a visit after {plan.n_warmup} to warm up; {plan.order}"
        )
        lines.append(("Plan", escape(visits)))
    if drift is not None:
        ends = (
            f"{number(drift.anchor_min_ms)} least, {number(drift.anchor_median_ms)} median, "
            f"{number(drift.anchor_max_ms)} ms most over {drift.n_anchor_visits} visits"
        )
        lines += [
            ("Drift of the anchor", ends),
            ("Slow visits of the anchor", percent(drift.slow_share, 1)),
        ]
    return lines


def _dataset(data: ReportData) -> str:
    found = data.data
    if found is None:
        return note("No data set is on record for this run.")
    sizes = f"{found.n_train:,} train, {found.n_validation:,} validation, {found.n_test:,} test"
    return definitions(
        [
            ("Name", escape(found.name)),
            ("Images", f"{sizes}; {' × '.join(map(str, found.image_shape))}"),
            ("Classes", str(found.n_classes)),
            ("Fingerprint", short_hash(found.fingerprint)),
        ]
    )


def _settings(data: ReportData) -> str:
    if not data.training:
        return note("No settings are on record for this run.")
    parts = "".join(
        f"<div><h4>{escape(section)}</h4>"
        + definitions((name, escape(plain(value))) for name, value in settings.items())
        + "</div>"
        for section, settings in data.training.items()
    )
    return f'<div class="columns">{parts}</div>'


def _times(data: ReportData) -> str:
    if not data.steps:
        return note("No times are on record for this run.")
    total_s = sum(step.duration_s for step in data.steps)
    rows: list[list[Cell | str]] = [
        [
            escape(step.name),
            Cell(seconds(step.duration_s), step.duration_s),
            escape(step.note) if step.note else NONE,
        ]
        for step in data.steps
    ]
    total: list[Cell | str] = ["<strong>sum</strong>", Cell(seconds(total_s), total_s), ""]
    return table(["Step", "Time", "Remark"], [*rows, total])


def _versions(data: ReportData) -> str:
    if not data.versions:
        return note("No versions are on record for this run.")
    return definitions((name, escape(version)) for name, version in data.versions.items())
