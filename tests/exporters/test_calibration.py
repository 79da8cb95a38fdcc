"""Ranges for 8 bits: what each method finds, which is taken, and images that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core import ops
from edgenas.core.errors import ExportError
from edgenas.core.ops import Graph
from edgenas.exporters import ExportRequest, base, get, observation
from edgenas.exporters import calibration as module
from edgenas.exporters.calibration import Calibrated, Calibration, calibrate, sqnr
from edgenas.exporters.manifest import Source, make_manifest
from edgenas.exporters.ranges import METHODS, Seen
from edgenas.lowering.onnx import lower
from edgenas.lowering.quantisation import Scale
from edgenas.lowering.weights import random_weights
from edgenas.testing.reference import evaluate, values_of


@pytest.fixture
def images(request_small: ExportRequest) -> np.ndarray:
    assert request_small.calibration_images is not None
    return request_small.calibration_images


def seen(values: list[float]) -> Seen:
    array = np.sort(np.array(values, np.float32))
    return Seen(float(array.min()), float(array.max()), array)


def test_methods_on_values_that_are_known() -> None:
    """A thousand values around 0 and one far away."""
    values = seen([*np.linspace(-1, 1, 1001), 50.0])
    assert METHODS["min_max"](values) == (-1.0, 50.0)
    low, high = METHODS["percentile_99.9"](values)
    assert (low, high) == pytest.approx((-1.0, 1.0), abs=0.01)
    near = METHODS["mse"](values)
    assert near[0] >= -1.0
    assert 1.0 < near[1] < 50.0 or near == (-1.0, 50.0)
    even = seen(list(np.linspace(-1, 1, 1001)))
    assert METHODS["mse"](even) == pytest.approx((-1.0, 1.0), abs=0.02)


def test_min_max_is_what_a_plain_reading_of_the_graph_sees(
    request_small: ExportRequest, images: np.ndarray
) -> None:
    found = calibrate(
        request_small.graph, request_small.weights, images, Calibration(method="min_max")
    )
    assert (found.method, found.n_images, found.sqnr_db) == ("min_max", len(images), {})
    values = values_of(request_small.graph, request_small.weights, images)
    assert set(found.ranges) == set(values)
    for name, value in values.items():
        wanted = (float(value.min()), float(value.max()))
        assert found.ranges[name] == pytest.approx(wanted, rel=1e-4, abs=1e-5), name


def test_the_best_has_the_least_noise(request_small: ExportRequest, images: np.ndarray) -> None:
    found = calibrate(request_small.graph, request_small.weights, images, Calibration())
    assert set(found.sqnr_db) == set(METHODS)
    best = max(found.sqnr_db.values())
    usual = found.sqnr_db["min_max"]
    if found.method == "min_max":
        assert best <= usual + 1.0
    else:
        assert found.sqnr_db[found.method] == best > usual + 1.0


def test_fewer_images_than_there_are(request_small: ExportRequest, images: np.ndarray) -> None:
    settings = Calibration(method="min_max", n_images=3)
    few = calibrate(request_small.graph, request_small.weights, images, settings)
    same = calibrate(request_small.graph, request_small.weights, images[:3], settings)
    assert few.ranges == same.ranges
    assert few.n_images == 3


def test_logits_of_signal_and_noise() -> None:
    reference = np.array([[1.0, -1.0], [2.0, -2.0]])
    assert sqnr(reference, reference) == np.inf
    assert sqnr(reference, reference + 5) == np.inf  # common to all classes: decides nothing
    noisy = reference + np.array([[0.1, -0.1], [-0.1, 0.1]])
    assert sqnr(reference, noisy) == pytest.approx(10 * np.log10(10 / 0.04))
    assert np.isnan(sqnr(reference, np.full_like(reference, np.nan)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:0], "there are no calibration images"),
        (lambda a: a[:, :1], r"calibration images have shape \(32, 1"),
        (lambda a: a[0], "calibration images have shape"),
        (lambda a: np.where(a > 1, np.nan, a), "NaN"),
        (lambda a: 100 * a, "not normalised alike"),
        (lambda a: a + 30, "not normalised alike"),
        (lambda a: 0.01 * a, "not normalised alike"),
    ],
)
def test_images_that_cannot_be_calibrated_on(
    request_small: ExportRequest, images: np.ndarray, tmp_path: Path, change: object, message: str
) -> None:
    wrong = replace(request_small, calibration_images=change(images))  # type: ignore[operator]
    path = tmp_path / "model.onnx"
    with pytest.raises(ExportError, match=message):
        get("onnx", "int8").export(wrong, path)
    assert not path.exists()


def test_none_at_all_are_asked_for(request_small: ExportRequest, tmp_path: Path) -> None:
    bare = replace(request_small, calibration_images=None)
    with pytest.raises(ExportError, match="pass about 256 training images"):
        get("tflite", "int8").export(bare, tmp_path / "model.tflite")


def test_values_that_overflow_are_named(request_small: ExportRequest, images: np.ndarray) -> None:
    weights = {name: value.copy() for name, value in request_small.weights.items()}
    name = next(name for name in weights if name.startswith("block0") and name.endswith("weight"))
    weights[name] = np.full_like(weights[name], 3e38)
    with pytest.raises(ExportError, match="is not finite on the images given"):
        calibrate(request_small.graph, weights, images, Calibration(method="min_max"))


def test_quantiles_lie_between_samples() -> None:
    values = np.random.default_rng(0).exponential(size=5001)
    found = METHODS["percentile_99.9"](seen(list(values)))
    assert found == pytest.approx(tuple(np.percentile(values, [0.1, 99.9])), rel=1e-5)
    assert METHODS["percentile_99.9"](seen([2.0])) == (2.0, 2.0)


@pytest.mark.parametrize("n", [1, 700, 20_000])
def test_least_squared_distance_is_that_of_the_values_themselves(n: int) -> None:
    """The histogram that is used in their place changes no choice by more than a hair."""
    rng = np.random.default_rng(n)
    one = seen(list(np.maximum(rng.standard_t(3, n), 0)))

    def distance(span: tuple[float, float]) -> float:
        scale = Scale.of(span, signed=False)
        codes = scale.encode(one.samples)
        return float(np.square((codes - scale.zero_point) * scale.step - one.samples).sum())

    shares = np.linspace(1.0, 0.2, 33)
    least = min(distance((share * one.least, share * one.greatest)) for share in shares)
    assert distance(METHODS["mse"](one)) <= 1.01 * least


def test_a_value_that_overflows_on_any_image_is_named() -> None:
    """Not on the first one alone: Python's own min() forgets a NaN that comes later."""
    graph = Graph((2, 1, 1), (ops.Node("conv", ops.conv2d((2, 1, 1), 1, kernel=1), ("input",)),))
    weights = {"conv.weight": np.array([3e38, -3e38], np.float32).reshape(1, 2, 1, 1)}
    images = np.array([0.1, 5.0, 0.1], np.float32).reshape(3, 1, 1, 1).repeat(2, axis=1)
    with pytest.raises(ExportError, match="'conv' is not finite"):
        calibrate(graph, weights, images, Calibration(method="min_max"))


@pytest.mark.parametrize("n_images", [1, 3])
@pytest.mark.parametrize("last", ["relu6", "h_swish"])
def test_values_that_follow_from_another_are_what_they_are(n_images: int, last: str) -> None:
    """Shuffles and clipped values, before as after one another, and at the end."""
    shape = (8, 5, 5)
    nodes = (
        ops.Node("first", ops.channel_shuffle(shape, 2), ("input",)),
        ops.Node("conv", ops.conv2d(shape, 8, kernel=3), ("first",)),
        ops.Node("relu", ops.activation(shape, "relu"), ("conv",)),
        ops.Node("mixed", ops.channel_shuffle(shape, 4), ("relu",)),
        ops.Node("swish", ops.activation(shape, "h_swish"), ("mixed",)),
        ops.Node("six", ops.activation(shape, "relu6"), ("swish",)),
        ops.Node("linear", ops.linear(shape, 1500), ("six",)),
        ops.Node("last", ops.activation((1500,), last), ("linear",)),
    )
    graph = Graph(shape, nodes)
    weights = random_weights(graph)
    images = np.random.default_rng(0).normal(size=(n_images, *shape)).astype(np.float32) * 3
    found = calibrate(graph, weights, images, Calibration())
    assert np.isfinite(list(found.sqnr_db.values())).all()
    plain = calibrate(graph, weights, images, Calibration(method="min_max")).ranges
    values = values_of(graph, weights, images)
    assert list(plain) == ["input", *(node.name for node in nodes)]
    for name, span in plain.items():
        wanted = (float(values[name].min()), float(values[name].max()))
        assert span == pytest.approx(wanted, rel=1e-4, abs=1e-5), name


def test_large_values_are_sampled_and_ends_and_logits_are_whole(
    request_small: ExportRequest, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, weights = request_small.graph, request_small.weights
    usual, best = Calibration(method="min_max"), Calibration()
    whole = [calibrate(graph, weights, images, one) for one in (usual, best)]
    monkeypatch.setattr(observation, "_SAMPLED", 4)
    few = [calibrate(graph, weights, images, one) for one in (usual, best)]
    assert few[0].ranges == whole[0].ranges
    assert few[1].sqnr_db["min_max"] == whole[1].sqnr_db["min_max"]
    assert few[1].sqnr_db["percentile_99.9"] != whole[1].sqnr_db["percentile_99.9"]


def test_threads_change_nothing(
    request_small: ExportRequest, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = calibrate(request_small.graph, request_small.weights, images, Calibration())
    monkeypatch.setattr(module, "_MOST_WORKERS", 1)
    assert several == calibrate(request_small.graph, request_small.weights, images, Calibration())


def test_targets_that_ask_alike_find_ranges_once(
    request_small: ExportRequest, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    def counted(*args: Any) -> Calibrated:
        runs.append(len(args[2]))
        return calibrate(*args)

    monkeypatch.setattr(base, "calibrate", counted)
    request = replace(request_small)
    first, second = (get(t, "int8").with_calibration(request) for t in ("onnx", "tflite"))
    assert first.calibrated is second.calibrated
    assert runs == [32]
    other = replace(first, calibration_images=images[:5])
    again = get("onnx", "int8").with_calibration(other).calibrated
    assert again is not None
    assert again.n_images == 5
    assert runs == [32, 5]


def test_reference_and_lowering_agree(request_small: ExportRequest, images: np.ndarray) -> None:
    """The comparison above means something: both run the same network."""
    logits = evaluate(request_small.graph, request_small.weights, images)
    last = request_small.graph.nodes[-1].name
    values = values_of(request_small.graph, request_small.weights, images)
    np.testing.assert_allclose(values[last], logits)
    assert lower(request_small.graph, request_small.weights)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_manifests_tell_how_ranges_were_found(
    request_small: ExportRequest, tmp_path: Path, precision: str
) -> None:
    exporter = get("onnx", precision)
    request = exporter.with_calibration(request_small)
    artifact = exporter.export(request, tmp_path / "model.onnx")
    again = exporter.export(request_small, tmp_path / "again.onnx")
    assert artifact.sha256 == again.sha256
    source = Source(run="r", architecture_id="0", space="s", genes=(), config={}, data="d")
    found = make_manifest(exporter, request, artifact, checks=[], source=source).calibration
    if precision == "float32":
        assert found is None
        return
    assert found is not None
    assert found.method in METHODS
    assert set(found.sqnr_db) == set(METHODS)
    assert found.n_images == 32
