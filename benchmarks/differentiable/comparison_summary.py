"""Tables and plots of the comparison."""

from __future__ import annotations

from collections import Counter
from statistics import mean, stdev
from typing import Any

from scipy.stats import spearmanr

from benchmarks.differentiable.comparison_runs import (
    SHARES,
    SPACES,
    TRAININGS,
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


_HEAD = """# FBNet, ProxylessNAS, once-for-all and random search with one supernet

Fashion-MNIST, this machine's onnxruntime tables. Made by `python -m benchmarks.differentiable.comparison` (see there). A supernet is trained, and three networks are picked from it by the validation images, one within each
latency, in the time of one core that stands with each space. FBNet and ProxylessNAS learn three distributions in one training, each a third of the steps; the selection (the
predictor's) and random search evaluate 80 networks within each latency with the weights of one progressive training, and share that. FBNet's weights see 80 % of the images and
ProxylessNAS's 90 %, the logits the others. Every pick is then fine-tuned from its supernet (3 epochs) and trained alone from fresh weights (12 epochs).

Test accuracy in %: mean and standard deviation over the seeds, of which only those count that all four have finished; the best mean of each row is bold.
"""  # noqa: E501
_LEARNED = """What the differentiable searches learned, mean over seeds and budgets: steps of a distribution's logits; entropy of the genes when the search ended, as a share of what it was;
distance of the expected latency from the budget before it was settled; accuracy with the supernet's weights of the pick, and of the best of as many draws from a distribution
that has learned nothing but the budget:

| | steps | entropy | expected from budget | pick | without learning |
|---|---|---|---|---|---|
"""  # noqa: E501


def write(folder: Folder) -> None:
    """Write `comparison.md`, `comparison.json` and a plot for each space and way of judging."""
    figures = {}
    root = folder.results_folder.parent
    parts = [_HEAD]
    every: list[dict[str, Any]] = []
    for name in SPACES:
        rows = _finished(folder, name)
        if not rows:
            continue
        for judged, text in JUDGED.items():
            figures[root / f"comparison-{name}-{judged}.svg"] = _figure(name, rows, judged, text)
        parts += _tables(name, rows)
        every += rows
    write_text(root / "comparison.md", "\n".join(parts))
    write_json(root / "comparison.json", {"runs": every, "environment": environment()})
    write_plots(figures)


def _finished(folder: Folder, space: str) -> list[dict[str, Any]]:
    """Return the results of the seeds of which every pick of every method is judged and timed."""
    timed = folder.read(folder.results_folder / f"latency-{space}.json")
    if timed is None:
        return []
    latency = {tuple(one["genes"]): one["latency_ms"] for one in timed["networks"]}
    found = [
        {
            **result,
            "picks": [{**p, "measured_ms": latency[tuple(p["genes"])]} for p in result["picks"]],
        }
        for result in folder.results(space)
        if all("alone" in one and tuple(one["genes"]) in latency for one in result["picks"])
    ]
    methods = Counter(one["seed"] for one in found)
    return [one for one in found if methods[one["seed"]] == len(picked_by("all"))]


def _tables(space: str, rows: list[dict[str, Any]]) -> list[str]:
    names = picked_by("all")
    n_seeds = len({row["seed"] for row in rows})
    lines = [f"## {space}", "", f"{n_seeds} seeds; {rows[0]['allowed_s']:.0f} s each.", ""]
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
        lines += ["", f"![{text}](comparison-{space}-{judged}.svg)", ""]
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
    learned = _LEARNED + "\n".join(map(_learned, _by_method(rows)))
    return [*lines, "", _agreement(rows), "", learned, ""]


def _agreement(rows: list[dict[str, Any]]) -> str:
    """Return how far accuracies with a supernet's weights rank networks as training alone does."""
    picks = [pick for row in rows for pick in row["picks"]]
    alone = [pick["alone"] for pick in picks]
    shared, latency = (
        float(spearmanr([pick[name] for pick in picks], alone).statistic)
        for name in ("shared_accuracy", "measured_ms")
    )
    return (
        f"Rank correlation (Spearman) of all {len(picks)} picks' accuracy alone with what the "
        f"supernets said of them: {shared:.2f}; with their latency: {latency:.2f}."
    )


def _by_method(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the rows of each method that has learned distributions."""
    return [
        [r for r in rows if r["method"] == name] for name in TRAININGS if name != "once_for_all"
    ]


def _learned(rows: list[dict[str, Any]]) -> str:
    told = [one for row in rows for one in row["learned"]]
    far = mean(abs(one["expected_ms"] / one["budget_ms"] - 1) for one in told)
    picked = mean(pick["shared_accuracy"] for row in rows for pick in row["picks"])
    unlearned = mean(one for row in rows for one in row["unlearned"])
    steps, entropy = (mean(one[name] for one in told) for name in ("n_steps", "entropy"))
    return (
        f"| {NAMES[rows[0]['method']]} | {steps:.0f} | {entropy:.2f} | {far:.1%} | "
        f"{picked:.2%} | {unlearned:.2%} |"
    )


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
