"""Batch norm recalibration, logits and accuracy of single networks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgenas.core.errors import TrainingError
from edgenas.lowering.torch import NORM_MOMENTUM, GraphModule, folded
from edgenas.oneshot.data.base import ImageDataset, Part
from edgenas.oneshot.data.batches import network_input

EVALUATION_BATCH = 64
"""Images at once: activations of larger batches leave the cache of a CPU core."""


def network_inputs(
    module: GraphModule, dataset: ImageDataset, images: npt.NDArray[np.uint8]
) -> Tensor:
    """Return stored images as `module` takes them, without augmentation."""
    _, height, width = module.graph.in_shape
    return network_input(torch.from_numpy(images), dataset.mean, dataset.std, (height, width))


def calibration_images(
    dataset: ImageDataset, *, n_images: int = 512, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Return a fixed random subset of the training images."""
    order = np.random.default_rng(seed).permutation(len(dataset.train))
    return dataset.train.images[np.sort(order[:n_images])]


def recalibrate(
    module: GraphModule, inputs: Tensor, *, batch_size: int = EVALUATION_BATCH
) -> GraphModule:
    """Measure the batch norm statistics of `module` anew, in place, and return it.

    Means and variances are averaged over whole batches of `inputs` (network inputs); a
    last batch of fewer images joins the one before it. The module is left in evaluation mode.
    """
    n_batches = max(1, len(inputs) // batch_size)
    sums: dict[str, Tensor] = {}
    module.train()
    buffers = {
        name: value
        for name, value in module.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    }
    with torch.no_grad():
        for i in range(n_batches):
            stop = len(inputs) if i == n_batches - 1 else (i + 1) * batch_size
            for value in buffers.values():
                value.zero_()
            module(inputs[i * batch_size : stop])
            # From zero, one update leaves momentum times the batch's statistic.
            for name, value in buffers.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
        for name, value in buffers.items():
            value.copy_(sums[name] / (n_batches * NORM_MOMENTUM))
    module.eval()
    return module


def logits(module: GraphModule, inputs: Tensor, *, batch_size: int = EVALUATION_BATCH) -> Tensor:
    """Return the outputs of `module` for network inputs, in evaluation mode."""
    module.eval()
    with torch.inference_mode():
        starts = range(0, len(inputs), batch_size)
        return torch.cat([module(inputs[start : start + batch_size]) for start in starts])


def accuracy(module: GraphModule, dataset: ImageDataset, part: Part) -> float:
    """Return the fraction of `part` that `module` classifies as labelled.

    Batch norms are folded for it, as in an exported file.

    Raises:
        TrainingError: an output is not finite.
    """
    plain = folded(module)
    correct = 0
    for start in range(0, len(part), EVALUATION_BATCH):
        stop = start + EVALUATION_BATCH
        inputs = network_inputs(module, dataset, part.images[start:stop])
        outputs = logits(plain, inputs)
        if not bool(torch.isfinite(outputs).all()):
            raise TrainingError("the network's outputs are not finite; train it again")
        correct += int((outputs.argmax(1).numpy() == part.labels[start:stop]).sum())
    return correct / len(part)


def test_accuracy(module: GraphModule, dataset: ImageDataset) -> float:
    """Return the accuracy on the test part, which is opened for it (see `ImageDataset`)."""
    return accuracy(module, dataset, dataset.open_test())
