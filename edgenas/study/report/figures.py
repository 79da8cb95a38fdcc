"""The report's plots as plotly.js figures: plain dictionaries, drawn by the page's own script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from edgenas.study.report import finalists
from edgenas.study.report.data import EvaluatedPoint, FrontMember, Remeasured, ReportData
from edgenas.study.report.layout import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    RED,
    RUNTIME_COLOURS,
    Figure,
    axis,
    layout,
)
from edgenas.study.report.learned import learned
from edgenas.study.report.markup import count, number, percent, plain, plot_text

T = TypeVar("T")

MAX_POINTS = 4000
"""Evaluations drawn at most: more would make the page heavy and show nothing new."""

_RUNTIME_SYMBOLS = ("circle", "square", "triangle-up", "diamond")


def figures(data: ReportData) -> dict[str, Figure]:
    """Return every figure that `data` has values for, by name."""
    found = {}
    if data.front or any(point.accuracy is not None for point in data.evaluations):
        found["front"] = _front(data)
    if any(one.measured_ms and one.accuracy is not None for one in data.finalists):
        found["finalists"] = finalists.figure(data.finalists)
    if data.progress:
        found["progress"] = _progress(data)
    if data.learned:
        found["learned"] = learned(data.learned)
    if data.remeasured:
        found["remeasured"] = _remeasured(data)
    if data.blocks:
        found["blocks"] = _blocks(data)
    return found


def runtimes_of(data: ReportData) -> list[str]:
    """Return the names of all runtimes shown, the primary one first."""
    others = [block.runtime for block in data.blocks]
    others += [point.runtime for point in data.remeasured]
    return list(dict.fromkeys([data.runtime, *others]))


def blocks_height_px(data: ReportData) -> int:
    """Return the height at which every bar of the blocks' figure can be read."""
    n_runtimes = len({block.runtime for block in data.blocks})
    n_names = len({block.name for block in data.blocks})
    return 110 + n_names * (8 + 11 * n_runtimes)


def thinned(values: Sequence[T]) -> Sequence[T]:
    """Return at most `MAX_POINTS` of `values`, evenly spaced, first and last among them."""
    if len(values) <= MAX_POINTS:
        return values
    step = (len(values) - 1) / (MAX_POINTS - 1)
    return [values[round(i * step)] for i in range(MAX_POINTS)]


def _front(data: ReportData) -> Figure:
    members = sorted(data.front, key=lambda member: member.latency_ms)
    traces = [
        _evaluated(data.evaluations, "complete", "evaluated", "circle"),
        _evaluated(data.evaluations, "stopped", "stopped early", "circle-open"),
        _evaluated(data.evaluations, "infeasible", "over the budget", "x-thin-open"),
    ]
    if members:
        traces.append(_members(members))
    measured = [member for member in members if member.measured_ms is not None]
    if measured:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "measured on the device",
                "x": [member.measured_ms for member in measured],
                "y": [member.accuracy for member in measured],
                "marker": {
                    "symbol": "diamond-open",
                    "size": 9,
                    "color": INK,
                    "line": {"width": 1.4, "color": INK},
                },
                "text": [_describe(member) for member in measured],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    if data.pick:
        traces.append(_picked(data.pick))
    shapes, annotations = _limits(data)
    return {
        "data": [trace for trace in traces if trace["x"]],
        "layout": layout(
            xaxis=axis(f"latency on {plot_text(data.runtime)} (ms)", rangemode="tozero"),
            yaxis=axis(
                f"{'predicted' if data.predicted_accuracy else 'validation'} accuracy",
                tickformat=".1~%",
            ),
            shapes=shapes,
            annotations=annotations,
        ),
    }


def _evaluated(points: Sequence[EvaluatedPoint], status: str, name: str, symbol: str) -> Figure:
    shown = [
        (index, point)
        for index, point in enumerate(points, start=1)
        if point.status == status and None not in (point.accuracy, point.latency_ms)
    ]
    shown = list(thinned(shown))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [point.latency_ms for _, point in shown],
        "y": [point.accuracy for _, point in shown],
        "marker": {
            "color": FAINT,
            "size": 5,
            "opacity": 0.6,
            "symbol": symbol,
            "line": {"color": FAINT, "width": 0 if status == "complete" else 1},
        },
        "text": [f"{plot_text(point.id)} (evaluation {index})" for index, point in shown],
        "hovertemplate": "%{text}<br>%{y:.2%} at %{x:.3~f} ms<extra></extra>",
    }


def _members(members: Sequence[FrontMember]) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "Pareto front",
        "x": [member.latency_ms for member in members],
        "y": [member.accuracy for member in members],
        "line": {"color": BLUE, "width": 1.5, "shape": "hv"},
        "marker": {"color": BLUE, "size": 8, "line": {"color": "#fff", "width": 1}},
        "error_x": _errors(
            [member.latency_ms for member in members],
            [member.low_ms for member in members],
            [member.high_ms for member in members],
            BLUE,
        ),
        "text": [_describe(member) for member in members],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _picked(pick: FrontMember) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "the pick",
        "x": [pick.latency_ms],
        "y": [pick.accuracy],
        "marker": {
            "symbol": "star",
            "size": 18,
            "color": ORANGE,
            "line": {"color": "#fff", "width": 1.5},
        },
        "text": [_describe(pick)],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _errors(
    values: Sequence[float], low: Sequence[float | None], high: Sequence[float | None], colour: str
) -> dict[str, Any]:
    def distance(end: float | None, value: float) -> float:
        return 0.0 if end is None else abs(end - value)

    return {
        "type": "data",
        "symmetric": False,
        "array": [distance(end, value) for end, value in zip(high, values, strict=True)],
        "arrayminus": [distance(end, value) for end, value in zip(low, values, strict=True)],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }


def _describe(member: FrontMember) -> str:
    title = f"<b>{plot_text(member.id)}</b>{' · the pick' if member.picked else ''}"
    predicted = f"predicted {number(member.latency_ms)} ms"
    if member.low_ms is not None and member.high_ms is not None:
        predicted += f" ({number(member.low_ms)} to {number(member.high_ms)})"
    if member.coverage not in (None, "measured"):
        predicted += f", {member.coverage}"
    lines = [title, f"accuracy {percent(member.accuracy)}", predicted]
    lines.append(
        "not measured again"
        if member.measured_ms is None
        else f"measured {number(member.measured_ms)} ms"
    )
    lines.append(f"{count(member.n_macs)} MACs · {count(member.n_params)} parameters")
    lines.append(f"peak activations {number(member.peak_activation_kib)} KiB")
    for name, value in member.config.items():
        text = plain(value)
        text = text if len(text) <= 60 else f"{text[:59]}…"
        lines.append(f"{plot_text(name)}: {plot_text(text)}")
    if len(lines) > 26:
        lines[25:] = [f"… and {len(lines) - 25} more"]
    return "<br>".join(lines)


def _limits(data: ReportData) -> tuple[list[Figure], list[Figure]]:
    """Return lines and labels of the limits on the two axes."""
    shapes: list[Figure] = []
    labels: list[Figure] = []
    line = {"color": RED, "width": 1.5, "dash": "dash"}
    font = {"color": RED, "size": 12}
    latency_ms, accuracy = data.limit("latency_ms"), data.limit("accuracy")
    if latency_ms is not None:
        shapes.append(
            {"type": "line", "x0": latency_ms, "x1": latency_ms, "y0": 0, "y1": 1}
            | {"yref": "paper", "line": line}
        )
        labels.append(
            {"x": latency_ms, "y": 0.02, "yref": "paper", "text": f"budget {latency_ms:g} ms"}
            | {"xanchor": "right", "yanchor": "bottom", "textangle": -90}
            | {"showarrow": False, "font": font}
        )
    if accuracy is not None:
        shapes.append(
            {"type": "line", "x0": 0, "x1": 1, "y0": accuracy, "y1": accuracy}
            | {"xref": "paper", "line": line}
        )
        labels.append(
            {"x": 0.01, "y": accuracy, "xref": "paper", "text": f"at least {percent(accuracy, 1)}"}
            | {"xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": font}
        )
    return shapes, labels


def _progress(data: ReportData) -> Figure:
    points = thinned(data.progress)
    steps = [point.n_evaluations for point in points]
    best = [point.best_accuracy for point in points]
    hypervolume = {
        "type": "scatter",
        "mode": "lines",
        "x": steps,
        "y": [point.hypervolume for point in points],
        "line": {"color": BLUE, "width": 2, "shape": "hv"},
        "hovertemplate": "after %{x}: hypervolume %{y:.4~g}<extra></extra>",
    }
    accuracy = {
        "type": "scatter",
        "mode": "lines",
        "x": steps,
        "y": best,
        "yaxis": "y2",
        "line": {"color": ORANGE, "width": 2, "shape": "hv"},
        "hovertemplate": "after %{x}: best accuracy %{y:.2%}<extra></extra>",
    }
    return {
        "data": [hypervolume, accuracy],
        "layout": layout(
            showlegend=False,
            xaxis=axis("evaluations", anchor="y2", rangemode="tozero"),
            yaxis=axis("hypervolume", domain=[0.56, 1], nticks=5),
            yaxis2=axis("best accuracy", domain=[0, 0.44], tickformat=".1~%", nticks=5),
        ),
    }


def _remeasured(data: ReportData) -> Figure:
    points = data.remeasured
    ends_of = [[p.predicted_ms, p.low_ms, p.high_ms, p.measured_ms] for p in points]
    known = [value for values in ends_of for value in values if value is not None]
    top, least = 1.06 * max(known), 0.94 * min(known)
    ends = [least, top]
    band = {
        "type": "scatter",
        "mode": "lines",
        "name": "± 10 %",
        "x": [*ends, *reversed(ends)],
        "y": [1.1 * least, 1.1 * top, 0.9 * top, 0.9 * least],
        "fill": "toself",
        "fillcolor": "rgba(37,99,201,0.08)",
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "name": "predicted = measured",
        "x": ends,
        "y": ends,
        "line": {"color": FAINT, "width": 1.5, "dash": "dash"},
        "hoverinfo": "skip",
    }
    traces = [band, diagonal]
    for index, runtime in enumerate(runtimes_of(data)):
        own = [point for point in points if point.runtime == runtime]
        if own:
            traces.append(_runtime_points(own, runtime, index))
    return {
        "data": traces,
        "layout": layout(
            xaxis=axis("measured (ms)", range=ends),
            yaxis=axis("predicted (ms)", range=ends),
        ),
    }


def _runtime_points(points: Sequence[Remeasured], runtime: str, index: int) -> Figure:
    colour = RUNTIME_COLOURS[index % len(RUNTIME_COLOURS)]
    predicted = [point.predicted_ms for point in points]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plot_text(runtime),
        "x": [point.measured_ms for point in points],
        "y": predicted,
        "marker": {
            "color": colour,
            "size": 8,
            "symbol": _RUNTIME_SYMBOLS[index % len(_RUNTIME_SYMBOLS)],
        },
        "error_y": _errors(
            predicted, [point.low_ms for point in points], [p.high_ms for p in points], colour
        ),
        "text": [
            f"<b>{plot_text(point.id)}</b> on {plot_text(runtime)}<br>"
            f"predicted {number(point.predicted_ms)} ms{_ends(point)}<br>"
            f"measured {number(point.measured_ms)} ms, "
            f"error {100 * (point.predicted_ms / point.measured_ms - 1):+.1f} %"
            for point in points
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _ends(point: Remeasured) -> str:
    if point.low_ms is None or point.high_ms is None:
        return ""
    return f" ({number(point.low_ms)} to {number(point.high_ms)})"


def _blocks(data: ReportData) -> Figure:
    traces = []
    for index, runtime in enumerate(runtimes_of(data)):
        own = [block for block in data.blocks if block.runtime == runtime]
        total_ms = math.fsum(block.latency_ms for block in own) or 1.0
        if not own:
            continue
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": plot_text(runtime),
                "x": [block.latency_ms for block in own],
                "y": [plot_text(block.name) for block in own],
                "marker": {"color": RUNTIME_COLOURS[index % len(RUNTIME_COLOURS)]},
                "text": [
                    f"<b>{plot_text(block.name)}</b> on {plot_text(runtime)}<br>"
                    f"{number(block.latency_ms)} ms, {percent(block.latency_ms / total_ms, 1)} of "
                    "the network"
                    + ("" if block.n_macs is None else f"<br>{count(block.n_macs)} MACs")
                    for block in own
                ],
                "textposition": "none",
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    return {
        "data": traces,
        "layout": layout(
            barmode="group",
            bargap=0.3,
            showlegend=True,
            xaxis=axis("ms"),
            yaxis=axis("", autorange="reversed", type="category", dtick=1, gridcolor="#fff"),
        ),
    }
