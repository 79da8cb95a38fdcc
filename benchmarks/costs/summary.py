"""All results of `held_out.py` and `rotation.py` as one table, `results/README.md`.

python -m benchmarks.costs.summary
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from edgenas.core.files import write_text

RESULTS = Path(__file__).parent / "results"
_ABOVE = """# Predicted and measured

Made by `python -m benchmarks.costs.summary` from the files beside it, which have the machine, the
date, the versions, the command and every number. Each line is of a table in `latency_tables/` and
of networks that it never saw, measured after it in other processes: 100, or of a small space
those of 100 that did not calibrate it.

- *error*: mean absolute error of the prediction, share within 5 and 10 %, rank correlation;
  *at one level* is the same with one factor for all networks, the machine's level of those hours,
  taken out;
- *once, again*: the table against the first of two timings of the networks, half of all that was
  measured, and the second timing against the first: no table can do better;
- *sum*: the sum of isolated operators;
- *90 % holds*: how many networks the 90 % intervals hold, and how many timings of single processes,
  of few visits each;
- *above*: how many networks take longer than the upper end that `@ 90%` asks for (promised: at
  most 10 %);
- *broken*: how often a network that was picked under a budget at 90 %, predicted within 10 % of it,
  broke it in the least of its processes, and in a single one (promised: at most 10 %).

"""
_COLUMNS = (
    "table",
    "error",
    "in 5, 10 %",
    "rank",
    "at one level",
    "once, again",
    "sum",
    "90 % holds",
    "above",
    "broken",
)


def line(name: str, result: dict[str, Any]) -> str:
    """Return a result as a line of the table."""
    error, twice, naive = (
        result[key] for key in ("table_error", "noise_ceiling", "naive_sum_error")
    )
    once = result["one_timing"]["table_error"]
    level = result["table_error_at_the_day's_level"]
    single, picks = result["single_passes"], result["picks_near_a_budget"]
    cells = [
        name,
        f"{error['mape']:.2%}",
        f"{error['within_5_percent']:.0%}, {error['within_10_percent']:.0%}",
        f"{error['spearman']:.4f}",
        f"{level['mape']:.2%} (x {level['level']:.3f})",
        f"{once['mape']:.2%} {once['spearman']:.4f}, {twice['mape']:.2%} {twice['spearman']:.4f}",
        f"{naive['mape']:.1%}",
        f"{result['interval_90_coverage']:.0%}, {single['interval_90_coverage']:.0%}",
        f"{result['broken_upper_90']:.0%}",
        f"{picks['broken']:.1%}, {single['picks_near_a_budget']['broken']:.1%}",
    ]
    return f"| {' | '.join(cells)} |\n"


def promises(results: list[dict[str, Any]]) -> str:
    """Return the last line: what was promised at 90 %, on average over all results."""
    holds = fmean(one["interval_90_coverage"] for one in results)
    above = fmean(one["broken_upper_90"] for one in results)
    broken = fmean(one["picks_near_a_budget"]["broken"] for one in results)
    return f"| mean of all | | | | | | | {holds:.1%} | {above:.1%} | {broken:.1%} |\n"


def main() -> None:
    """Read, write."""
    every = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    found = {name: one for name, one in every.items() if "single_passes" in one}
    lines = [line(name, one) for name, one in found.items()] + [promises([*found.values()])]
    head = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}\n"
    write_text(RESULTS / "README.md", _ABOVE + head + "".join(lines))
    print("".join(lines))


if __name__ == "__main__":
    main()
