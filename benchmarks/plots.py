"""Plots as SVG files, drawn by plotly.js in headless Chromium."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from playwright.sync_api import sync_playwright
from plotly.offline import get_plotlyjs

COLOURS = ("#2563c9", "#d9590b", "#0a8f74", "#8a4fbf")
_PAGE = "<html><body><div id='plot'></div></body></html>"
_DRAW = """async ([data, layout, width, height]) => {
    await Plotly.newPlot("plot", data, layout);
    return Plotly.toImage("plot", {format: "svg", width, height});
}"""


def write_plots(
    figures: Mapping[Path, tuple[list[dict[str, Any]], dict[str, Any]]],
    *,
    width: int = 860,
    height: int = 520,
) -> None:
    """Write every figure, traces and a layout as plotly takes them, to its file."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content(_PAGE)
        page.add_script_tag(content=get_plotlyjs())
        for path, (traces, layout) in figures.items():
            drawn = page.evaluate(_DRAW, [traces, layout, width, height])
            kind, _, content = drawn.partition(",")
            path.write_bytes(_decoded(kind, content))
        browser.close()


def _decoded(kind: str, content: str) -> bytes:
    if kind.endswith(";base64"):
        return base64.b64decode(content)
    return unquote(content).encode()
