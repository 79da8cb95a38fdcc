"""All results of exporting as one document, `results/README.md`.

python -m benchmarks.exporting.summary
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.exporting.rows import read_rows
from edgenas.core.files import write_text

RESULTS = Path(__file__).parent / "results"
_GOALS_S = {"onnx": 10, "tflite": 15, "tensorrt": 15}
_TOP = """# Exporting, measured

Made by `python -m benchmarks.exporting.summary` from the files beside it, which have the machine, the date, the versions
and every number. The command of each part is in the module that it names.

## Every family in every target and precision (`matrix`)

One network of each family, trained for a moment on Fashion-MNIST; [the matrix](../../../export/README.md) has every value.

| target, precision | passed | worst value | slowest export, of what was asked |
|---|---|---|---|
"""  # noqa: E501
_CALIBRATION = """
The int8 rows find ranges on the recipes' 256 images, each target for itself. Of what that takes (`calibration`):

| network | finding ranges | writing ONNX |
|---|---|---|
"""  # noqa: E501
_PICKS = """
## What the files of picks get right (`picks`)

Of the 10,000 test images of Fashion-MNIST, in percent; in brackets what is lost against float32. Nothing is trained on for 8 bits; calibration as the recipes have it.

"""  # noqa: E501
_PEERS = """
## Latency against other exporters (`peers`)

The same torch module, as each exporter ships, timed in one run: 80 visits in random order by 8 processes. A share above 1 is slower than ours: mean over the processes, and
twice its standard error. `edgenas_again` is a copy of our file: what two timings of one file differ by.

| network | runtime | file | ms | of ours |
|---|---|---|---|---|
"""  # noqa: E501


def main() -> None:
    """Write the document."""
    text = _TOP + matrix(read_rows(RESULTS / "matrix.json"))
    if calibration := read_rows(RESULTS / "calibration.json"):
        text += _CALIBRATION + timed(calibration)
    if picks := read_rows(RESULTS / "picks.json"):
        text += _PICKS + judged(picks)
    text += _PEERS
    for path in sorted(RESULTS.glob("peers-*.json")):
        text += compared(json.loads(path.read_text(encoding="utf-8")))
    write_text(RESULTS / "README.md", text)


def matrix(rows: list[dict[str, Any]]) -> str:
    """Return a line for each target and precision."""
    lines = []
    for target, precision in dict.fromkeys((row["target"], row["precision"]) for row in rows):
        these = [row for row in rows if (row["target"], row["precision"]) == (target, precision)]
        counts = Counter(row["status"] for row in these)
        values = [row["checks"]["values"] for row in these if "values" in row["checks"]]
        slowest = max((row for row in these if row["export_s"]), key=lambda row: row["export_s"])
        told = ", ".join(f"{n} {status}" for status, n in counts.items())
        seconds = f"{slowest['export_s']} s (`{slowest['family']}`), {_GOALS_S[target]} s"
        worst = _worst(precision, values)
        lines.append(f"| {target} {precision} | {told} | {worst} | {seconds} |\n")
    return "".join(lines)


def _worst(precision: str, values: list[float]) -> str:
    if not values:
        return ""
    return f"{min(values):.1f} dB" if "int8" in precision else f"{max(values):.1e}"


def timed(rows: list[dict[str, Any]]) -> str:
    """Return a line for each network."""
    cells = (
        (f"`{row['family']}`", f"{row['ranges_s']} s", f"{row['writing_s']} s") for row in rows
    )
    return "".join(f"| {' | '.join(one)} |\n" for one in cells)


def judged(rows: list[dict[str, Any]]) -> str:
    """Return a line for each pick."""
    kinds = list(dict.fromkeys((row["target"], row["precision"]) for row in rows))
    text = "| run | " + " | ".join(f"{t} {p}" for t, p in kinds) + " |\n|---|"
    text += "---|" * len(kinds) + "\n"
    for run in dict.fromkeys(row["run"] for row in rows):
        found = {(row["target"], row["precision"]): row for row in rows if row["run"] == run}
        cells = (f"{found[k]['accuracy_percent']} ({found[k]['lost_points']})" for k in kinds)
        text += f"| `{run}` | " + " | ".join(cells) + " |\n"
    return text


def compared(result: dict[str, Any]) -> str:
    """Return a line for each file of a network."""
    text = ""
    for runtime in ("onnxruntime", "litert"):
        for name, row in result[runtime].items():
            shares = row["share_of_ours"]
            error = 2 * stdev(shares) / len(shares) ** 0.5
            share = "1" if name == "edgenas" else f"{fmean(shares):.3f} ± {error:.3f}"
            cells = (f"`{result['run']}`", runtime, name, f"{row['latency_ms']:.4f}", share)
            text += f"| {' | '.join(cells)} |\n"

    return text


if __name__ == "__main__":
    main()
