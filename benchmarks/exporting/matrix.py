"""Every family of the zoo in every target and precision: written, checked, timed.

One network a family, trained for a moment (`benchmarks.exporting.families`). Rows are kept as they
are made, and what is there is not made again.

    python -m benchmarks.exporting.matrix [--families mbv3_tiny ...] [--targets onnx ...]
    python -m benchmarks.exporting.matrix --readme     # export/README.md from what was seen
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import environment
from benchmarks.exporting.families import families, module_of, request_of
from benchmarks.exporting.rows import read_rows
from benchmarks.exporting.support import Seen, support_readme
from edgenas.core.errors import EdgenasError, ExportError
from edgenas.core.files import write_json, write_text
from edgenas.core.precision import CODED, PRECISIONS
from edgenas.exporters import EXPORTERS, Exporter, ExportRequest, get
from edgenas.exporters.validate import run_checks

RESULTS = Path(__file__).parent / "results" / "matrix.json"
README = Path(__file__).parents[2] / "export" / "README.md"
SAMPLE = ("dpp_net_tiny", "fbnet_tiny", "mbv3_tiny", "resnet_tiny")
"""Families of which continuous integration sees all of it again (`tests/exporters`)."""


def main() -> None:
    """Make the rows that are asked for, or the README of what was seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="*", default=families())
    parser.add_argument("--targets", nargs="*", default=("onnx", "tflite", "tensorrt"))
    parser.add_argument("--again", action="store_true", help="also what is there")
    parser.add_argument("--readme", action="store_true")
    given = parser.parse_args()
    rows = read_rows(RESULTS)
    if given.readme:
        write_text(README, support_readme([seen(row) for row in rows]))
        return
    torch.set_num_threads(1)  # beside other work two wait for each other
    for family in given.families:
        request = None
        for target, precision in _asked(given.targets):
            key = {"family": family, "target": target, "precision": precision}
            known = [row for row in rows if {**row, **key} == row]
            if known and not given.again:
                continue
            request = request or request_of(module_of(family))
            rows = [row for row in rows if row not in known]
            rows.append({**key, **made(request, target, precision)})
            print(rows[-1], flush=True)
            write_json(RESULTS, {"rows": sorted(rows, key=_order), "environment": environment()})


def _asked(targets: Sequence[str]) -> list[tuple[str, str]]:
    """Return targets and the precisions that there are recipes for; plug-ins bring their own."""
    kinds = [(EXPORTERS.get(target), precision) for target in targets for precision in PRECISIONS]
    return [(kind.name, precision) for kind, precision in kinds if _has_recipe(kind, precision)]


def _has_recipe(kind: type[Exporter], precision: str) -> bool:
    try:
        kind.with_recipe(precision)
    except ExportError:
        return False
    return True


def made(request: ExportRequest, target: str, precision: str) -> dict[str, Any]:
    """Return how long one export took, what its checks found, and its size."""
    exporter = get(target, precision)
    request = replace(request)  # ranges that another target has found are not known to this one
    if precision in CODED:  # near ties, of networks that have learned little, fall to either side
        shown = {"least_agreement": 0.0, "accuracy_tolerance": 1.0}
        exporter = type(exporter)(exporter.recipe.model_copy(update=shown))
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
        path = Path(folder) / f"model{exporter.suffix}"
        start = time.perf_counter()
        try:
            artifact = exporter.export(request, path)
        except EdgenasError as error:
            return {"status": "refused", "error": str(error), "export_s": None, "checks": {}}
        export_s = time.perf_counter() - start
        checks = run_checks(exporter, request, artifact)
        kib = path.stat().st_size / 1024
    failed = [check.name for check in checks if check.passed is False]
    run = any(check.name == "values" and check.passed is not None for check in checks)
    return {
        "status": "failed" if failed else "passed" if run else "built",
        "error": "; ".join(f"{c.name}: {c.detail}" for c in checks if c.name in failed) or None,
        "export_s": round(export_s, 2),
        "kib": round(kib, 1),
        "network_accuracy": request.test_accuracy,
        "checks": {check.name: check.measured for check in checks if check.measured is not None},
    }


def seen(row: dict[str, Any]) -> Seen:
    """Return a row as the support matrix takes it."""
    values = row["checks"].get("values")
    return Seen(row["family"], row["target"], row["precision"], row["status"], values)


def _order(row: dict[str, Any]) -> tuple[str, ...]:
    return row["family"], row["target"], row["precision"]


if __name__ == "__main__":
    main()
