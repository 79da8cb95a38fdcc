"""What the files of trained picks get right on the whole test part, in every precision.

Each run folder (``edgenas compile``) holds a pick that was trained on Fashion-MNIST. Nothing is trained here: 8-bit values
are calibrated on training images, as the recipes say.

Rows of other runs stay as they are; each row says when and on which machine it was made.

    python -m benchmarks.exporting.picks RUN ...
"""  # noqa: E501

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.environment import environment
from benchmarks.exporting.rows import read_rows
from edgenas.core.files import write_json
from edgenas.exporters import ExportRequest, get
from edgenas.lowering.torch import GraphModule
from edgenas.study.context import Run
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps.finetune import load_model
from edgenas.study.steps.written import file_accuracy, inputs_of, request_of
from edgenas.testing.golden import combinations

RESULTS = Path(__file__).parent / "results" / "picks.json"
N_CALIBRATION, N_REFERENCE = 512, 32


def main() -> None:
    """Judge the picks of the run folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    torch.set_num_threads(1)
    for folder in parser.parse_args().runs:
        rows = [row for row in read_rows(RESULTS) if row["run"] != folder.name]
        made = environment()
        told = {"date": made["date"], "machine": made["machine"]["slug"]}
        rows += [{**row, **told} for row in judged(folder)]
        write_json(RESULTS, {"rows": rows, "environment": made})


def opened(folder: Path) -> Run:
    """Return the run of a folder."""
    found = RunFolder(folder)
    return Run(found, found.job())


def pick_of(run: Run) -> tuple[GraphModule, ExportRequest]:
    """Return the pick of a run with its own weights in float, and what exporters are given."""
    module = load_model(run)
    images = inputs_of(run, module, run.dataset.validation)[:N_REFERENCE]
    order = np.random.default_rng(0).permutation(len(run.dataset.train))[:N_CALIBRATION]
    calibration = inputs_of(run, module, run.dataset.train.take(order))
    return module, replace(request_of(run, module, images), calibration_images=calibration)


def judged(folder: Path) -> list[dict[str, Any]]:
    """Return how many test images each file of a pick gets right, in percent, and what is lost."""
    run = opened(folder)
    module, request = pick_of(run)
    part = run.dataset.open_test()
    inputs, labels = inputs_of(run, module, part), part.labels
    rows, exact = [], None
    for target, precision in combinations():
        exporter = get(target, precision)
        if exporter.unavailable_to_run_reason() is not None:
            continue
        with tempfile.TemporaryDirectory(prefix="edgenas-") as scratch:
            path = Path(scratch) / f"model{exporter.suffix}"
            start = time.perf_counter()
            exporter.export(replace(request), path)  # ranges are each file's own to find
            export_s = time.perf_counter() - start
            percent = 100 * file_accuracy(exporter, path, inputs, labels)
        exact = percent if exact is None else exact  # combinations begin with float32
        rows.append(
            {
                "run": folder.name,
                "target": target,
                "precision": precision,
                "n_images": len(labels),
                "accuracy_percent": round(percent, 2),
                "lost_points": round(exact - percent, 2),
                "export_s": round(export_s, 2),
            }
        )
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
