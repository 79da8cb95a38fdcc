"""The 50 specialised networks of once-for-all's authors: expressed, counted, predicted, beaten.

Every published configuration is read into genes of edgenas' spaces, operator by operator, and its
MACs and parameters stand beside the stated ones. For the Note10 networks: the Note10 table's
prediction beside the stated latency, and what edgenas selects at the same latency, both by the
published predictor, beside the measured top-1. The table and the predictor are of width 1.2 and of
160 to 224 pixels by 16: for another resolution both neighbours are told, for width 1.0 nothing.

    EDGENAS_BENCH_DATA=... python -m benchmarks.once_for_all.specialised
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.once_for_all import devices
from benchmarks.once_for_all.published_networks import PublishedNetwork, published_networks
from benchmarks.program import main
from edgenas.core.architecture import Genes
from edgenas.core.files import write_text
from edgenas.searchers.arrays.problem import Limits
from edgenas.searchers.arrays.select import select
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import macs, params

FOLDER = Path(__file__).parent / "results"
RESULTS = FOLDER / "specialised.json"
TABLE = FOLDER / "specialised.md"


def counted(network: PublishedNetwork) -> dict[str, Any]:
    """Return counts beside the stated ones, or why there are none."""
    told: dict[str, Any] = {"name": network.name, "top1": network.top1}
    if network.space is None or network.genes is None:
        return {**told, "outside": network.why}
    rows = network.genes[None]
    n_macs, n_params = macs(network.space)(rows)[0], params(network.space)(rows)[0]
    told |= {
        "space": network.space.parameters["preset"],
        "resolution": network.resolution,
        "macs_millions": round(n_macs / 1e6, 3),
        "stated_macs_millions": network.macs_millions,
        "params_millions": round(n_params / 1e6, 3),
        "stated_params_millions": network.params_millions,
        "config": network.space.describe(network.genes),
    }
    away = n_macs / 1e6 - network.macs_millions
    told["params_difference"] = (
        "rounded" if abs(n_params / 1e6 - network.params_millions) <= 0.05 else "other"
    )
    told["macs_difference"] = difference(away)
    return told


def difference(away: float) -> str:
    """Return what the difference from stated whole millions of MACs is, in words."""
    if abs(away) <= 0.5:
        return "rounded"
    if -1 < away < 0:
        return "stated above the nearest million: as if rounded up"
    return "the stated figure is not that of the published configuration"


def neighbours(network: PublishedNetwork) -> list[tuple[int, Genes]]:
    """Return resolutions of the table around the network's own, with its genes at each."""
    if network.space is None or network.space.parameters["preset"] != devices.SPACE:
        return []
    below = [r for r in devices.RESOLUTIONS if r <= network.resolution]
    above = [r for r in devices.RESOLUTIONS if r >= network.resolution]
    chosen = dict.fromkeys([*below[-1:], *above[:1]])
    config = network.space.describe(network.genes)
    return [(r, devices.space().parse({**config, "resolution": r})) for r in chosen]


def on_note10(network: PublishedNetwork, n_evaluations: int) -> dict[str, Any]:
    """Return predictions of a Note10 network and of what is selected at its latency."""
    latency, predictor = devices.note10(), devices.predictor()
    told: dict[str, Any] = {
        "name": network.name,
        "stated_ms": network.latency_ms,
        "top1": network.top1,
        "at": [],
    }
    for resolution, genes in neighbours(network):
        at = {
            "resolution": resolution,
            "table_ms": round(float(latency(genes[None])[0]), 3),
            "predicted_accuracy": round(float(predictor(genes[None])[0]), 5),
        }
        told["at"].append(at)
    if not told["at"]:
        told["why"] = "the table and the predictor are of width 1.2, the network of 1.0"
    elif network.resolution > devices.RESOLUTIONS[-1]:
        told["why"] = f"{network.resolution} pixels are above the table's: at 224 it is faster"
    budget = network.latency_ms or 0.0
    program = BudgetProgram(latency)
    least, greatest = program.least()[0], program.greatest()[0]
    told["selected"] = None
    if budget < least:
        told["why_not"] = f"width 1.2 takes {least:.2f} ms and more"
        return told
    front = select(
        devices.space(),
        {"latency_ms": latency},
        accuracy=predictor,
        budgets=[{"latency_ms": min(budget, greatest)}],
        limits=Limits(n_evaluations=n_evaluations),
    )
    pick = front.picks[0]
    told["selected"] = {
        "latency_ms": round(pick.values["latency_ms"], 3),
        "predicted_accuracy": round(pick.values["accuracy"], 5),
        "config": front.space.describe(pick.genes),
    }
    return told


def exactly(told: dict[str, Any]) -> float | None:
    """Return the network's own predicted accuracy, between its neighbours if need be."""
    at = told["at"]
    if not at or "why" in told:
        return None
    resolution = next(n.resolution for n in published_networks() if n.name == told["name"])
    points = [(a["resolution"], a["predicted_accuracy"]) for a in at]
    return float(np.interp(resolution, [x for x, _ in points], [y for _, y in points]))


def run(n_evaluations: int = 400_000) -> dict[str, Any]:
    """Return all figures."""
    networks = published_networks()
    counts = [counted(network) for network in networks]
    note10 = [on_note10(n, n_evaluations) for n in networks if n.device == "note10"]
    for told in note10:
        told["own_predicted_accuracy"] = exactly(told)
    figures = {
        "command": "python -m benchmarks.once_for_all.specialised",
        "n_networks": len(counts),
        "by_space": dict(Counter(c.get("space", "outside") for c in counts)),
        "macs_differences": dict(Counter(c.get("macs_difference", "outside") for c in counts)),
        "params_differences": dict(Counter(c.get("params_difference", "outside") for c in counts)),
        "networks": counts,
        "note10": note10,
    }
    write_text(TABLE, table(figures))
    return figures


def table(figures: dict[str, Any]) -> str:
    """Return the figures for people, as Markdown."""
    lines = [
        "# Published specialised networks",
        "",
        "Made by `python -m benchmarks.once_for_all.specialised`; millions of MACs",
        "are stated whole, of parameters in tenths. A blank last column: equal after rounding.",
        "",
        "| network | space | pixels | top-1 | MACs, M | stated | parameters, M | stated | "
        "MACs differ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for c in figures["networks"]:
        if "outside" in c:
            lines.append(f"| {c['name']} | outside: {c['outside']} | | | | | | | |")
            continue
        why = "" if c["macs_difference"] == "rounded" else c["macs_difference"]
        lines.append(
            f"| {c['name']} | {c['space']} | {c['resolution']} | {100 * c['top1']:.1f} | "
            f"{c['macs_millions']:.2f} | {c['stated_macs_millions']:g} | "
            f"{c['params_millions']:.2f} | {c['stated_params_millions']:g} | {why} |"
        )
    lines += [
        "",
        "## Note10",
        "",
        "Predicted accuracy is the published predictor's, on one scale; top-1 is measured, after",
        "the authors' fine-tuning. Between two resolutions of the table both predictions are told.",
        "",
        "| stated ms | table ms | predicted accuracy | top-1 | selected at the stated ms: ms | "
        "predicted accuracy | gain, points |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [note10_line(told) for told in figures["note10"]]
    return "\n".join(lines) + "\n"


def note10_line(told: dict[str, Any]) -> str:
    """Return a Note10 network's line of the table."""
    at, selected, own = told["at"], told["selected"], told["own_predicted_accuracy"]
    times = " to ".join(f"{a['table_ms']:.2f}" for a in at) or told["why"]
    scores = " to ".join(f"{a['predicted_accuracy']:.4f}" for a in at)
    gain = (
        ""
        if own is None or not selected
        else f"{100 * (selected['predicted_accuracy'] - own):+.2f}"
    )
    found = (
        f"{selected['latency_ms']:.2f} | {selected['predicted_accuracy']:.4f}"
        if selected
        else f"{told['why_not']} | "
    )
    top1 = f"{100 * told['top1']:.1f}"
    return f"| {told['stated_ms']:g} | {times} | {scores} | {top1} | {found} | {gain} |"


if __name__ == "__main__":
    main(
        run,
        doc=__doc__,
        out=RESULTS,
        options={"--n-evaluations": {"type": int, "default": 400_000, "dest": "n_evaluations"}},
    )
