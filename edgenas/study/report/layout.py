"""What all plots of a report look like: colours, axes, margins."""

from __future__ import annotations

from typing import Any

Figure = dict[str, Any]

INK, GRID, FAINT, BLUE, ORANGE, RED = (
    "#1d2733",
    "#e7ebf0",
    "#aab4c0",
    "#2563c9",
    "#d9590b",
    "#b3261e",
)
RUNTIME_COLOURS = (BLUE, "#0a8f74", "#8a4fbf", "#b07d00")


def layout(**changes: Any) -> dict[str, Any]:
    """Return a layout of plotly's, changed by what is given."""
    common = {
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff",
        "margin": {"l": 62, "r": 18, "t": 16, "b": 50},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "#fff", "font": {"size": 12, "color": INK}},
        "legend": {"orientation": "h", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"},
    }
    return common | changes


def axis(title: str, **changes: Any) -> dict[str, Any]:
    """Return an axis of plotly's, changed by what is given."""
    common = {
        "title": {"text": title, "standoff": 8},
        "gridcolor": GRID,
        "linecolor": FAINT,
        "zeroline": False,
        "automargin": True,
    }
    return common | changes
