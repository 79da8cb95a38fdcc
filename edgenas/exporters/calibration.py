"""Ranges for 8-bit models: what every value of a network is on images of the user's own data.

A range follows from what was seen of a value (`observe`) by one of several methods (`METHODS`).
Which of them suits a network is not known beforehand: a clipped peak costs one network most of its
signal, and another gains from the finer step. ``best`` tries them all and takes the ranges whose
8-bit logits are nearest to the float32 ones.

Images, values and methods are shared out to threads, each of which runs a network on one core.
What is found does not depend on their number.

onnxruntime's own calibrators are not used: they need a pass for each method, and keep all values
of all images of a pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgenas.core.cores import n_usable_cores
from edgenas.core.errors import ExportError
from edgenas.core.ops import Graph, out_shape
from edgenas.core.schema import StrictModel
from edgenas.exporters.observation import INPUT, OUTPUT, Images, observe, one_core_session
from edgenas.exporters.ranges import METHODS, Range
from edgenas.lowering.onnx import lower
from edgenas.lowering.weights import Weights

Ranges = dict[str, Range]

_N_JUDGED = 64  # images on which ``best`` compares the methods
_USUAL, _MARGIN_DB = "min_max", 1.0  # ``best`` leaves the first for what is so much better
_MOST_WORKERS, _MOST_BYTES = 8, 2**30  # each holds all values of an image, some hundred MiB


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
    names = METHODS if settings.method == "best" else [settings.method]
    judged = images[:_N_JUDGED]
    with ThreadPoolExecutor(_n_workers(graph), "edgenas-calibration") as pool:
        seen, logits = observe(graph, weights, images, pool)
        every = {
            name: dict(zip(seen, pool.map(METHODS[name], seen.values()), strict=True))
            for name in names
        }
        if settings.method != "best":
            return Calibrated(every[settings.method], settings.method, len(images), {})
        answers = pool.map(lambda one: _logits(graph, weights, judged, one), every.values())
        sqnr_db = {
            name: sqnr(logits[: len(judged)], found)
            for name, found in zip(every, answers, strict=True)
        }
    best = max(sqnr_db, key=lambda name: sqnr_db[name] + (_MARGIN_DB if name == _USUAL else 0))
    return Calibrated(every[best], best, len(images), sqnr_db)


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


def _n_workers(graph: Graph) -> int:
    """Return how many threads run the network at once, by cores and by what its values take."""
    n_bytes = 4 * sum(prod(out_shape(node.op)) for node in graph.nodes)
    return max(1, min(_MOST_WORKERS, n_usable_cores(), _MOST_BYTES // n_bytes))


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


def _logits(
    graph: Graph, weights: Weights, images: Images, ranges: Ranges
) -> npt.NDArray[np.float32]:
    """Return the logits of the 8-bit network for images, shape (n, n_classes)."""
    content = lower(
        graph,
        weights,
        precision="int8",
        ranges=ranges,
        input_name=INPUT,
        output_name=OUTPUT,
    )
    session = one_core_session(content)
    rows = [session.run([OUTPUT], {INPUT: image[np.newaxis]})[0][0] for image in images]
    return np.stack(rows)
