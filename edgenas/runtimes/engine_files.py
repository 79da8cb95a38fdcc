"""Engine files: what it takes to build one on a device, what came of it, and why it failed."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.base import Connector
from edgenas.runtimes.base import Natural, Positive, Reply

log = logging.getLogger(__name__)

FORMAT = "tensorrt"
"""The format of engine files; see `edgenas.core.artifact.FORMATS`."""

_SHORT_S = 30.0
# $1: a folder, or nothing for the usual one
_FOLDER = """
umask 077
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/edgenas/tensorrt}
mkdir -p -- "$folder" && printf '%s' "$folder"
"""
_DRIVER = "cat /proc/driver/nvidia/version /etc/nv_tegra_release 2>/dev/null; true"
_MODULE = re.compile(r"^NVRM version:.* ([0-9]+\.[0-9]+(?:\.[0-9]+)?)\b", re.MULTILINE)
_TEGRA = re.compile(r"^# R([0-9]+) \(release\), REVISION: ([0-9.]+)", re.MULTILINE)

_REASONS = (
    (
        re.compile(r"out ?of ?memory|insufficient memory|could not be allocated|bad_alloc"
                   r"|allocator error|SIGKILL", re.IGNORECASE),
        "the device ran out of memory: end what else uses its GPU, give it swap, or take a "
        "smaller network",
    ),
    (
        re.compile(r"No space left|Disk quota|Saving engine to file failed"),
        "the device's disk is full: free space there, or name another connector.workdir",
    ),
    (
        re.compile(r"incompatible device|expecting compute [0-9.]+ got"),
        "the engine is of another kind of GPU: export it again on this device",
    ),
    (
        re.compile(r"not compatible with this version|[Vv]ersion tag does not match"),
        "the engine is of another version of TensorRT: export it again on this device",
    ),
    (
        re.compile(r"[Mm]agic tag does not match|Serialization"),
        "the engine file is damaged: export it again",
    ),
    (
        re.compile(r"hardware without native|platform does(?: not|n't) support|no \w+ of its own",
                   re.IGNORECASE),
        "the GPU does not compute in this precision: choose another as device.precision",
    ),
    (
        re.compile(r"[Nn]o importer|UNSUPPORTED_NODE|[Pp]lugin not found|not supported"
                   r"|Failed to parse|cannot parse"),
        "TensorRT there does not take an operator of the network: a newer version may",
    ),
)  # fmt: skip
"""What engines say, in the order of precedence, and what it comes to."""


class Gpu(Reply):
    """The GPU that an engine computes on, e.g. ``Orin`` of compute capability ``8.7``."""

    name: str
    compute_capability: str


class TimingsUse(Reply):
    """What a build made of the timings of kernels that are kept on the device between builds.

    It began with `used_bytes` of them and left `kept_bytes`; `problem` says why it began with
    none, or kept none, where there should have been some.
    """

    used_bytes: Natural
    kept_bytes: Natural
    problem: str = ""


class BuildInfo(Reply):
    """An engine that was built; `timings` is None where none are kept."""

    build_ms: Positive
    name: str
    compute_capability: str
    timings: TimingsUse | None


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How an engine is built, beside its bench's precision.

    Attributes:
        tf32: whether float32 may be rounded to 10 bits of mantissa on the way.
        compute_capability: which the GPU must have; None: any.
        timings: whether timings of kernels are kept on the device between builds: in the usual
            folder, or in the one that is named.
    """

    tf32: bool = False
    compute_capability: str | None = None
    timings: bool | str = True


class EngineBuilder(ABC):
    """A bench that builds engine files, which it loads and runs as any other model."""

    @abstractmethod
    def gpu(self, *, timeout_s: float = 60.0) -> Gpu:
        """Return the GPU on which engines are built and run (errors as `Bench`)."""

    @abstractmethod
    def build(
        self, model: Path, target: Path, options: BuildOptions, *, timeout_s: float
    ) -> BuildInfo:
        """Build an engine from the ONNX file `model`; `target`, here, is whole or absent.

        Timings that are damaged or of another version are left out with a warning.

        Raises:
            RefusedError: TensorRT cannot build it, or not on this GPU; the message has its log.
            AgentError, DeviceTimeoutError: as `Bench`.
            DeviceError: the device is lost, or the engine cannot be copied from it.
        """


def timings_folder(connector: Connector, asked: bool | str) -> str | None:
    """Return the folder on the device in which timings are kept, None if none are to be."""
    if asked is False:
        return None
    given = asked if isinstance(asked, str) else ""
    done = connector.run(["sh", "-c", _FOLDER, "sh", given], _SHORT_S)
    folder = done.stdout.decode(errors="surrogateescape")
    if done.status == 0 and folder.startswith("/"):
        return folder
    said = done.stderr.decode(errors="replace").strip() or "it did not say why"
    log.warning("timings of kernels are not kept on the device: %s", said)
    return None


def driver_of(connector: Connector) -> str:
    """Return the version of NVIDIA's driver on a device, or of Jetson Linux; empty if not told."""
    try:
        text = connector.run(["sh", "-c", _DRIVER], _SHORT_S).stdout.decode(errors="replace")
    except DeviceError:
        return ""
    if tegra := _TEGRA.search(text):
        return f"Jetson Linux {tegra[1]}.{tegra[2]}"
    module = _MODULE.search(text)
    return module[1] if module else ""


def explained(text: str) -> str:
    """Return what an engine said, with what it comes to and what helps, where that is known."""
    reason = next((reason for pattern, reason in _REASONS if pattern.search(text)), "")
    return f"{reason}\n{text}" if reason else text


def warn_of(use: TimingsUse | None, device: str) -> None:
    """Tell the log why a build had no timings to begin with, or left none."""
    if use is not None and use.problem:
        log.warning(
            "timings of kernels on the device %r: %s; the engine was built without, which takes "
            "longer and changes nothing else",
            device,
            use.problem,
        )
