"""A graph as an ExecuTorch program: exported by torch, lowered to XNNPACK as far as that goes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError, MissingExtraError
from edgenas.core.extras import require
from edgenas.core.ops import Graph
from edgenas.lowering.plan import check, deployed
from edgenas.lowering.weights import Weights
from edgenas_executorch.quiet import quiet

if TYPE_CHECKING:
    from torch import Tensor, nn

PRECISIONS = ("float32", "int8")
_N_NOISE = 4  # images that stand for those of the data where only times matter


def lower(
    graph: Graph,
    weights: Weights,
    *,
    precision: str = "float32",
    images: npt.NDArray[np.float32] | None = None,
) -> bytes:
    """Return a program with one method, ``forward``, from one image to its logits.

    Args:
        graph: primitives with one input.
        weights: float32, batch norms folded.
        precision: one of `PRECISIONS`.
        images: on which int8 looks at the least and greatest values; noise where none are given.

    Raises:
        ExportError: weights that do not fit, or torch or ExecuTorch cannot express the network.
        MissingExtraError: torch or executorch is not installed.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} asked; allowed: {', '.join(PRECISIONS)}")
    graph = deployed(graph)
    check(graph, weights)
    torch = require("torch")
    from edgenas_executorch.network import Network

    if images is None:
        noise = np.random.default_rng(0).normal(size=(_N_NOISE, *graph.in_shape))
        images = noise.astype(np.float32)
    if images.shape[1:] != graph.in_shape or not len(images):
        raise ExportError(
            f"calibration images have shape {images.shape}; the network takes at least one of "
            f"{graph.in_shape}"
        )
    inputs = torch.from_numpy(np.array(images, np.float32))
    network: nn.Module = Network(graph, weights).eval()
    try:
        with torch.no_grad(), quiet():
            if precision == "int8":
                network = _quantised(network, inputs)
            return _program(network, inputs[:1])
    except MissingExtraError:
        raise
    except Exception as error:  # what the compilers raise shares no class
        raise ExportError(f"ExecuTorch cannot lower the network: {error!r:.500}") from error


def _program(network: nn.Module, example: Tensor) -> bytes:
    torch, exir = require("torch"), require("executorch.exir")
    partition = require("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    exported = torch.export.export(network, (example,), strict=True)
    # ExecuTorch would take h_sigmoid apart with integers, whose conversion XNNPACK does not take.
    exported = exported.run_decompositions({torch.ops.aten.hardsigmoid.default: _h_sigmoid})
    edge = exir.to_edge_transform_and_lower(exported, partitioner=[partition.XnnpackPartitioner()])
    return bytes(edge.to_executorch().buffer)


def _h_sigmoid(values: Tensor) -> Tensor:
    return (values + 3.0).clamp(0.0, 6.0) / 6.0


def _quantised(network: nn.Module, images: Tensor) -> nn.Module:
    """Return the network with codes around what XNNPACK has integer kernels for."""
    torch = require("torch")
    pt2e = require("torchao.quantization.pt2e.quantize_pt2e")
    xnnpack = require("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    quantizer = xnnpack.XNNPACKQuantizer().set_global(_config(xnnpack))
    exported = torch.export.export(network, (images[:1],), strict=True).module()
    prepared = pt2e.prepare_pt2e(exported, quantizer)
    for i in range(len(images)):
        prepared(images[i : i + 1])
    converted: nn.Module = pt2e.convert_pt2e(prepared)
    return converted


def _config(xnnpack: Any) -> Any:
    """Return XNNPACK's own scheme; the ranges of values are the least and greatest seen.

    Its default is a histogram, which takes a minute for the images of one network.
    """
    observer = require("torchao.quantization.pt2e").MinMaxObserver.with_args(eps=2**-12)
    config = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
    values = replace(config.input_activation, observer_or_fake_quant_ctr=observer)
    return replace(config, input_activation=values, output_activation=values)
