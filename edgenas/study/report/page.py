"""Puts the report together: sections, figures, style, script and plotly.js in one HTML file."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from string import Template

from edgenas.core.files import write_text
from edgenas.study.report import provenance, sections
from edgenas.study.report.data import ReportData
from edgenas.study.report.figures import figures
from edgenas.study.report.markup import escape

_SECTIONS = (
    ("pick", "The pick", sections.headline),
    ("front", "The front", sections.front),
    ("proof", "Proof", sections.proof),
    ("remeasured", "Predicted against measured", sections.remeasured),
    ("blocks", "Where the pick spends its time", sections.blocks),
    ("search", "Search", sections.search),
    ("provenance", "What everything was measured with", provenance.provenance),
)


def render_report(data: ReportData) -> str:
    """Return the report as one HTML document that loads nothing from anywhere."""
    from plotly.offline import get_plotlyjs  # heavy: only where a report is written

    # "<" cannot occur in the JSON, so that no text in it can end the script element.
    drawn = json.dumps(figures(data), allow_nan=False, separators=(",", ":"))
    subtitle = (
        f"{data.space} on {data.device}, {data.runtime}; objectives "
        f"{', '.join(data.objectives)}; {data.created}"
    )
    return Template(_asset("page.html")).substitute(
        title=escape(data.name),
        subtitle=escape(subtitle),
        style=_asset("page.css"),
        navigation="".join(f'<a href="#{name}">{title}</a>' for name, title, _ in _SECTIONS),
        warnings=provenance.warnings(data),
        sections="".join(
            f'<section id="{name}"><h2>{title}</h2>{make(data)}</section>'
            for name, title, make in _SECTIONS
        ),
        figures=drawn.replace("<", "\\u003c"),
        plotly=get_plotlyjs(),
        script=_asset("page.js"),
    )


def write_report(data: ReportData, path: Path) -> None:
    """Write the report of `data` to the HTML file at `path`, atomically.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, render_report(data))


def _asset(name: str) -> str:
    return (files("edgenas.study.report") / name).read_text(encoding="utf-8")
