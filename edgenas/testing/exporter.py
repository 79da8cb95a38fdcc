"""The contract of exporters: inherit `ExporterContract` and give it the fixture `exporter`."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.artifact import Artifact
from edgenas.core.errors import ExportError, ValidationError
from edgenas.core.ops import Graph
from edgenas.exporters.base import Exporter, ExportRequest
from edgenas.exporters.manifest import Manifest, Source, make_manifest
from edgenas.exporters.validate import IN_TRIAL, run_checks, settle, validate
from edgenas.lowering.weights import random_weights
from edgenas.spaces.blocks import (
    bottleneck,
    chain,
    conv_block,
    mbconv,
    mbv3_head,
    pool_head,
    resnet_stem,
)
from edgenas.testing.reference import evaluate

_N_CALIBRATION = 32
_OLDEST_PYTHON = (3, 8)
_SOURCE = Source(
    run="contract", architecture_id="none", space="none", genes=(), config={}, data="noise"
)
FAMILIES = ("mobilenet", "resnet")
"""What `small_request` has networks of: together every operator that is exported."""


def _small_graph(family: str) -> Graph:
    if family == "resnet":
        return chain(
            [
                ("stem", resnet_stem((2, 15, 14), 8, mid_channels=8, stride=1, residual=True)),
                ("block0", bottleneck((8, 8, 7), 8, mid_channels=8, stride=1, downsample=False)),
                ("block1", bottleneck((8, 8, 7), 16, mid_channels=8, stride=2, downsample=True)),
                ("head", pool_head((16, 4, 4), n_classes=5)),
            ]
        )
    block = {"stride": 2, "activation": "h_swish", "squeeze_excite": True}
    return chain(
        [
            ("stem", conv_block((2, 15, 14), 8, kernel=3, stride=2, activation="h_swish")),
            ("block0", mbconv((8, 8, 7), 8, mid_channels=24, kernel=5, **{**block, "stride": 1})),  # type: ignore[arg-type]
            ("block1", mbconv((8, 8, 7), 16, mid_channels=24, kernel=3, **block)),  # type: ignore[arg-type]
            ("head", mbv3_head((16, 4, 4), final_channels=32, mix_channels=40, n_classes=5)),
        ]
    )


def small_request(
    *, n_inputs: int = 8, n_test: int = 20, seed: int = 0, family: str = "mobilenet"
) -> ExportRequest:
    """Return a request for a small network of one of `FAMILIES`, odd sizes, and a test part."""
    graph = _small_graph(family)
    weights = random_weights(graph, seed=seed)
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n_inputs + n_test, *graph.in_shape)).astype(np.float32)
    calibration = rng.normal(size=(_N_CALIBRATION, *graph.in_shape)).astype(np.float32)
    logits = evaluate(graph, weights, images).astype(np.float32)
    labels = rng.integers(0, 5, n_test)
    return ExportRequest(
        graph=graph,
        weights=weights,
        mean=(0.5, 0.4),
        std=(0.2, 0.3),
        class_names=("a", "b", "c", "d", "e"),
        reference_inputs=images[:n_inputs],
        reference_logits=logits[:n_inputs],
        test_images=images[n_inputs:],
        test_labels=labels,
        test_accuracy=float((logits[n_inputs:].argmax(axis=1) == labels).mean()),
        calibration_images=calibration,
    )


class ExporterContract:
    """What the rest of edgenas relies on, whatever the target."""

    @pytest.fixture
    def exporter(self) -> Exporter:
        """The exporter under test."""
        raise NotImplementedError

    @pytest.fixture(params=FAMILIES)
    def export_request(self, request: pytest.FixtureRequest) -> ExportRequest:
        """A small network of each family."""
        return small_request(seed=1, family=request.param)

    @pytest.fixture
    def artifact(
        self, exporter: Exporter, export_request: ExportRequest, tmp_path: Path
    ) -> Artifact:
        """The network, exported."""
        return exporter.export(export_request, tmp_path / f"model{exporter.suffix}")

    def test_available_where_its_tests_run(self, exporter: Exporter) -> None:
        """Skipping silently would hide a broken installation."""
        assert exporter.unavailable_reason() is None

    def test_same_network_gives_same_bytes(
        self, exporter: Exporter, export_request: ExportRequest, artifact: Artifact, tmp_path: Path
    ) -> None:
        """Files can be compared by their hash."""
        again = exporter.export(export_request, tmp_path / f"again{exporter.suffix}")
        assert again.sha256 == artifact.sha256
        assert artifact.format == exporter.name

    def test_passes_validation(
        self, exporter: Exporter, export_request: ExportRequest, artifact: Artifact
    ) -> None:
        """Every check is made, or says why it could not be."""
        checks = validate(exporter, export_request, artifact)
        names = [check.name for check in checks]
        assert names == ["content", *IN_TRIAL, "size"]
        if exporter.unavailable_to_run_reason() is None:
            made = [check for check in checks if check.passed is not None]
            assert all(check.passed for check in made)
            assert {"opens", "names", "shapes", "values", "top1"} <= {one.name for one in made}
            assert exporter.signature(artifact.path) == exporter.expected(export_request)
        else:
            assert {check.passed for check in checks} == {True, None}
            assert all(check.detail for check in checks)

    def test_its_manifest_tells_how_it_was_made(self, exporter: Exporter, tmp_path: Path) -> None:
        """How ranges were found, with which packages, and the recipe to prove it by again."""
        request = exporter.with_calibration(small_request(seed=1))
        artifact = exporter.export(request, tmp_path / f"model{exporter.suffix}")
        manifest = make_manifest(exporter, request, artifact, checks=(), source=_SOURCE)
        settings, told = exporter.recipe.calibration, manifest.calibration
        assert (told is None) == (settings is None)
        if settings is not None and told is not None:
            assert told.n_images == min(settings.n_images, _N_CALIBRATION)
            assert settings.method in (told.method, "best")
        assert set(exporter.distributions) <= set(manifest.versions)
        again = Manifest.model_validate_json(manifest.model_dump_json())
        values = {"schema_version": 1, "target": again.target, **again.options}
        assert exporter.recipe_model.model_validate(values, strict=False) == exporter.recipe

    def test_bundles_open_it_on_a_device_of_old(self, exporter: Exporter) -> None:
        """Without edgenas, and with the Python of JetPack 5."""
        text = exporter.device_program()
        if text is None:
            return
        tree = ast.parse(text, feature_version=_OLDEST_PYTHON)
        assert "Model" in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        imported = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        }
        assert not {name for name in imported if name.startswith("edgenas")}

    def test_weights_that_are_not_finite_are_refused(
        self, exporter: Exporter, export_request: ExportRequest, tmp_path: Path
    ) -> None:
        """Nothing is written for a network that diverged."""
        for value in (np.nan, np.inf):
            weights = {name: array.copy() for name, array in export_request.weights.items()}
            weights["head.classifier.weight"][0, 0] = value
            path = tmp_path / f"bad{exporter.suffix}"
            with pytest.raises(ExportError, match=r"head\.classifier\.weight"):
                exporter.export(replace(export_request, weights=weights), path)
            assert not path.exists()

    def test_wrong_suffix_is_refused(
        self, exporter: Exporter, export_request: ExportRequest, tmp_path: Path
    ) -> None:
        """The suffix is how runtimes know the format."""
        with pytest.raises(ExportError, match="must be called"):
            exporter.export(export_request, tmp_path / "model.bin")

    def test_truncated_file_fails_and_is_renamed(
        self, exporter: Exporter, export_request: ExportRequest, artifact: Artifact
    ) -> None:
        """A damaged file cannot be deployed by mistake."""
        content = artifact.path.read_bytes()
        artifact.path.write_bytes(content[: len(content) // 2])
        checks = run_checks(exporter, export_request, artifact)
        assert checks[0].passed is False
        with pytest.raises(ValidationError, match="truncated or changed"):
            settle(checks, artifact)
        assert not artifact.path.exists()
        assert artifact.path.with_name(f"{artifact.path.name}.failed").is_file()

    def test_truncated_file_does_not_run(
        self, exporter: Exporter, export_request: ExportRequest, artifact: Artifact
    ) -> None:
        """Engines report damage as our error."""
        artifact.path.write_bytes(artifact.path.read_bytes()[:1000])
        for use in (
            lambda: exporter.infer(artifact.path, export_request.reference_inputs),
            lambda: exporter.signature(artifact.path),
        ):
            with pytest.raises(ExportError):
                use()
