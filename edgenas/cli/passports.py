"""A cost table's passport for people: what it is of, how it was made, how well it predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgenas.cli.screen import show, show_table
from edgenas.core.digits import small

if TYPE_CHECKING:
    from edgenas.costs.passport import ErrorReport, Passport
    from edgenas.costs.table import CostTable

_COLUMNS = ("error of", "networks", "MAPE", "within 5 %", "within 10 %", "Spearman")


def show_passport(table: CostTable) -> None:
    """Print a table's passport."""
    passport = table.passport
    show(f"{passport.space.name} on {passport.device.slug}, {passport.kind}", style="bold")
    show(_engine(passport))
    took = "" if passport.duration_s is None else f" in {passport.duration_s:.0f} s"
    show(f"{passport.provenance} {passport.created}{took}, by edgenas {passport.tool_version}")
    if passport.source is not None:
        names = ", ".join(file.name for file in passport.source.files)
        show(f"imported as {passport.source.format} from {names}")
    if passport.network_plan is not None:
        show(passport.network_plan.in_words())
    for parent in passport.parents:
        show(f"{parent.n_rows} rows from the table of {parent.space} {parent.checksum[:12]}")
    show(_extent(table))
    fit = passport.fit
    if fit is None:
        show("never held against whole networks: predictions have no interval", style="yellow")
        return
    reports = {
        "prediction of unseen networks": fit.held_out,
        "sum of isolated operators": fit.naive_sum,
        "the same networks in another session": fit.noise_ceiling,
    }
    show_table("", _COLUMNS, [_line(name, found) for name, found in reports.items() if found])


def _engine(passport: Passport) -> str:
    from edgenas.costs.conditions import setting_text

    runtime = passport.runtime
    text = f"{runtime.name} {runtime.version}, {runtime.precision}"
    text += "" if runtime.delegate is None else f", delegate {runtime.delegate}"
    text += "" if runtime.threads is None else f", {runtime.threads} thread(s)"
    told = [f"{name} {setting_text(value)}" for name, value in (runtime.settings or {}).items()]
    return ", ".join([text, *told])


def _extent(table: CostTable) -> str:
    fit, drift = table.passport.fit, table.passport.drift
    text = f"{len(table.rows)} operators"
    if fit is not None:
        least, greatest = fit.value_range
        of = "" if fit.space is None else f" of {fit.space}"
        text += f", {fit.n_networks} networks{of} from {small(least)} to {small(greatest)} "
        text += table.passport.unit
    if drift is not None:
        text += f"; the machine was slow for {drift.slow_share:.0%} of the anchor's visits"
    return text


def _line(name: str, report: ErrorReport) -> list[str]:
    return [
        name,
        f"{report.n_networks}",
        f"{report.mape:.2%}",
        f"{report.within_5_percent:.0%}",
        f"{report.within_10_percent:.0%}",
        f"{report.spearman:.3f}",
    ]
