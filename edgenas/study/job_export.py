"""The part of the job file about files: of which networks, which are written, built where."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgenas.core.schema import StrictModel
from edgenas.exporters.tensorrt import ComputeCapability, DeviceFolder


class FinalistsSection(StrictModel):
    """Members of the front whose files are made and measured before one is picked.

    What a search knows of a network is its accuracy in float32 and its predicted latency. Finalists
    are judged by the accuracy and the measured latency of their files.
    """

    n: int | None = Field(default=None, ge=0)
    """How many; by default none in float32, where the file is the network, and else 8."""
    n_validation_images: int | None = Field(default=None, ge=1)
    """The accuracy of their files is taken on this many; by default on as many as the search's."""


class TensorrtSection(StrictModel):
    """Where a TensorRT engine is built, and for which GPU.

    What is not given is as the export recipe says. All but `build` and `compute_capability` is
    about engines that are built on the job's device.
    """

    build: Literal["ahead", "device"] | None = None
    """``ahead``: here, by TensorRT-RTX; ``device``: there, by its own TensorRT."""
    compute_capability: ComputeCapability | None = None
    """As NVIDIA names it, e.g. "8.9"; several for one engine that runs on all of them. What is
    built on the device fits its GPU in any case."""
    runtime: Literal["tensorrt", "trtexec"] | None = None
    """What builds and runs it on the device; by default what the device has."""
    timing_cache: bool | DeviceFolder | None = None
    """Whether timings of kernels are kept on the device between builds, or in which folder."""
    build_timeout_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _is_read(self) -> Self:
        names = ("runtime", "timing_cache", "build_timeout_s")
        beside = [name for name in names if getattr(self, name) is not None]
        if beside and self.build != "device":
            raise ValueError(
                f"{', '.join(beside)} without build: device says nothing; write that, or leave "
                "it out"
            )
        return self


class ExportSection(StrictModel):
    """Which files to write."""

    targets: tuple[str, ...] = Field(default=("onnx", "tflite"), min_length=1)
    tensorrt: TensorrtSection = TensorrtSection()
