"""Plots of the comparison on Fashion-MNIST, as SVG, drawn by plotly.js in headless Chromium."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from plotly.offline import get_plotlyjs

_COLOURS = ("#2563c9", "#d9590b", "#0a8f74", "#8a4fbf")
_PAGE = "<html><body><div id='plot'></div></body></html>"


def write_plots(figures: Mapping[str, Any], folder: Path) -> None:
    """Write accuracy against measured latency for each runtime."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content(_PAGE)
        page.add_script_tag(content=get_plotlyjs())
        for runtime in figures["latency"]:
            drawn = page.evaluate(
                """async ([data, layout]) => {
                    await Plotly.newPlot("plot", data, layout);
                    return Plotly.toImage("plot", {format: "svg", width: 860, height: 520});
                }""",
                [_traces(figures, runtime), _layout(runtime)],
            )
            kind, _, content = drawn.partition(",")
            path = folder / f"fashion_mnist-{runtime}.svg"
            path.write_bytes(_decoded(kind, content))
        browser.close()


def _decoded(kind: str, content: str) -> bytes:
    if kind.endswith(";base64"):
        return base64.b64decode(content)
    from urllib.parse import unquote

    return unquote(content).encode()


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
    for colour, (name, rows) in zip(_COLOURS, series.items(), strict=True):
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
            "marker": {"color": _COLOURS[0], "size": 9, "symbol": symbol},
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
