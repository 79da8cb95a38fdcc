"""Bundles of small networks, and what is done to them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.core.artifact import Artifact
from edgenas.core.files import sha256_of
from edgenas.exporters import Exporter, ExportRequest, get
from edgenas.exporters.bundle import INDEX, SUMS, BundleRequest, make_bundle
from edgenas.exporters.bundle.card import Accuracy
from edgenas.exporters.bundle.index import sums_text
from edgenas.exporters.manifest import (
    Manifest,
    MeasuredLatency,
    PredictedLatency,
    Source,
    make_manifest,
)
from edgenas.exporters.validate import validate
from edgenas.lowering.weights import random_weights
from edgenas.spaces.blocks import chain, conv_block, mbconv, mbv3_head
from edgenas.testing.reference import evaluate

BUDGET = "latency_ms <= 1000"
SLUG = "some-board-4c-01234567"
N = 12
VARIANTS = (
    ("onnx", "float32", {}),
    ("onnx", "float32", {"batch": "any"}),
    ("onnx", "float32", {"batch": 5}),
    ("onnx", "int8", {}),
    ("onnx", "weight_int8", {}),
    ("tflite", "float32", {}),
    ("tflite", "int8", {"quantised_io": True}),
)
"""Target, precision and changes of the recipe: every form in which files take their inputs."""


def tiny_request(*, channels: int = 3, seed: int = 0) -> ExportRequest:
    """Return a small network for images of 16 x 14, without a test part."""
    graph = chain(
        [
            ("stem", conv_block((channels, 16, 14), 8, kernel=3, stride=2, activation="h_swish")),
            (
                "block",
                mbconv(
                    (8, 8, 7),
                    16,
                    mid_channels=24,
                    kernel=3,
                    stride=2,
                    activation="h_swish",
                    squeeze_excite=True,
                ),
            ),
            ("head", mbv3_head((16, 4, 4), final_channels=32, mix_channels=40, n_classes=5)),
        ]
    )
    weights = random_weights(graph, seed=seed)
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(N + 40, *graph.in_shape)).astype(np.float32)
    return ExportRequest(
        graph=graph,
        weights=weights,
        mean=(0.5, 0.4, 0.3)[:channels],
        std=(0.2, 0.3, 0.25)[:channels],
        class_names=("apple", "pear", "quince", "plum $x", "fig | date"),
        reference_inputs=images[:N],
        reference_logits=evaluate(graph, weights, images[:N]).astype(np.float32),
        calibration_images=images[N:],
    )


def exporter_of(target: str, precision: str, changes: dict[str, Any]) -> Exporter:
    """Return an exporter whose recipe is changed."""
    exporter = get(target, precision)
    return type(exporter)(exporter.recipe.model_copy(update=changes))


def tiny_bundle(
    folder: Path,
    target: str = "onnx",
    precision: str = "float32",
    *,
    recipe: dict[str, Any] | None = None,
    request: ExportRequest | None = None,
    logits: Any = None,
    budgets: tuple[str, ...] = (BUDGET,),
    **about: Any,
) -> Path:
    """Export a small network, check it, and bundle it in `folder`/bundle; return that folder.

    `logits` are recorded in place of the network's own; `about` goes to the manifest.
    """
    exporter, request = exporter_of(target, precision, recipe or {}), request or tiny_request()
    model = folder / f"model{exporter.suffix}"
    artifact = exporter.export(request, model)
    manifest = tiny_manifest(exporter, request, artifact, **about)
    bundle = BundleRequest(
        model=model,
        manifest=manifest,
        exporter=exporter,
        inputs=request.reference_inputs,
        logits=request.reference_logits if logits is None else logits,
        accuracy=Accuracy(0.75, 0.7, 200),
        budgets=budgets,
    )
    make_bundle(bundle, folder / "bundle")
    return folder / "bundle"


def tiny_manifest(
    exporter: Exporter, request: ExportRequest, artifact: Artifact, **about: Any
) -> Manifest:
    """Return a file's manifest after its checks."""
    values = {"predicted_latency": predicted(), "measured_latency": measured(), "stored": (16, 14)}
    return make_manifest(
        exporter,
        request,
        artifact,
        checks=validate(exporter, request, artifact),
        source=Source(
            run="tiny",
            architecture_id="0123456789",
            space="tiny_space",
            genes=(0, 1),
            config={"kernel": 3},
            data="fruit 0011223344556677",
            budget=(BUDGET, "n_params <= 100000", "latency_ms <= 1e-06"),
        ),
        **{**values, **about},
    )


def predicted(**changes: Any) -> PredictedLatency:
    """Return a prediction for another device than this one, unless changed."""
    return PredictedLatency(
        **{
            "device": SLUG,
            "runtime": "onnxruntime",
            "latency_ms": 0.5,
            "low_ms": 0.4,
            "high_ms": 0.6,
            "confidence": 0.9,
            "coverage": "measured",
            **changes,
        }
    )


def measured(**changes: Any) -> MeasuredLatency:
    """Return a measurement on another device than this one, unless changed."""
    return MeasuredLatency(
        **{
            "device": SLUG,
            "runtime": "onnxruntime",
            "runtime_version": "1.0",
            "n_threads": 1,
            "n_samples": 36,
            "latency_ms": 0.52,
            "median_ms": 0.55,
            "p90_ms": 0.6,
            **changes,
        }
    )


def rewrite(folder: Path, name: str, content: bytes | None) -> None:
    """Change a file of a bundle (None removes it) and make index and sums agree with it."""
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    index = json.loads((folder / INDEX).read_text())
    if content is None:
        del index["files"][name]
    else:
        index["files"][name] = sha256_of(folder / name)
    reindex(folder, index)


def reindex(folder: Path, index: dict[str, Any]) -> None:
    """Write a changed index and the sums that go with it."""
    (folder / INDEX).write_text(json.dumps(index))
    hashes = {**index["files"], INDEX: sha256_of(folder / INDEX)}
    (folder / SUMS).write_text(sums_text(hashes))


def other_logits(request: ExportRequest) -> Any:
    """Return logits that the network does not give."""
    return replace(request).reference_logits[::-1].copy()
