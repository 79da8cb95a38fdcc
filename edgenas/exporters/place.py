"""A place where files are built and run that nothing opens here: the contract, and what is kept.

Engines of TensorRT open on the kind of GPU that they were built on, with the version that built
them. An exporter that is given a `Place` has its files built there and held against the network
there; what it writes is the same file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenas.core.schema import StrictModel
from edgenas.exporters.base import Images
from edgenas.exporters.trial import Trial


class TimingsEntry(StrictModel):
    """The timings of kernels that a build began with and left on the device, in bytes.

    `problem` says why what was kept was not used, or nothing was kept.
    """

    used_bytes: int
    kept_bytes: int
    problem: str


class BuildEntry(StrictModel):
    """How an engine was built: where, by what, on which GPU, and how long it took.

    `timings` is None where none are kept.
    """

    device: str
    runtime: str
    engine_version: str
    gpu: str
    compute_capability: str
    driver: str
    build_s: float
    timings: TimingsEntry | None


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How an engine is built.

    Attributes:
        precision: of the network, and of what may compute it.
        tf32: whether float32 may be rounded to 10 bits of mantissa on the way.
        compute_capability: which the GPU must have, e.g. ``"8.7"``; None: any.
        timing_cache: whether timings are kept between builds; a folder on the device instead of
            the usual one.
        timeout_s: for the whole build.
    """

    precision: str
    tf32: bool
    compute_capability: str | None
    timing_cache: bool | str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Built:
    """An engine file's content, and how it came to be."""

    content: bytes
    entry: BuildEntry


class Place(ABC):
    """A device with an engine of its own, by a runtime.

    Every method raises:
        DeviceError: the device is lost, or does not answer in time; nothing is known of the file.
    """

    runtime: str
    """The name of the runtime that builds and runs there."""
    most_test_images: int | None = None
    """Where each image takes a second, of how many in a test part accuracy is still compared; of
    more it is not, which the manifest says. None: of any number."""

    @abstractmethod
    def unavailable_reason(self) -> str | None:
        """Return why nothing can be built and run there, or None if it can."""

    @abstractmethod
    def build(self, model: bytes, settings: BuildSettings) -> Built:
        """Return the engine of an ONNX model.

        Raises:
            ExportError: the engine cannot be built there; the message has the log.
            MissingExtraError: the engine is not installed there.
        """

    @abstractmethod
    def try_file(
        self, path: Path, images: Mapping[str, Images], *, precision: str, timeout_s: float
    ) -> Trial:
        """Have the file at `path` opened there and answer; as `edgenas.exporters.trial.try_file`.

        Raises:
            ExportError: it does not open or run there: it is refused, or ends its process, or
                leaves it without an answer, time after time on a device that answers.
            MissingExtraError: the engine is not installed there.
        """
