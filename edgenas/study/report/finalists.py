"""Finalists in a report: what the search said of them, what their files do, and who fell off."""

from __future__ import annotations

from edgenas.study.report.data import Finalist
from edgenas.study.report.layout import BLUE, FAINT, ORANGE, Figure, axis, layout
from edgenas.study.report.markup import (
    Cell,
    escape,
    number,
    number_or_dash,
    percent,
    plot,
    plot_text,
    table,
)


def figure(finalists: tuple[Finalist, ...]) -> Figure:
    """Return a line for each finalist from what was predicted to what its file does."""
    shown = [one for one in finalists if one.measured_ms is not None and one.accuracy is not None]
    paths: Figure = {"x": [], "y": []}
    for one in shown:
        paths["x"] += [one.latency_ms, one.measured_ms, None]
        paths["y"] += [one.accuracy, _accuracy(one), None]
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "showlegend": False,
            "hoverinfo": "skip",
            "line": {"color": FAINT, "width": 1.2},
            **paths,
        },
        _points(
            "as the search saw it",
            [(one, one.latency_ms, one.accuracy) for one in shown],
            {"symbol": "circle-open", "size": 8, "color": FAINT},
        ),
        _points(
            "the file: on the front",
            [(one, one.measured_ms, _accuracy(one)) for one in shown if not one.beaten_by],
            {"symbol": "circle", "size": 9, "color": BLUE},
        ),
        _points(
            "the file: fell off",
            [(one, one.measured_ms, _accuracy(one)) for one in shown if one.beaten_by],
            {"symbol": "x", "size": 9, "color": ORANGE},
        ),
    ]
    return {
        "data": [trace for trace in traces if trace["x"]],
        "layout": layout(
            xaxis=axis("latency (ms)", rangemode="tozero"),
            yaxis=axis("validation accuracy", tickformat=".1~%"),
        ),
    }


def section(finalists: tuple[Finalist, ...], precision: str) -> str:
    """Return the plot, and a line for every finalist."""
    rows: list[list[Cell | str]] = []
    for one in finalists:
        rows.append(
            [
                f"<code>{escape(one.id)}</code>",
                Cell(percent(one.accuracy), one.accuracy),
                Cell(percent(one.file_accuracy), one.file_accuracy),
                Cell(number(one.latency_ms), one.latency_ms),
                Cell(number_or_dash(one.measured_ms), one.measured_ms),
                _verdict(one),
            ]
        )
    fell = sum(one.beaten_by is not None for one in finalists)
    out = sum(one.error is not None for one in finalists)
    remark = (
        f"{len(finalists) - out} members of the front were written in {escape(precision)} and "
        f"measured before the pick was made; {fell or 'none'} of them fell off the front."
    )
    if out:
        remark += f" {out} more could not be written, or did not run on the device."
    headers = ["Id", "Accuracy in the search", "Of the file", "Predicted (ms)", "Measured (ms)"]
    label = "Finalists: predicted latency and accuracy in the search, and what their files do"
    return (
        "<h3>Finalists</h3>"
        + plot("finalists", label, 400)
        + f'<p class="remark">{remark}</p>'
        + table([*headers, "Front"], rows, sortable=True)
    )


def _accuracy(one: Finalist) -> float | None:
    """Return what is known of the file's accuracy, else what the search saw."""
    return one.accuracy if one.file_accuracy is None else one.file_accuracy


def _points(
    name: str, shown: list[tuple[Finalist, float | None, float | None]], marker: Figure
) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [x for _, x, _ in shown],
        "y": [y for _, _, y in shown],
        "marker": marker,
        "text": [plot_text(one.id) for one, _, _ in shown],
        "hovertemplate": "%{text}<br>%{x:.4g} ms, %{y:.2%}<extra></extra>",
    }


def _verdict(one: Finalist) -> str:
    if one.error is not None:
        return f'<span class="bad">out: {escape(one.error)}</span>'
    if one.beaten_by is None:
        return '<span class="good">stays</span>'
    return f'<span class="bad">fell off</span>: <code>{escape(one.beaten_by)}</code> is no worse'
