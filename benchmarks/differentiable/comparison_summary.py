"""Tables and plots of the comparison."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

from benchmarks.differentiable.comparison_runs import (
    SEEDS,
    SHARES,
    SPACES,
    TIME_S,
    Folder,
    picked_by,
)
from benchmarks.environment import environment
from benchmarks.plots import COLOURS, write_plots
from edgenas.core.files import write_json, write_text

JUDGED = {"finetuned": "fine-tuned from the supernet", "alone": "trained alone"}
NAMES = {
    "fbnet": "FBNet",
    "proxylessnas": "ProxylessNAS",
    "once_for_all": "once-for-all selection",
    "random": "random search",
}


def write(folder: Folder) -> None:
    """Write `comparison.md`, `comparison.json` and a plot for each space and way of judging."""
    figures = {}
    root = folder.results_folder.parent
    parts = [
        "# FBNet, ProxylessNAS, once-for-all and random search with one supernet",
        "",
        f"Fashion-MNIST, {len(SEEDS)} seeds, about {TIME_S:.0f} s on one core for each supernet's "
        "training and the choosing. Made by `python -m benchmarks.differentiable.comparison` "
        "(see there). Test accuracy in %: mean and standard deviation over the seeds; the best "
        "mean of each row is bold.",
        "",
    ]
    for name in SPACES:
        rows = _with_latencies(folder, name)
        if not rows:
            continue
        for judged, text in JUDGED.items():
            figures[root / f"comparison-{name}-{judged}.svg"] = _figure(name, rows, judged, text)
        parts += _tables(name, rows)
    write_text(root / "comparison.md", "\n".join(parts))
    every = [row for name in SPACES for row in _with_latencies(folder, name)]
    write_json(root / "comparison.json", {"runs": every, "environment": environment()})
    write_plots(figures)


def _with_latencies(folder: Folder, space: str) -> list[dict[str, Any]]:
    """Return results whose picks have been judged and timed."""
    timed = folder.read(folder.results_folder / f"latency-{space}.json")
    if timed is None:
        return []
    latency = {tuple(one["genes"]): one["latency_ms"] for one in timed["networks"]}
    found = []
    for result in folder.results(space):
        if not all("alone" in one and tuple(one["genes"]) in latency for one in result["picks"]):
            continue  # not finished, or not timed yet
        picks = [{**one, "measured_ms": latency[tuple(one["genes"])]} for one in result["picks"]]
        found.append({**result, "picks": picks})
    return found


def _tables(space: str, rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"## {space}", ""]
    names = [name for name in picked_by("all") if any(row["method"] == name for row in rows)]
    for judged, text in JUDGED.items():
        lines += [
            f"{text[0].upper()}{text[1:]}:",
            "",
            "| within (ms) | " + " | ".join(NAMES[name] for name in names) + " |",
            "|---|" + "---|" * len(names),
        ]
        for place in range(len(SHARES)):
            budget = rows[0]["picks"][place]["budget_ms"]
            values = [
                [row["picks"][place][judged] for row in rows if row["method"] == name]
                for name in names
            ]
            best = max(mean(own) for own in values)
            cells = [_cell(own, is_best=mean(own) == best) for own in values]
            lines.append(f"| {budget:.4f} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [
        "Seconds and predictions:",
        "",
        "| | epochs | training (s) | choosing (s) | share of the time | measured within the "
        "table's interval | measured over budget |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        own = [row for row in rows if row["method"] == name]
        picks = [pick for row in own for pick in row["picks"]]
        inside = sum(p["interval_ms"][0] <= p["measured_ms"] <= p["interval_ms"][1] for p in picks)
        over = sum(p["measured_ms"] > p["budget_ms"] for p in picks)
        training = ", ".join(f"{row['training_s']:.0f}" for row in own)
        used = mean((row["training_s"] + row["choosing_s"]) / row["allowed_s"] for row in own)
        choosing = ", ".join(f"{row['choosing_s']:.0f}" for row in own)
        lines.append(
            f"| {NAMES[name]} | {own[0]['epochs']} | {training} | {choosing} | {used:.0%} | "
            f"{inside} of {len(picks)} | {over} of {len(picks)} |"
        )
    return [*lines, ""]


def _cell(values: list[float], *, is_best: bool) -> str:
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    text = f"{100 * mean(values):.2f}"
    return (f"**{text}**" if is_best else text) + spread


def _figure(
    space: str, rows: list[dict[str, Any]], judged: str, text: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    for colour, name in zip(COLOURS, picked_by("all"), strict=True):
        if not any(row["method"] == name for row in rows):
            continue
        own = [pick for row in rows if row["method"] == name for pick in row["picks"]]
        by_budget = [
            [pick for row in rows if row["method"] == name for pick in [row["picks"][place]]]
            for place in range(len(SHARES))
        ]
        traces += [
            {
                "name": NAMES[name],
                "mode": "lines",
                "x": [mean(pick["measured_ms"] for pick in picks) for picks in by_budget],
                "y": [mean(pick[judged] for pick in picks) for picks in by_budget],
                "line": {"color": colour, "width": 2},
            },
            {
                "name": NAMES[name],
                "mode": "markers",
                "showlegend": False,
                "x": [pick["measured_ms"] for pick in own],
                "y": [pick[judged] for pick in own],
                "marker": {"color": colour, "size": 7, "opacity": 0.6},
            },
        ]
    return traces, {
        "title": {"text": f"{space}: test accuracy, {text}, against measured latency"},
        "xaxis": {"title": {"text": "latency (ms)"}, "type": "log"},
        "yaxis": {"title": {"text": "test accuracy"}, "tickformat": ".1%"},
        "template": "plotly_white",
        "legend": {"x": 0.98, "y": 0.02, "xanchor": "right", "yanchor": "bottom"},
    }
