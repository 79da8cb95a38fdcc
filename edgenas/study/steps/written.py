"""A trained network of the run as a file in the job's precision, and what that file gets right."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError
from edgenas.exporters import EXPORTERS, Exporter, ExportRequest
from edgenas.exporters import get as get_exporter
from edgenas.exporters.base import Images
from edgenas.exporters.trial import try_file
from edgenas.oneshot.data.base import Part
from edgenas.runtimes import RUNTIMES
from edgenas.study.context import Run

if TYPE_CHECKING:
    from edgenas.lowering.torch import GraphModule

MOST_BYTES = 2**30
"""Inputs on which a file's accuracy is taken; of more a random share."""
_ANSWERED = "images"


def own_exporter(run: Run) -> Exporter:
    """Return what writes files for the job's own runtime, a target of the job if one does.

    Raises:
        ExportError: no exporter writes what the runtime runs.
    """
    wanted = RUNTIMES.get(run.job.device.runtime).format
    for target, exporter in run.exporters.items():
        if run.runtime_of(target) == run.job.device.runtime:
            return exporter
    if wanted in EXPORTERS.names():
        return get_exporter(wanted, run.job.device.precision)
    raise ExportError(f"no exporter writes {wanted} files, which {run.job.device.runtime} runs")


def request_of(run: Run, module: GraphModule, images: Images) -> ExportRequest:
    """Return what an exporter is given of a network; `images` are those it is compared on."""
    import torch

    from edgenas.lowering.torch import folded_weights
    from edgenas.oneshot.evaluate import logits

    dataset = run.dataset
    found = logits(module, torch.from_numpy(images))
    return ExportRequest(
        graph=module.graph,
        weights=folded_weights(module),
        mean=dataset.mean,
        std=dataset.std,
        class_names=class_names(run),
        reference_inputs=np.ascontiguousarray(images),
        reference_logits=np.ascontiguousarray(found.numpy()),
        calibration_images=calibration_images(run, module),
    )


def class_names(run: Run) -> tuple[str, ...]:
    """Return the names of the classes; numbers where the data have none."""
    return run.dataset.class_names or tuple(map(str, range(run.space.n_classes)))


def inputs_of(run: Run, module: GraphModule, part: Part) -> Images:
    """Return a part's images as the network takes them."""
    from edgenas.oneshot.evaluate import part_inputs

    return np.ascontiguousarray(part_inputs(module, run.dataset, part).numpy())


def what_fits(module: GraphModule, part: Part) -> Part:
    """Return a part, or a random share of it whose inputs are no more than `MOST_BYTES`."""
    n_shown = max(1, MOST_BYTES // (4 * math.prod(module.graph.in_shape)))
    if len(part) <= n_shown:
        return part
    order = np.random.default_rng(0).permutation(len(part))
    return part.take(np.sort(order[:n_shown]))


def calibration_images(run: Run, module: GraphModule) -> Images | None:
    """Return as many training images as the recipes ask for, None if they ask for none."""
    every = [*run.exporters.values(), own_exporter(run)]
    settings = [exporter.recipe.calibration for exporter in every]
    n_images = max((one.n_images for one in settings if one is not None), default=0)
    if not n_images:
        return None
    train = run.dataset.train
    order = np.random.default_rng(0).permutation(len(train))[:n_images]
    return inputs_of(run, module, train.take(order))


def unanswered_reason(exporter: Exporter) -> str | None:
    """Return why a file's accuracy on the validation images is not taken, None if it can be."""
    place = exporter.place
    if place is not None and place.most_test_images is not None:
        return f"{place.runtime} starts anew for each image, which takes too long for all"
    return exporter.unavailable_to_run_reason()


def file_accuracy(
    exporter: Exporter, path: Path, inputs: Images, labels: npt.NDArray[np.int64]
) -> float:
    """Return the fraction of images that a file classifies as labelled.

    Raises:
        ExportError: the file does not open or run.
    """
    trial = try_file(exporter, path, {_ANSWERED: inputs}, timeout_s=exporter.recipe.timeout_s)
    return float((trial.logits[_ANSWERED].argmax(axis=1) == labels).mean())
