"""Tables and plots of what was found: ``python -m benchmarks.search.summary``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

from benchmarks.plots import COLOURS, write_plots
from benchmarks.search import methods, tables
from benchmarks.search.problem import COUNTS
from benchmarks.search.run import read
from edgenas.core.files import write_text

Floats = npt.NDArray[np.float64]
_LEAST_SEEDS, _N_SEEDS = 4, 10
_AIMS = {200: 0.3, 400: 0.08}
"""Regret in percent that the best of ours is to reach on every pair of NAS-Bench-201."""


def measured(problem: str, method: str, what: str) -> Floats | None:
    """Return a measure of all seeds at `COUNTS`, shape (n_seeds, n_counts); None without runs."""
    seeds = read(problem, method)
    return np.array([one[what] for one in seeds.values()]) if seeds else None


def main() -> None:
    """Write README.md and the plots of every problem that has results."""
    done = [p for p in tables.names() if any(read(p, m) for m in methods.names())]
    text = [_HEAD, *_unfinished(done), _overview(done), _aims(done), _against_random(done)]
    for problem in done:
        text.append(f"## {problem}\n\n![regret by evaluations]({problem}.svg)\n\n{_table(problem)}")
    write_text(tables.RESULTS / "README.md", "\n\n".join(text) + "\n")
    write_plots({tables.RESULTS / f"{p}.svg": (_traces(p), _layout(p)) for p in done})


_HEAD = f"""# Searchers against peers

Made by `python -m benchmarks.search.summary` from `runs/`. Means over the seeds; regret and recall
in percent. Regret is the share of the true front's hypervolume that is missing after so many
distinct evaluations of accuracy, recall the share of the true front's members that were found, IGD+
the mean distance to the true front, scaled to its range; seconds are the method's own CPU time for
{COUNTS[-1]} evaluations. All of ours know the latency of every network beforehand, as a table tells
it; peers buy it with the accuracy."""


def _unfinished(problems: Sequence[str]) -> list[str]:
    """Return a sentence about problems of which some runs are still to be made, if there are."""
    counts = {p: min(len(read(p, method)) for method in methods.names()) for p in problems}
    few = [f"{p} has {n} of {_N_SEEDS} seeds" for p, n in counts.items() if n < _N_SEEDS]
    return [f"Not whole yet: {', '.join(few)}."] if few else []


def _overview(problems: Sequence[str]) -> str:
    """Return every method's regret at the last count, a column a problem, best first."""
    rows = []
    for method in methods.names():
        found = [measured(problem, method, "regret") for problem in problems]
        if any(one is not None for one in found):
            means = [np.nan if one is None else 100 * one[:, -1].mean() for one in found]
            rows.append((method, means))
    rows.sort(key=lambda row: float(np.nanmean(np.log(np.maximum(row[1], 1e-4)))))
    lines = [
        _line(["method", *problems]),
        _line(["---", *["---:"] * len(problems)]),
        *(_line([method, *(_number(mean) for mean in means)]) for method, means in rows),
    ]
    return f"## Regret after {COUNTS[-1]} evaluations (%)\n\n" + "\n".join(lines)


def _aims(problems: Sequence[str]) -> str:
    """Return whether one of ours, with its defaults, reaches the aims on every pair."""
    lines = [
        _line(["problem", "best of ours", *(f"regret {n} (aim {a})" for n, a in _AIMS.items()),
               "recall 400 (aim 50)", "reached"]),
        _line(["---", "---", "---:", "---:", "---:", "---"]),
    ]  # fmt: skip
    for problem in problems:
        own = [m for m in methods.names() if m not in methods.PEERS and read(problem, m)]
        best = min(own, key=lambda m: _mean(problem, m, "regret", COUNTS[-1]))
        found = [100 * _mean(problem, best, "regret", n) for n in _AIMS]
        recall = 100 * _mean(problem, best, "recall", COUNTS[-1])
        kept = all(x <= aim for x, aim in zip(found, _AIMS.values(), strict=True)) and recall >= 50
        cells = [*map(_number, found), _number(recall), "yes" if kept else "no"]
        lines.append(_line([problem, best, *cells]))
    return "## The aims\n\n" + "\n".join(lines)


def _mean(problem: str, method: str, what: str, count: int) -> float:
    found = measured(problem, method, what)
    assert found is not None  # asked of what has results only
    return float(found[:, COUNTS.index(count)].mean())


def _against_random(problems: Sequence[str]) -> str:
    """Return how the papers' searchers compare with random search after the last count."""
    names = ("monas", "mnasnet", "dpp_net")
    lines = [_line(["problem", *names]), _line(["---", *["---:"] * len(names)])]
    for problem in problems:
        base = measured(problem, "random", "regret")
        cells = []
        for name in names:
            own = measured(problem, name, "regret")
            if own is None or base is None:
                cells.append("")
                continue
            text = f"{own[:, -1].mean() / base[:, -1].mean():.2f}"
            if len(own) >= _LEAST_SEEDS and len(base) >= _LEAST_SEEDS:
                p = float(mannwhitneyu(own[:, -1], base[:, -1], alternative="less").pvalue)
                text += f" (p {p:.2g})"
            cells.append(text)
        lines.append(_line([problem, *cells]))
    return (
        f"## MONAS, MnasNet and DPP-Net against random search\n\nMean regret after {COUNTS[-1]} "
        "evaluations as a share of random search's, and the probability of such ranks if there "
        "were no difference (Mann-Whitney, one-sided).\n\n" + "\n".join(lines)
    )


def _table(problem: str) -> str:
    """Return all measures of a problem, best regret first."""
    rows = []
    for method in methods.names():
        regret = measured(problem, method, "regret")
        if regret is None:
            continue
        recall, igd = (measured(problem, method, what) for what in ("recall", "igd_plus"))
        assert recall is not None  # of the same runs
        assert igd is not None
        seconds = np.mean([one["cpu_s"] for one in read(problem, method).values()])
        spread = 100 * regret[:, -1].std(ddof=1) if len(regret) > 1 else np.nan
        cells = [
            *(_number(100 * value) for value in regret.mean(axis=0)),
            _number(float(spread)),
            *(_number(100 * value) for value in recall.mean(axis=0)),
            f"{igd[:, -1].mean():.4f}",
            f"{seconds:.1f}",
            str(len(regret)),
        ]
        rows.append((float(regret[:, -1].mean()), [method, *cells]))
    heads = [
        "method",
        *(f"regret {count}" for count in COUNTS),
        "± (seeds)",
        *(f"recall {count}" for count in COUNTS),
        f"IGD+ {COUNTS[-1]}",
        "s",
        "seeds",
    ]
    lines = [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    return "\n".join([*lines, *(_line(cells) for _, cells in sorted(rows, key=lambda r: r[0]))])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _traces(problem: str) -> list[dict[str, Any]]:
    """Return the mean regrets as lines: peers dashed, random dotted."""
    traces = []
    for number, method in enumerate(methods.names()):
        regret = measured(problem, method, "regret")
        if regret is None:
            continue
        dash = "dash" if method in methods.PEERS else "dot" if method == "random" else "solid"
        traces.append(
            {
                "name": method,
                "mode": "lines+markers",
                "x": list(COUNTS),
                "y": (100 * np.maximum(regret.mean(axis=0), 1e-6)).tolist(),
                "line": {"dash": dash, "width": 1.6, "color": COLOURS[number % len(COLOURS)]},
                "marker": {"size": 7, "symbol": number},
            }
        )
    return traces


def _layout(problem: str) -> dict[str, Any]:
    aims = [
        {"type": "line", "x0": n * 0.94, "x1": n * 1.06, "y0": aim, "y1": aim, "line": {"width": 3}}
        for n, aim in _AIMS.items()
        if problem.startswith("nb201")
    ]
    return {
        "title": {"text": f"{problem}: hypervolume regret by evaluations of accuracy"},
        "xaxis": {"title": {"text": "evaluations"}, "type": "log", "tickvals": list(COUNTS)},
        "yaxis": {"title": {"text": "regret (%)"}, "type": "log"},
        "template": "plotly_white",
        "shapes": aims,
    }


if __name__ == "__main__":
    main()
