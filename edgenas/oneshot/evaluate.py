"""Batch norm recalibration, logits and accuracy of single networks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgenas.core.errors import TrainingError
from edgenas.lowering.torch import GraphModule, folded
from edgenas.oneshot.calibration import batch_starts, measure_statistics
from edgenas.oneshot.data.base import ImageDataset, Part
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.data.loading import load_batches, plain_requests

EVALUATION_BATCH = 64
"""Images at once: activations of larger batches leave the cache of a CPU core."""


def network_inputs(
    module: GraphModule, dataset: ImageDataset, images: npt.NDArray[np.uint8]
) -> Tensor:
    """Return images as `module` takes them, without augmentation."""
    return network_input(torch.from_numpy(images), dataset.mean, dataset.std, input_size(module))


def part_inputs(module: GraphModule, dataset: ImageDataset, part: Part) -> Tensor:
    """Return all images of `part` as `module` takes them, without augmentation."""
    size = input_size(module)
    requests = plain_requests(len(part), size, EVALUATION_BATCH)
    batches = load_batches(dataset, part, requests, augment=False)
    return torch.cat(
        [network_input(images, dataset.mean, dataset.std, size) for images, _ in batches]
    )


def input_size(module: GraphModule) -> tuple[int, int]:
    """Return the height and width of what `module` takes."""
    _, height, width = module.graph.in_shape
    return height, width


def calibration_images(
    dataset: ImageDataset, *, n_images: int = 512, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Return a fixed random subset of the training images, all at once.

    Of images in files use `edgenas.oneshot.calibration.calibration_of`, which takes them in
    batches, in the size of each network; here they come in the size that the data set names.
    """
    order = np.random.default_rng(seed).permutation(len(dataset.train))
    return dataset.train.batch(np.sort(order[:n_images]), dataset.train.shape[1:])


def recalibrate(
    module: GraphModule, inputs: Tensor, *, batch_size: int = EVALUATION_BATCH
) -> GraphModule:
    """Measure the batch norm statistics of `module` anew, in place, and return it.

    Means and variances are averaged over whole batches of `inputs` (network inputs); a
    last batch of fewer images joins the one before it. The module is left in evaluation mode.
    """
    starts = batch_starts(len(inputs), batch_size)
    stops = [*starts[1:], len(inputs)]
    batches = (inputs[start:stop] for start, stop in zip(starts, stops, strict=True))
    return measure_statistics(module, batches)


def logits(module: GraphModule, inputs: Tensor, *, batch_size: int = EVALUATION_BATCH) -> Tensor:
    """Return the outputs of `module` for network inputs, in evaluation mode."""
    module.eval()
    device = next(module.parameters()).device
    with torch.inference_mode():
        starts = range(0, len(inputs), batch_size)
        batches = (inputs[start : start + batch_size].to(device) for start in starts)
        return torch.cat([module(batch) for batch in batches])


def accuracy(module: GraphModule, dataset: ImageDataset, part: Part) -> float:
    """Return the fraction of `part` that `module` classifies as labelled.

    Batch norms are folded for it, as in an exported file. One batch at a time is in memory.

    Raises:
        TrainingError: an output is not finite.
    """
    plain = folded(module).to(next(module.parameters()).device)
    size = input_size(module)
    requests = plain_requests(len(part), size, EVALUATION_BATCH)
    correct = 0
    for images, labels in load_batches(dataset, part, requests, augment=False):
        inputs = network_input(images, dataset.mean, dataset.std, size)
        outputs = logits(plain, inputs)
        if not bool(torch.isfinite(outputs).all()):
            raise TrainingError("the network's outputs are not finite; train it again")
        correct += int((outputs.argmax(1).cpu() == labels).sum())
    return correct / len(part)


def test_accuracy(module: GraphModule, dataset: ImageDataset) -> float:
    """Return the accuracy on the test part, which is opened for it (see `ImageDataset`)."""
    return accuracy(module, dataset, dataset.open_test())
