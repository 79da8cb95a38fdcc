"""Golden exports: one tiny network in every target and precision, with what it answers.

``export/golden/network.npz`` holds the images and the answers of the network in float32, and
``export/golden/<target>-<precision>/`` the file, what that answers, and its manifest. Whoever
changes an exporter, or gets a new version of an engine, sees in them what has changed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.artifact import Artifact
from edgenas.core.files import write_json
from edgenas.core.paths import search_path
from edgenas.core.precision import PRECISIONS
from edgenas.exporters import EXPORTERS, Exporter, ExportRequest, get
from edgenas.exporters.manifest import Manifest, Source, make_manifest
from edgenas.exporters.validate import run_checks
from edgenas.testing.exporter import small_request

NETWORK, ANSWERS, MANIFEST = "network.npz", "answers.npz", "manifest.json"
MOST_KEPT_BYTES = 200_000
"""Larger files (engines of GPUs) are not kept; their hash stands in the manifest."""

_APART = ("tensorrt",)
"""What TensorRT-RTX writes depends on what its process has built before, a failed build above all;
made in a process of its own it is always the same."""
_APART_S = 300.0

_SOURCE = Source(
    run="golden", architecture_id="golden0000", space="small", genes=(), config={}, data="random"
)


def golden_request() -> ExportRequest:
    """Return the network: squeeze and excitation, depthwise kernels of both sizes, odd images."""
    return replace(small_request(seed=1), **_NO_TEST_PART)


_NO_TEST_PART: dict[str, Any] = {"test_images": None, "test_labels": None, "test_accuracy": None}


def combinations() -> list[tuple[str, str]]:
    """Return every target and precision that there is a recipe for."""
    folders = [folder / "recipes" for folder in search_path("export")]
    names = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    every = [(target, precision) for target in EXPORTERS.names() for precision in PRECISIONS]
    return [pair for pair in every if "-".join(pair) in names]


def golden_folder() -> Path:
    """Return where they are, whether edgenas is a checkout or installed."""
    return next(
        found for found in (p / "golden" for p in reversed(search_path("export"))) if found.is_dir()
    )


def write_golden(folder: Path, exporter: Exporter) -> Manifest:
    """Write the golden export of one exporter into its folder below `folder`."""
    request = exporter.with_calibration(golden_request())
    own = folder / f"{exporter.name}-{exporter.recipe.precision}"
    own.mkdir(parents=True, exist_ok=True)
    np.savez(folder / NETWORK, inputs=request.reference_inputs, logits=request.reference_logits)
    path = own / f"model{exporter.suffix}"
    artifact = golden_artifact(exporter, request, path)
    manifest = golden_manifest(exporter, request, artifact)
    write_json(own / MANIFEST, manifest.model_dump(mode="json"))
    if exporter.unavailable_to_run_reason() is None:
        np.savez(own / ANSWERS, logits=exporter.infer(path, request.reference_inputs))
    if path.stat().st_size > MOST_KEPT_BYTES:
        path.unlink()
    return manifest


def golden_artifact(exporter: Exporter, request: ExportRequest, path: Path) -> Artifact:
    """Write the golden file of one exporter, with its shipped recipe.

    Raises:
        CalledProcessError: it cannot be written in a process of its own, which says why.
    """
    if exporter.name not in _APART:
        return exporter.export(request, path)
    asked = [exporter.name, exporter.recipe.precision, str(path)]
    command = [sys.executable, "-m", "edgenas.testing.golden", *asked]
    subprocess.run(command, check=True, timeout=_APART_S)
    return Artifact.of(path)


def golden_manifest(exporter: Exporter, request: ExportRequest, artifact: Artifact) -> Manifest:
    """Return the manifest of a golden file, its checks made here."""
    checks = run_checks(exporter, request, artifact)
    return make_manifest(exporter, request, artifact, checks=checks, source=_SOURCE)


def read_golden(own: Path) -> tuple[Manifest, npt.NDArray[np.float32] | None]:
    """Return manifest and answers, shape (n, n_classes), None if it did not run where it was made.

    Raises:
        OSError, ValueError: they cannot be read.
    """
    text = (own / MANIFEST).read_text(encoding="utf-8")
    manifest = Manifest.model_validate(json.loads(text), strict=False)
    if not (own / ANSWERS).is_file():
        return manifest, None
    with np.load(own / ANSWERS) as content:
        return manifest, content["logits"]


# -- in a process of its own ---------------------------------------------------------------


def main(target: str, precision: str, path: Path) -> None:
    """Write one golden file."""
    exporter = get(target, precision)
    exporter.export(exporter.with_calibration(golden_request()), path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
