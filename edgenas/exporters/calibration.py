"""Ranges for 8-bit models: what every value of a network is on images of the user's own data.

The float32 network is run by onnxruntime with all values as outputs. Of each value the least and
the greatest are kept, and a sample of it from every image, from which a range follows by one of
several methods (`METHODS`). Which of them suits a network is not known beforehand: a clipped peak
costs one network most of its signal, and another gains from the finer step. ``best`` tries them
all and takes the ranges whose 8-bit logits are nearest to the float32 ones.

onnxruntime's own calibrators are not used: they need a pass for each method, and keep all values
of all images of a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.core.ops import Graph
from edgenas.core.schema import StrictModel
from edgenas.lowering.onnx import lower
from edgenas.lowering.plan import deployed
from edgenas.lowering.quantisation import Scale
from edgenas.lowering.weights import Weights

Images = npt.NDArray[np.float32]
Ranges = dict[str, tuple[float, float]]

_SAMPLED = 1024  # of every value of every image
_N_JUDGED = 64  # images on which ``best`` compares the methods
_SHARES = np.linspace(1.0, 0.2, 33)  # of the whole range, for ``mse``
_USUAL, _MARGIN_DB = "min_max", 1.0  # ``best`` leaves the first for what is so much better
_INPUT, _OUTPUT = "edgenas.input", "edgenas.output"


class Calibration(StrictModel):
    """How ranges are found.

    `n_images` are taken from the training images, in an order shuffled once and for all.
    """

    method: Literal["best", "min_max", "mse", "percentile_99.99", "percentile_99.9"] = "best"
    n_images: int = Field(default=256, ge=1)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What calibration found.

    Attributes:
        ranges: the least and the greatest of ``"input"`` and of each node's value.
        method: the one that was taken.
        n_images: on which they were seen.
        sqnr_db: of the logits, by method that was tried; empty where there was no choice.
    """

    ranges: Ranges
    method: str
    n_images: int
    sqnr_db: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """One value on all images: its least and greatest, and samples of it, shape (n,)."""

    least: float
    greatest: float
    samples: npt.NDArray[np.float32]


def calibrate(graph: Graph, weights: Weights, images: Images, settings: Calibration) -> Calibrated:
    """Return ranges of all values of a network on images.

    Args:
        graph: primitives with one input.
        weights: with batch norms folded.
        images: normalised, shape (n, channels, height, width).
        settings: how many of them are used, and how.

    Raises:
        ExportError: there are no images, or not of the network's shape, or a value is not finite.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    _check(graph, images)
    images = images[: settings.n_images]
    seen, logits = _observed(graph, weights, images)
    wrong = [name for name, one in seen.items() if not np.isfinite([one.least, one.greatest]).all()]
    if wrong:
        raise ExportError(
            f"calibration: {wrong[0]!r} is not finite on the images given ({len(wrong)} such "
            "values): the weights or the images hold NaN or overflow"
        )
    n = len(images)
    if settings.method != "best":
        found = METHODS[settings.method]
        return Calibrated(_ranges(seen, found), settings.method, n, {})
    every = {name: _ranges(seen, method) for name, method in METHODS.items()}
    judged = images[:_N_JUDGED]
    sqnr_db = {
        name: sqnr(logits[: len(judged)], _logits(graph, weights, judged, ranges))
        for name, ranges in every.items()
    }
    best = max(sqnr_db, key=lambda name: sqnr_db[name] + (_MARGIN_DB if name == _USUAL else 0))
    return Calibrated(every[best], best, n, sqnr_db)


def sqnr(reference: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    """Return the ratio of signal and quantisation noise of logits, shape (n, n_classes), in dB.

    Each image's logits less their mean: what all classes have in common decides nothing.
    Infinite where they are equal, NaN where one is not finite.
    """
    signal, noise = (
        float(np.square(values - values.mean(axis=1, keepdims=True)).sum())
        for values in (reference.astype(np.float64), found.astype(np.float64) - reference)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.divide(signal, noise)))


# -- methods ---------------------------------------------------------------------------------


def _min_max(one: Seen) -> tuple[float, float]:
    return one.least, one.greatest


def _percentile(one: Seen, share: float) -> tuple[float, float]:
    low, high = np.percentile(one.samples, [100 - share, share])
    return float(low), float(high)


def _mse(one: Seen) -> tuple[float, float]:
    """Return the part of the whole range whose codes are nearest to the samples, squared."""
    spans = [(share * one.least, share * one.greatest) for share in _SHARES]
    return min(spans, key=lambda span: _error(one.samples, span))


def _error(samples: npt.NDArray[np.float32], span: tuple[float, float]) -> float:
    scale = Scale.of(span, signed=False)
    codes = np.clip(np.rint(samples / scale.step) + scale.zero_point, scale.low, scale.high)
    return float(np.square((codes - scale.zero_point) * scale.step - samples).mean())


METHODS: Mapping[str, Callable[[Seen], tuple[float, float]]] = {
    "min_max": _min_max,
    "mse": _mse,
    "percentile_99.99": lambda one: _percentile(one, 99.99),
    "percentile_99.9": lambda one: _percentile(one, 99.9),
}
"""By name, what makes a range of what was seen of a value."""


def _ranges(seen: Mapping[str, Seen], method: Callable[[Seen], tuple[float, float]]) -> Ranges:
    return {name: method(one) for name, one in seen.items()}


# -- runs ------------------------------------------------------------------------------------


def _check(graph: Graph, images: Images) -> None:
    if images.ndim != 4 or images.shape[1:] != graph.in_shape:
        raise ExportError(
            f"calibration images have shape {images.shape}; "
            f"the network takes (n, *{graph.in_shape})"
        )
    if not len(images):
        raise ExportError(
            "there are no calibration images; int8 needs real ones, a hundred or more"
        )
    if not np.isfinite(images).all():
        raise ExportError("calibration images hold NaN or infinite values")


def _observed(
    graph: Graph, weights: Weights, images: Images
) -> tuple[dict[str, Seen], npt.NDArray[np.float32]]:
    """Return what was seen of every value, and the logits, shape (n, n_classes)."""
    onnx, helper = require("onnx"), require("onnx.helper")
    model = onnx.load_from_string(lower(graph, weights, input_name=_INPUT, output_name=_OUTPUT))
    names = {node.name: node.name for node in deployed(graph).nodes}
    names[graph.nodes[-1].name] = _OUTPUT
    for name in names.values():
        if name != _OUTPUT:
            model.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = _session(model.SerializeToString())
    wanted = list(names.values())
    found: dict[str, list[npt.NDArray[np.float32]]] = {ours: [] for ours in ("input", *names)}
    extremes: dict[str, list[tuple[float, float]]] = {ours: [] for ours in found}
    rng = np.random.default_rng(0)
    for image in images:
        values = session.run(wanted, {_INPUT: image[np.newaxis]})
        for ours, value in zip(found, (image, *values), strict=True):
            flat = value.reshape(-1)
            extremes[ours].append((float(flat.min()), float(flat.max())))
            picked = flat if flat.size <= _SAMPLED else flat[rng.integers(0, flat.size, _SAMPLED)]
            found[ours].append(picked.copy())
    seen = {
        ours: Seen(
            min(low for low, _ in extremes[ours]),
            max(high for _, high in extremes[ours]),
            np.concatenate(samples),
        )
        for ours, samples in found.items()
    }
    return seen, np.stack(found[graph.nodes[-1].name])


def _logits(
    graph: Graph, weights: Weights, images: Images, ranges: Ranges
) -> npt.NDArray[np.float32]:
    """Return the logits of the 8-bit network for images, shape (n, n_classes)."""
    content = lower(
        graph,
        weights,
        precision="int8",
        ranges=ranges,
        input_name=_INPUT,
        output_name=_OUTPUT,
    )
    session = _session(content)
    rows = [session.run([_OUTPUT], {_INPUT: image[np.newaxis]})[0][0] for image in images]
    return np.stack(rows)


def _session(content: bytes) -> Any:
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
