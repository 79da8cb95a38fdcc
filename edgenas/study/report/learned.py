"""The course of a differentiable search in a report: its plot, and where it ended."""

from __future__ import annotations

from edgenas.study.report.data import Learned, LearnedDistribution, LearnedEpoch
from edgenas.study.report.layout import BLUE, FAINT, ORANGE, RUNTIME_COLOURS, Figure, axis, layout
from edgenas.study.report.markup import Cell, escape, number, percent, plot, plot_text, table

_COLOURS = (BLUE, ORANGE, *RUNTIME_COLOURS[1:])
_KINDS = (
    ("ratio", "expected cost / limit", "solid"),
    ("entropy", "entropy", "dot"),
    ("weightless", "without weights", "dash"),
)

_REMARK = (
    "Entropy is the mean of all choices, a uniform one being 100 %; without weights: the expected "
    "share of choices that are skips, pools or zeros. Candidates are the most likely network "
    "within the limits, and draws"
)
_SETTLED = (
    "; expected costs were brought onto the limits first, by as little as that takes, and the most "
    "likely network is the most likely near the limit"
)


def learned(data: Learned) -> Figure:
    """Return expected costs by their limits, entropy, skips and temperature over the epochs."""
    traces = []
    for i, one in enumerate(data.distributions):
        own = [epoch for epoch in data.epochs if epoch.distribution == i]
        colour = _COLOURS[i % len(_COLOURS)]
        for key, title, dash in _KINDS:
            values = [getattr(epoch, key) for epoch in own]
            if all(value is None for value in values):
                continue
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": plot_text(f"{title}{_suffix(data, one)}"),
                    "x": [epoch.epoch for epoch in own],
                    "y": values,
                    "line": {"color": colour, "dash": dash, "width": 2},
                    "marker": {"size": 4},
                    "text": [_describe(epoch) for epoch in own],
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    warm = [epoch.epoch for epoch in data.epochs if epoch.is_warmup]
    first = [epoch for epoch in data.epochs if epoch.distribution == 0]
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "temperature (right)",
            "x": [epoch.epoch for epoch in first],
            "y": [epoch.temperature for epoch in first],
            "yaxis": "y2",
            "line": {"color": FAINT, "width": 1.5},
            "hovertemplate": "temperature %{y:.3g}<extra></extra>",
        }
    )
    shapes = []
    if warm:
        place = {"x0": 0.5, "x1": max(warm) + 0.5, "y0": 0, "y1": 1, "yref": "paper"}
        look = {"fillcolor": "#f3f5f8", "line": {"width": 0}, "layer": "below"}
        shapes.append({"type": "rect", **place, **look})
    return {
        "data": traces,
        "layout": layout(
            xaxis=axis("epoch (grey: warm-up)"),
            yaxis=axis("share", rangemode="tozero"),
            yaxis2=axis(
                "temperature",
                overlaying="y",
                side="right",
                type="log",
                showgrid=False,
                tickformat=".2~g",
                nticks=5,
            ),
            shapes=shapes,
        ),
    }


def section(data: Learned) -> str:
    """Return the plot, and a line for every distribution."""
    rows: list[list[Cell | str]] = []
    for one in data.distributions:
        costs = ", ".join(f"{name} {number(value)}" for name, value in one.settled.items())
        before = ", ".join(f"{name} {number(value)}" for name, value in one.expected.items())
        rows.append(
            [
                escape(", ".join(one.limits) or "none"),
                escape(before),
                escape(costs),
                Cell(percent(one.entropy), one.entropy),
                '<span class="bad">yes</span>' if one.drift else "no",
            ]
        )
    headers = ["Limits", "Expected at the end", "Drawn from", "Entropy", "Drifted to skips"]
    is_settled = any(one.settled != one.expected for one in data.distributions)
    remark = f"{_REMARK}{_SETTLED if is_settled else ''}."
    label = "Expected cost, entropy, skips and temperature after every epoch"
    return (
        f"<h3>What {escape(data.method)} learned</h3>"
        + plot("learned", label, 400)
        + f'<p class="remark">{remark}</p>'
        + table(headers, rows)
    )


def _suffix(data: Learned, one: LearnedDistribution) -> str:
    return f" ({', '.join(one.limits)})" if len(data.distributions) > 1 else ""


def _describe(epoch: LearnedEpoch) -> str:
    costs = "".join(f"<br>expected {plot_text(k)} {number(v)}" for k, v in epoch.costs.items())
    return (
        f"epoch {epoch.epoch}{costs}<br>entropy {percent(epoch.entropy)}<br>without weights "
        f"{percent(epoch.weightless)}<br>temperature {number(epoch.temperature)}"
    )
