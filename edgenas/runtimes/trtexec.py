"""TensorRT by its tool `trtexec`, for devices without its Python package.

The tool builds an engine from each ONNX file once, on the device, and each visit starts it anew
with that engine. Its times are with inputs and outputs in the host's memory, as the agent's. What
it says of memory differs from version to version and leaves out a part in each: none is told. It
has been tested against a program that prints and exports as it does; not yet on a GPU.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError
from edgenas.core.extras import require, requirement_of
from edgenas.hardware.description import DeviceDescription, TrtexecSettings
from edgenas.hardware.device import Device
from edgenas.runtimes.base import (
    BUILD_S,
    RUNTIMES,
    Bench,
    EngineInfo,
    LoadInfo,
    NodeInfo,
    Repeated,
    Runtime,
    Tensor,
)
from edgenas.runtimes.program_bench import PlacedModel, ProgramBench
from edgenas.runtimes.trtexec_output import (
    TrtexecLog,
    parse_log,
    parse_profile,
    parse_span_ms,
    parse_times,
    parse_version,
)

log = logging.getLogger(__name__)

_RESOLUTION_NS = 1000
_SHORT_S = 30.0
_STRONGLY_TYPED = 10
"""The version from which on an engine's types are the file's; before, they have to be allowed."""
_ALLOWED = {"float16": ("--fp16",), "int8": ("--int8",)}


@dataclass(frozen=True, slots=True)
class _Run:
    log: TrtexecLog
    exported: str

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        return parse_times(self.exported)


class TrtexecBench(ProgramBench[PlacedModel]):
    """A bench whose models are engine files on the device."""

    comparable = "tensorrt"

    def __init__(
        self,
        device: Device,
        runtime: Runtime,
        settings: TrtexecSettings,
        info: EngineInfo,
        *,
        precision: str,
    ) -> None:
        super().__init__(device, runtime, info)
        self._settings = settings
        self._build = _build_options(settings, info.engine_version, precision)
        self._n_files = 0

    def load(self, key: str, path: Path, *, timeout_s: float | None = None) -> LoadInfo:
        """Build an engine from the ONNX file at `path`, which can take minutes, and run it once."""
        self._check_new(key, path)
        limit_s = self._load_limit_s(timeout_s)
        inputs, outputs = _tensors(path)
        engine = self._new_file("plan")
        remote = self.device.connector.place(path)
        built = self._run([f"--onnx={remote}", f"--saveEngine={engine}", *self._build], limit_s)
        self.device.connector.discard([remote])
        first = self._run([f"--loadEngine={engine}"], limit_s)
        if not first.log.load_ms:
            raise AgentError("trtexec does not tell how long the engine took to load")
        self._models[key] = PlacedModel(engine)
        return LoadInfo(
            load_ms=first.log.load_ms,
            build_ms=built.log.build_ms or 0.0,
            first_ms=first.latencies_ms[0],
            rss_kib=0,  # the tool is gone again
            inputs=inputs,
            outputs=outputs,
            delegated=True,
            outside=(),
        )

    def _samples_ms(
        self, model: PlacedModel, n_runs: int, n_warmup: int, timeout_s: float
    ) -> tuple[float, ...]:
        n_all = n_warmup + n_runs  # its own warm-up is told in milliseconds, not in runs
        found = self._run([f"--loadEngine={model.remote}"], timeout_s, n_runs=n_all).latencies_ms
        if len(found) != n_all:
            raise AgentError(f"trtexec was asked for {n_all} runs and told of {len(found)}")
        return found[n_warmup:]

    def _remove(self, remotes: Sequence[str]) -> None:
        self.device.connector.run(["rm", "-f", *remotes], _SHORT_S)

    def run_for(  # noqa: D102
        self, key: str, *, duration_s: float, timeout_s: float
    ) -> Repeated:
        run = self._run(
            [f"--loadEngine={self._model(key).remote}"], timeout_s, duration_s=duration_s
        )
        # Not the mean latency: the copies of a run overlap with the computing of others.
        start_ms, end_ms = parse_span_ms(run.exported)
        n_runs = len(run.latencies_ms)
        return Repeated(n_runs=n_runs, period_ms=(end_ms - start_ms) / n_runs)

    def nodes(self, key: str, *, timeout_s: float = 60.0) -> tuple[NodeInfo, ...]:
        """Return the layers, by name alone: the tool does not tell their shapes."""
        profile = self._new_file("json")
        engine = f"--loadEngine={self._model(key).remote}"
        more = [engine, f"--exportProfile={profile}", "--separateProfileRun"]
        self._run(more, timeout_s)
        return tuple(
            NodeInfo(kind="layer", name=name, in_shapes=(), out_shapes=(), inside=True)
            for name, _ in parse_profile(self._fetched(profile))
        )

    def _run(
        self, more: Sequence[str], timeout_s: float, *, n_runs: int = 1, duration_s: float = 0.0
    ) -> _Run:
        """Run the tool once; it makes at least `n_runs` runs and takes at least `duration_s`."""
        times = self._new_file("json")
        argv = [
            self._settings.program, *more, "--warmUp=0", f"--duration={duration_s:g}",
            f"--iterations={n_runs}", "--avgRuns=1", "--useSpinWait", f"--exportTimes={times}",
        ]  # fmt: skip
        status, text = self._run_program(argv, timeout_s)
        try:
            found = _Run(parse_log(text), self._fetched(times))
            latencies_ms = found.latencies_ms
        except AgentError as error:
            raise AgentError(f"{self._where} (status {status}): {error}") from error
        if status != 0 or not latencies_ms:
            raise AgentError(f"{self._where} ended with status {status} and no times")
        return found

    def _fetched(self, remote: str) -> str:
        with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
            local = Path(folder) / "exported.json"
            self.device.connector.pull(remote, local)
            self._remove([remote])
            return local.read_text("utf-8", errors="replace")

    def _new_file(self, suffix: str) -> str:
        """Return a path on the device that no run has written to."""
        self._n_files += 1
        return f"{self.device.connector.workdir}/trtexec-{self._n_files}.{suffix}"


@RUNTIMES.add("trtexec")
class Trtexec(Runtime):
    """TensorRT by its command line tool."""

    name = "trtexec"
    format = "onnx"
    precisions = ("float32", "float16")  # as the runtime tensorrt
    returns_outputs = False

    def settings(self, description: DeviceDescription) -> TrtexecSettings:  # noqa: D102
        return description.runtimes.trtexec

    @property
    def requirement(self) -> str:  # noqa: D102
        return requirement_of("onnx")

    def load_timeout_s(self, description: DeviceDescription) -> float:  # noqa: D102
        return BUILD_S

    def absent_reason(self, description: DeviceDescription) -> str | None:  # noqa: D102
        if self.name in description.runtimes.model_fields_set:
            return None
        return "its device file has no block runtimes.trtexec; add one where there is a GPU"

    @contextmanager
    def open(  # noqa: D102
        self, device: Device, *, timeout_s: float, precision: str = "float32"
    ) -> Iterator[Bench]:
        settings = self.settings(device.description)
        try:
            found = device.connector.run([settings.program, "--help"], timeout_s)
            printed = (found.stdout + b"\n" + found.stderr).decode(errors="replace")
            version = parse_version(printed)
        except (AgentError, DeviceError) as error:
            if isinstance(error, DeviceTimeoutError):
                raise
            raise DeviceError(
                f"{settings.program} is no trtexec on the device {device.id!r} ({error}); "
                "set runtimes.trtexec.program to its path there"
            ) from error
        info = EngineInfo(
            engine=self.name,
            engine_version=version,
            affinity=(),
            threads=settings.threads,
            timer_resolution_ns=_RESOLUTION_NS,
        )
        with closing(TrtexecBench(device, self, settings, info, precision=precision)) as bench:
            yield bench


def _build_options(settings: TrtexecSettings, version: str, precision: str) -> tuple[str, ...]:
    """Return the options with which an engine of the precision is built."""
    tf32 = () if settings.tf32 else ("--noTF32",)
    if int(version.partition(".")[0]) >= _STRONGLY_TYPED:
        return ("--stronglyTyped", *tf32)
    return (*_ALLOWED.get(precision, ()), *tf32)


def _tensors(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs and outputs of an ONNX file; a batch left open is 1."""
    onnx = require("onnx")
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:
        raise AgentError(f"{path} is no ONNX file: {error}") from error
    weights = {one.name for one in graph.initializer}
    ends = ([one for one in graph.input if one.name not in weights], graph.output)
    inputs, outputs = (
        tuple(
            Tensor(
                name=one.name,
                shape=tuple(size.dim_value or 1 for size in one.type.tensor_type.shape.dim),
                dtype=onnx.helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type).name,
            )
            for one in end
        )
        for end in ends
    )
    if not inputs or not outputs:
        raise AgentError(f"{path} is an ONNX file without inputs or outputs")
    return inputs, outputs
