"""Plots of the comparison on Fashion-MNIST."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.plots import COLOURS, write_plots


def write(figures: Mapping[str, Any], folder: Path) -> None:
    """Write accuracy against measured latency for each runtime."""
    write_plots(
        {
            folder / f"fashion_mnist-{runtime}.svg": (_traces(figures, runtime), _layout(runtime))
            for runtime in figures["latency"]
        }
    )


def _traces(figures: Mapping[str, Any], runtime: str) -> list[dict[str, Any]]:
    timed = figures["latency"][runtime]
    series = {
        "subnets, shared weights": [(row, row["shared"]) for row in figures["subnets"]],
        **{
            name.removesuffix("_tiny"): [(row, row) for row in rows]
            for name, rows in figures["families"].items()
        },
    }
    traces = []
    for colour, (name, rows) in zip(COLOURS, series.items(), strict=True):
        points = sorted((timed[row["id"]]["latency_ms"], v["test_accuracy"]) for row, v in rows)
        traces.append(
            {
                "name": name,
                "mode": "lines+markers",
                "x": [point[0] for point in points],
                "y": [point[1] for point in points],
                "marker": {"color": colour, "size": 8},
                "line": {"color": colour, "width": 1.5},
            }
        )
    again = [
        {
            **traces[0],
            "name": f"subnets, {text}",
            "mode": "markers",
            "x": [timed[row["id"]]["latency_ms"] for row in figures["subnets"]],
            "y": [row[how]["test_accuracy"] for row in figures["subnets"]],
            "marker": {"color": COLOURS[0], "size": 9, "symbol": symbol},
        }
        for how, text, symbol in (
            ("finetuned", "fine-tuned", "triangle-up-open"),
            ("alone", "trained alone", "x-thin-open"),
        )
    ]
    return json.loads(json.dumps([*traces, *again]))


def _layout(runtime: str) -> dict[str, Any]:
    return {
        "title": {"text": f"Fashion-MNIST on {runtime}: test accuracy against measured latency"},
        "xaxis": {"title": {"text": "latency (ms)"}, "type": "log"},
        "yaxis": {"title": {"text": "test accuracy"}, "tickformat": ".1%"},
        "template": "plotly_white",
        "legend": {"x": 0.98, "y": 0.02, "xanchor": "right", "yanchor": "bottom"},
    }
