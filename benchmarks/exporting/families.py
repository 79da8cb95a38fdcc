"""One network of every family of the zoo, trained for a moment on Fashion-MNIST.

Rounding is judged on networks that have learned something: those of random weights pass the error
of one layer on to the next, a few times greater, as trained ones do not.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgenas import spaces
from edgenas.exporters import ExportRequest
from edgenas.lowering.torch import GraphModule, folded, folded_weights
from edgenas.oneshot.data.fashion_mnist import read_fashion_mnist
from edgenas.oneshot.evaluate import logits, recalibrate

N_REFERENCE, N_CALIBRATION, N_TEST = 64, 256, 256
N_STEPS, BATCH_SIZE, LR = 250, 32, 0.1
_MEAN, _STD = 0.286, 0.353
_GREATEST_TILE_PX = 60
_FIRST_SHARE = 0.2


def families() -> tuple[str, ...]:
    """Return the names of all spaces of the zoo."""
    return tuple(spaces.SPACES.names())


def module_of(name: str, *, seed: int = 0, n_steps: int = N_STEPS) -> GraphModule:
    """Return a random network of a space, trained for `n_steps` steps.

    Great ones are trained on single tiles of what they read (`images`), which takes a sixteenth.
    """
    space = spaces.get(name)
    (row,) = space.sample(1, np.random.default_rng(seed))
    module = GraphModule(space.network(row), seed=seed)
    with torch.no_grad():
        for norm in module.norms():  # a branch that begins switched off would hardly take part
            norm.weight[norm.weight == 0] = _FIRST_SHARE
    _train(module, n_steps, torch.Generator().manual_seed(seed))
    recalibrate(module, images(module, "train", slice(0, N_CALIBRATION))[0])
    return module.eval()


def images(module: GraphModule, part: str, which: slice | Tensor) -> tuple[Tensor, Tensor]:
    """Return images as the network reads them, (n, channels, height, width), and labels, (n,).

    Great inputs are one picture many times over, side by side: features stay of the size of those
    that the network was trained on.
    """
    pixels, labels = _dataset()[part]
    n_tiles, _ = _tiles(module)
    return _tile(module, pixels[which]).repeat(1, 1, n_tiles, n_tiles), labels[which]


def request_of(module: GraphModule) -> ExportRequest:
    """Return what exporters are given, test part and all."""
    channels = module.graph.in_shape[0]
    (n_classes,) = module.graph.out_shape
    plain = folded(module)
    reference, _ = images(module, "test", slice(0, N_REFERENCE))
    test, labels = images(module, "test", slice(N_REFERENCE, N_REFERENCE + N_TEST))
    right = logits(plain, test).argmax(dim=1) == labels
    return ExportRequest(
        graph=module.graph,
        weights=folded_weights(module),
        mean=(_MEAN,) * channels,
        std=(_STD,) * channels,
        class_names=tuple(map(str, range(n_classes))),
        reference_inputs=reference.numpy(),
        reference_logits=logits(plain, reference).numpy(),
        test_images=test.numpy(),
        test_labels=labels.numpy(),
        test_accuracy=float(right.float().mean()),
        calibration_images=images(module, "train", slice(0, N_CALIBRATION))[0].numpy(),
    )


def _train(module: GraphModule, n_steps: int, generator: torch.Generator) -> None:
    pixels, labels = _dataset()["train"]
    optimiser = torch.optim.SGD(module.parameters(), lr=LR, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=max(n_steps, 2))
    module.to(memory_format=torch.channels_last).train()
    for _ in range(n_steps):
        which = torch.randint(len(labels), (BATCH_SIZE,), generator=generator)
        loss = functional.cross_entropy(module(_tile(module, pixels[which])), labels[which])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _tiles(module: GraphModule) -> tuple[int, int]:
    """Return how many tiles fill a side of the network's input, and the side of a tile."""
    _, height, _ = module.graph.in_shape
    n_tiles = 1 if height <= _GREATEST_TILE_PX else 4
    return n_tiles, height // n_tiles


def _tile(module: GraphModule, pixels: Tensor) -> Tensor:
    """Return the pictures normalised, of the size of a tile, in each channel."""
    _, side = _tiles(module)
    scaled = (pixels.float() / 255 - _MEAN) / _STD
    larger = functional.interpolate(scaled, (side, side), mode="bilinear", align_corners=False)
    return larger.repeat(1, module.graph.in_shape[0], 1, 1)


@cache
def _dataset() -> dict[str, tuple[Tensor, Tensor]]:
    parts = read_fashion_mnist().parts
    return {
        name: (torch.from_numpy(part.images), torch.from_numpy(part.labels))
        for name, part in parts.items()
    }
