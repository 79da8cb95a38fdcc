"""What every value of a float32 network is on images: its ends, and samples of it.

The network is run by onnxruntime with its values as outputs. Of each value the least and the
greatest are kept, and samples at random places of every image. Values that follow from another one
number by number are not read: to hand one out costs about as much as to compute it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.core.ops import Graph, OpSpec
from edgenas.exporters.ranges import Seen
from edgenas.lowering.onnx import lower
from edgenas.lowering.onnx_session import one_core_options
from edgenas.lowering.plan import deployed
from edgenas.lowering.quantisation import ACTIVATIONS
from edgenas.lowering.weights import Weights

Images = npt.NDArray[np.float32]
_Part = tuple[float, float, npt.NDArray[np.float32]]
"""Of one value on one image: the least, the greatest, and samples in no order."""

INPUT, OUTPUT = "edgenas.input", "edgenas.output"
_SAMPLED = 1024  # of every value of every image
_EXACT = ("relu", "relu6")  # greater numbers never become smaller ones, and nothing is rounded


def observe(
    graph: Graph, weights: Weights, images: Images, pool: Executor
) -> tuple[dict[str, Seen], npt.NDArray[np.float32]]:
    """Return what was seen of ``"input"`` and each node's value, and the logits.

    Args:
        graph: primitives with one input.
        weights: with batch norms folded.
        images: normalised, shape (n, channels, height, width).
        pool: threads, each of which runs the network on one core.

    Returns:
        What was seen, by name, in the graph's order, and logits of shape (n, n_classes).

    Raises:
        ExportError: a value is not finite.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    session, outputs = _telling_session(graph, weights)
    wanted = list(outputs.values())

    def run(place: int) -> tuple[list[_Part], npt.NDArray[np.float32]]:
        image = images[place]
        # The same places in all values of one size, others in each image, whoever runs it.
        draws = np.random.default_rng((0, place)).random(_SAMPLED)
        values = session.run(wanted, {INPUT: image[np.newaxis]})
        return [_part(value, draws) for value in (image, *values)], values[-1][0]

    by_image, logits = zip(*pool.map(run, range(len(images))), strict=True)
    joined = pool.map(_joined, zip(*by_image, strict=True))
    seen = _with_followers(graph, dict(zip(("input", *outputs), joined, strict=True)))
    wrong = [name for name, one in seen.items() if not np.isfinite([one.least, one.greatest]).all()]
    if wrong:
        raise ExportError(
            f"calibration: {wrong[0]!r} is not finite on the images given ({len(wrong)} such "
            "values): the weights or the images hold NaN or overflow"
        )
    return seen, np.stack(logits)


def one_core_session(content: bytes) -> Any:
    """Return a model as a session of onnxruntime whose runs take the calling thread alone."""
    providers = ["CPUExecutionProvider"]
    return require("onnxruntime").InferenceSession(content, one_core_options(), providers=providers)


def _telling_session(graph: Graph, weights: Weights) -> tuple[Any, dict[str, str]]:
    """Return the network as a session that hands values out, and their names there, by node.

    The logits come last.
    """
    onnx, helper = require("onnx"), require("onnx.helper")
    model = onnx.load_from_string(lower(graph, weights, input_name=INPUT, output_name=OUTPUT))
    *inner, last = deployed(graph).nodes
    names = {node.name: node.name for node in inner if _follows(node.op) is None}
    model.graph.output.extend(map(helper.make_empty_tensor_value_info, names))
    return one_core_session(model.SerializeToString()), {**names, last.name: OUTPUT}


def _follows(op: OpSpec) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None:
    """Return what an operator makes of each number if that alone tells all there is to see.

    It keeps the order of numbers and is exact. None for other operators.
    """
    if op.kind == "channel_shuffle":
        return np.asarray
    if op.kind == "activation" and op["function"] in _EXACT:
        return ACTIVATIONS[str(op["function"])]
    return None


def _with_followers(graph: Graph, seen: dict[str, Seen]) -> dict[str, Seen]:
    """Return what was seen, with what follows from it put in its place."""
    found = {"input": seen["input"]}
    for node in graph.nodes:
        follow = _follows(node.op)
        if node.name in seen or follow is None:
            found[node.name] = seen[node.name]
            continue
        source = found[node.inputs[0]]
        ends = follow(np.array([source.least, source.greatest]))
        found[node.name] = Seen(float(ends[0]), float(ends[1]), follow(source.samples))
    return found


def _part(value: npt.NDArray[np.float32], draws: npt.NDArray[np.float64]) -> _Part:
    """Return the ends of one image's value and samples at random places."""
    flat = value.reshape(-1)
    few = flat.copy() if flat.size <= len(draws) else flat[(draws * flat.size).astype(np.intp)]
    return float(flat.min()), float(flat.max()), few


def _joined(parts: tuple[_Part, ...]) -> Seen:
    """Return what was seen of a value on all images; its ends are NaN if one image's are."""
    least, greatest, few = zip(*parts, strict=True)
    samples = np.concatenate(few)
    samples.sort()
    return Seen(float(np.min(least)), float(np.max(greatest)), samples)
