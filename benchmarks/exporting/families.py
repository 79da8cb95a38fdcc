"""One network of every family of the zoo, with batch norms that have seen images."""

from __future__ import annotations

import numpy as np
import torch

from edgenas import spaces
from edgenas.exporters import ExportRequest
from edgenas.lowering.torch import GraphModule, folded, folded_weights
from edgenas.oneshot.evaluate import logits, recalibrate

N_REFERENCE, N_CALIBRATION, N_STATISTICS = 16, 64, 64


def families() -> tuple[str, ...]:
    """Return the names of all spaces of the zoo."""
    return tuple(spaces.SPACES.names())


def module_of(name: str, *, seed: int = 0) -> GraphModule:
    """Return a random network of a space.

    Weights are those of the beginning of a training, batch norm statistics are measured, and the
    last layer is scaled to logits of a spread of 1: rounding meets values of the usual sizes.
    """
    space = spaces.get(name)
    (row,) = space.sample(1, np.random.default_rng(seed))
    module = GraphModule(space.network(row), seed=seed)
    with torch.no_grad():
        for norm in module.norms():  # also those that begin with a branch that is off
            norm.weight.fill_(1.0)
    given = images(module, N_STATISTICS, seed=seed)
    recalibrate(module, given)
    last = _classifier(module)
    with torch.no_grad():
        last.mul_(1 / float(logits(module, given).std()))
    return module.eval()


def images(module: GraphModule, n: int, *, seed: int) -> torch.Tensor:
    """Return smooth random images, normalised, shape (n, channels, height, width).

    Noise of single pixels would average out in every pool, unlike photographs.
    """
    channels, height, width = module.graph.in_shape
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, channels, max(2, height // 8), max(2, width // 8), generator=generator)
    size = (height, width)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
    fine = torch.randn(n, channels, height, width, generator=generator)
    return smooth + 0.3 * fine


def request_of(module: GraphModule, *, seed: int = 1) -> ExportRequest:
    """Return what exporters are given.

    There is no test part: the classes of random networks are near ties, and say nothing.
    """
    given = images(module, N_REFERENCE, seed=seed)
    answers = logits(folded(module), given).numpy()
    channels = module.graph.in_shape[0]
    (n_classes,) = module.graph.out_shape
    return ExportRequest(
        graph=module.graph,
        weights=folded_weights(module),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        class_names=tuple(map(str, range(n_classes))),
        reference_inputs=given.numpy(),
        reference_logits=answers,
        calibration_images=images(module, N_CALIBRATION, seed=seed + 1).numpy(),
    )


def _classifier(module: GraphModule) -> torch.nn.Parameter:
    nodes = [node for node in module.graph.nodes if node.op.kind in ("linear", "conv2d")]
    return module.get_parameter(f"{nodes[-1].name}.weight")
