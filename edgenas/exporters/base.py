"""What an exporter is: a trained network in, a file of its target out; numpy in, no torch."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgenas.core import extras
from edgenas.core.artifact import Artifact
from edgenas.core.errors import ExportError
from edgenas.core.files import write_bytes
from edgenas.core.ops import Graph, Shape
from edgenas.core.registry import Registry
from edgenas.exporters.calibration import Calibrated, Calibration, calibrate
from edgenas.exporters.recipe import Recipe, load_recipe
from edgenas.lowering.plan import check, node_weights
from edgenas.lowering.weights import Weights

if TYPE_CHECKING:
    from edgenas.exporters.place import BuildEntry, Place

Images = npt.NDArray[np.float32]
"""Normalised images, channels first, shape (n, channels, height, width)."""

OpenShape = tuple[int | str, ...]

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
_FARTHEST = 4.0
"""How many times wider or narrower calibration images may be, in what the network reads."""


@dataclass(frozen=True, slots=True, eq=False)
class ExportRequest:
    """A trained network and what its file is held against.

    `weights` have batch norms folded. `mean` and `std` (one a channel) say how pixels in [0, 1]
    became what the network reads. `reference_logits`, shape (n, n_classes), are what the trained
    network answers to `reference_inputs`. The test part is optional: `test_images`,
    `test_labels` of shape (n,) and the trained network's `test_accuracy` come together.
    `calibration_images` are training images, which 8-bit values need; `calibrated` is what an
    exporter has found on them (`Exporter.with_calibration`). `known` are ranges by how they were
    asked for, found once for all exporters that are given this very request; a changed copy
    (`dataclasses.replace`) begins anew.
    """

    graph: Graph
    weights: Weights
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    reference_inputs: Images
    reference_logits: npt.NDArray[np.float32]
    test_images: Images | None = None
    test_labels: npt.NDArray[np.int64] | None = None
    test_accuracy: float | None = None
    calibration_images: Images | None = None
    calibrated: Calibrated | None = None
    known: dict[tuple[object, Calibration], Calibrated] = field(
        default_factory=dict, init=False, repr=False
    )


@dataclass(frozen=True, slots=True)
class Signature:
    """Names and shapes (as the file has them, batch included) of a model's one input and output.

    A dimension that is left open has its name in place of its size.
    """

    input_name: str
    input_shape: OpenShape
    output_name: str
    output_shape: OpenShape


@dataclass(frozen=True, slots=True)
class Codes:
    """What the codes of a tensor stand for: ``(code - zero_point) * scale``; `dtype` is int8."""

    dtype: str
    scale: float
    zero_point: int


class Exporter(ABC):
    """Writes one target's files; their format has the target's name.

    `packages` are the import names that writing needs, and `run_packages` what running needs. A
    plug-in's exporter names its own `recipe_folders`, and the `distributions` whose versions a
    manifest tells beside those of edgenas.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    input_layout: ClassVar[str] = "NCHW"
    packages: ClassVar[tuple[str, ...]] = ()
    run_packages: ClassVar[tuple[str, ...]] = ()
    recipe_model: ClassVar[type[Recipe]] = Recipe
    recipe_folders: ClassVar[tuple[Path, ...]] = ()
    distributions: ClassVar[tuple[str, ...]] = ()
    place: Place | None = None
    """Where its files are built and run, if that is not here."""
    built: BuildEntry | None = None
    """How the file of the last `export` was built, if it was there."""

    def __init__(self, recipe: Recipe) -> None:
        if not isinstance(recipe, self.recipe_model):
            raise ExportError(f"the exporter {self.name} needs a {self.recipe_model.__name__}")
        self.recipe = recipe

    @classmethod
    def with_recipe(cls, precision: str = "float32") -> Exporter:
        """Return the exporter with the shipped (or the user's own) recipe of `precision`.

        Raises:
            ExportError: there is no recipe for it.
        """
        folders = cls.recipe_folders
        return cls(load_recipe(cls.name, precision, cls.recipe_model, more=folders))

    def unavailable_reason(self) -> str | None:
        """Return why files of this target cannot be written here, or None if they can."""
        return _first_reason(self.needed_packages)

    def unavailable_to_run_reason(self) -> str | None:
        """Return why files of this target cannot be run here, or None if they can."""
        return _first_reason(self.run_packages)

    def export(self, request: ExportRequest, path: Path) -> Artifact:
        """Write the network to `path`, whole or not at all, and return the file's description.

        Raises:
            ExportError: the request is inconsistent, weights are not finite, or the target cannot
                express the network; nothing is written then.
            MissingExtraError: a package that writing needs is not installed.
            StorageError: the file cannot be written.
        """
        if path.suffix != self.suffix:
            raise ExportError(f"{path}: a file for {self.name} must be called *{self.suffix}")
        check_request(request)
        for package in self.needed_packages:
            extras.require(package)
        content = self.serialise(request)
        write_bytes(path, content)
        # Of what was to be written: that it lies there is for the checks to find.
        return replace(Artifact.of(path), sha256=hashlib.sha256(content).hexdigest())

    @property
    def needed_packages(self) -> tuple[str, ...]:
        """The import names that writing as the recipe says needs here."""
        return self.packages

    def expected(self, request: ExportRequest) -> Signature:
        """Return the names and shapes that the file of `request` must have."""
        channels, height, width = request.graph.in_shape
        sizes = (channels, height, width)
        if self.input_layout == "NHWC":
            sizes = (height, width, channels)
        first = self.batch
        return Signature(
            INPUT_NAME, (first, *sizes), OUTPUT_NAME, (first, *request.graph.out_shape)
        )

    @property
    def batch(self) -> int | str:
        """How many images the file takes at once, or the name of that dimension if any number."""
        return 1

    @property
    def dtype(self) -> str:
        """The type of what the file takes and returns."""
        return "float32"

    def calibrated(self, request: ExportRequest) -> Calibrated | None:
        """Return the ranges of all values on the calibration images; None where none are needed.

        Raises:
            ExportError: the request has no such images, or they do not fit.
        """
        settings = self.recipe.calibration
        if settings is None:
            return None
        if request.calibrated is not None:
            return request.calibrated
        asked = (type(self).calibration_images, settings)
        if asked not in request.known:
            images = self.calibration_images(request)
            request.known[asked] = calibrate(request.graph, request.weights, images, settings)
        return request.known[asked]

    def calibration_images(self, request: ExportRequest) -> Images:
        """Return the images of the request on which ranges are to be found; for int8 alone.

        Raises:
            ExportError: the request has none, or they are none that the network reads.
        """
        settings, images = self.recipe.calibration, request.calibration_images
        n_images = 0 if settings is None else settings.n_images
        if images is None:
            raise ExportError(
                f"{self.recipe.precision} asks for calibration images and none are given: pass "
                f"about {n_images} training images"
            )
        _check_alike(images, request.reference_inputs)
        return images[:n_images]

    def with_calibration(self, request: ExportRequest) -> ExportRequest:
        """Return the request with the ranges that this exporter asks for, which a manifest tells.

        Raises:
            ExportError: as `calibrated`, or the request is inconsistent.
        """
        check_request(request)
        if request.calibrated is not None:  # by another exporter
            request = replace(request, calibrated=None)
        return replace(request, calibrated=self.calibrated(request))

    @abstractmethod
    def serialise(self, request: ExportRequest) -> bytes:
        """Return the content of the file; the request has been checked."""

    @abstractmethod
    def signature(self, path: Path) -> Signature:
        """Return the names and shapes that the file declares.

        Raises:
            ExportError: the file is damaged, or cannot be read on this machine.
        """

    def codes(self, path: Path) -> tuple[Codes | None, Codes | None]:
        """Return what the codes of the file's input and output stand for; None where it has none.

        Raises:
            ExportError: the file is damaged, or cannot be read on this machine.
        """
        return None, None

    def device_program(self) -> str | None:
        """Return the text of a Python module that opens such files on a device, or None.

        Its class `Model` is made and used as that of ``bundle/device/engine_onnx.py``; it needs
        Python 3.8 or later, numpy and the engine alone. Without it bundles have no programs.
        """
        return None

    def outside_delegate(self, path: Path) -> tuple[str, ...] | None:
        """Return the operators that the engine's accelerated part leaves to slower kernels.

        None where the engine has no such part, or does not tell.

        Raises:
            ExportError: the file is damaged, or cannot be read on this machine.
        """
        return None

    def encode(self, path: Path, images: Images) -> npt.NDArray[Any]:
        """Return `images`, as many as the file at `path` takes at once, in its layout and type."""
        return images.transpose(0, 2, 3, 1) if self.input_layout == "NHWC" else images

    def decode(self, path: Path, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the logits, shape (n, n_classes), that the file's output stands for."""
        return np.asarray(values, np.float32)

    @abstractmethod
    def infer(self, path: Path, images: Images) -> npt.NDArray[np.float32]:
        """Return the logits, shape (n, n_classes), of the file for `images`, one at a time.

        Raises:
            ExportError: the file is damaged, cannot run here, or does not take such images.
        """


EXPORTERS: Registry[type[Exporter]] = Registry("exporter")
"""Target name to its exporter."""


def check_request(request: ExportRequest) -> None:
    """Check that all parts of `request` fit together and that every number is finite.

    Raises:
        ExportError: they do not; the message names the part.
    """
    graph = request.graph
    check(graph, request.weights)
    for name in (name for node in graph.nodes for name in node_weights(node)):
        finite = np.isfinite(request.weights[name])
        if not finite.all():
            raise ExportError(
                f"weights {name!r}: {np.count_nonzero(~finite)} of {finite.size} values are NaN or "
                "infinite; the training diverged: train again with a smaller learning rate"
            )
    n_channels, n_inputs = graph.in_shape[0], len(request.reference_inputs)
    wanted = {
        "mean": ((n_channels,), np.shape(request.mean)),
        "std": ((n_channels,), np.shape(request.std)),
        "class_names": (graph.out_shape, (len(request.class_names),)),
        "reference_inputs": ((n_inputs, *graph.in_shape), request.reference_inputs.shape),
        "reference_logits": ((n_inputs, *graph.out_shape), request.reference_logits.shape),
    }
    for name, (expected, found) in wanted.items():
        if expected != found:
            raise ExportError(f"{name} has shape {found}; the network needs {expected}")
    if not n_inputs:
        raise ExportError("reference_inputs is empty; at least one real image is needed")
    if not all(np.isfinite(a).all() for a in (request.reference_inputs, request.reference_logits)):
        raise ExportError("reference inputs or logits hold NaN or infinite values")
    _check_test_part(request)


def _check_test_part(request: ExportRequest) -> None:
    parts = (request.test_images, request.test_labels, request.test_accuracy)
    if all(part is None for part in parts):
        return
    images, labels, accuracy = parts
    if images is None or labels is None or accuracy is None:
        raise ExportError("test_images, test_labels and test_accuracy come together or not at all")
    if images.shape != (len(labels), *request.graph.in_shape) or labels.ndim != 1:
        raise ExportError(
            f"test_images {images.shape} and test_labels {labels.shape} do not fit each other or "
            f"the network's input {request.graph.in_shape}"
        )
    if not len(labels) or not 0 <= accuracy <= 1:
        raise ExportError(f"an accuracy of {accuracy} on {len(labels)} test images is impossible")


def _check_alike(calibration: Images, reference: Images) -> None:
    """Refuse images that were not made into inputs as the network's were, e.g. left at 0 to 255.

    Raises:
        ExportError: their spread is another one by far, or their mean lies outside.
    """
    if calibration.ndim != 4 or not len(calibration) or not np.isfinite(calibration).all():
        return  # refused where they are used, each with what is wanted
    mean, spread = float(reference.mean()), float(reference.std())
    found_mean, found_spread = float(calibration.mean()), float(calibration.std())
    far = abs(found_mean - mean) > _FARTHEST * max(spread, 1e-6)
    if far or not 1 / _FARTHEST <= (found_spread + 1e-6) / (spread + 1e-6) <= _FARTHEST:
        raise ExportError(
            f"calibration images have mean {found_mean:.3g} and spread {found_spread:.3g}, the "
            f"network's inputs {mean:.3g} and {spread:.3g}: they are not the same images, or not "
            "normalised alike; pass training images as the network reads them"
        )


def check_images(images: Images, in_shape: Shape) -> None:
    """Check that `images` have shape (n, *in_shape).

    Raises:
        ExportError: they do not.
    """
    if images.shape[1:] != in_shape:
        raise ExportError(f"images of shape {images.shape} given; the file takes (n, *{in_shape})")


def _first_reason(packages: tuple[str, ...]) -> str | None:
    reasons = (extras.unavailable_reason(package) for package in packages)
    return next((reason for reason in reasons if reason), None)
