"""A bench by TensorRT's tool `trtexec`: a process for each visit, inference and build.

Its models are engine files on the device. What the tool says of memory differs from version to
version and leaves out a part in each: none is told.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgenas.core.errors import AgentError, RefusedError
from edgenas.core.extras import require
from edgenas.hardware.description import TrtexecSettings
from edgenas.hardware.device import Device
from edgenas.runtimes.base import Array, EngineInfo, LoadInfo, NodeInfo, Repeated, Runtime, Tensor
from edgenas.runtimes.engine_files import (
    BuildInfo,
    BuildOptions,
    EngineBuilder,
    Gpu,
    timings_folder,
    warn_of,
)
from edgenas.runtimes.program_bench import PlacedModel, ProgramBench
from edgenas.runtimes.trtexec_answers import parse_bindings, parse_gpu, parse_outputs
from edgenas.runtimes.trtexec_build import Kept, refuse_other_precision, remove, skipping
from edgenas.runtimes.trtexec_output import (
    TrtexecLog,
    parse_log,
    parse_profile,
    parse_span_ms,
    parse_times,
)

_SHORT_S = 30.0
_STRONGLY_TYPED = 10
"""The version from which on an engine's types are the file's; before, they have to be allowed."""
_ALLOWED = {"float16": ("--fp16",), "int8": ("--int8",)}
_BUILD_PROBLEMS = 12
_KILLED = (-9, 137)
"""How a process ends that the system kills for want of memory, as a signal or by its shell."""


@dataclass(frozen=True, slots=True)
class EngineModel(PlacedModel):
    """An engine file on the device."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    log: TrtexecLog
    text: str
    exported: str

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        return parse_times(self.exported)


class TrtexecBench(ProgramBench[EngineModel], EngineBuilder):
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
        self._precision = precision
        self._n_files = 0

    def load(self, key: str, path: Path, *, timeout_s: float | None = None) -> LoadInfo:
        """Run an engine once: the one at `path`, or one that is built from the ONNX file there.

        Building can take minutes.
        """
        self._check_new(key, path)
        limit_s = self._load_limit_s(timeout_s)
        engine = self._new_file("plan")
        ends, build_ms = None, 0.0
        if path.suffix == ".onnx":
            ends = _tensors(path)
            remote = self.device.connector.place(path)
            options = self._build_options(tf32=self._settings.tf32)
            argv = [f"--onnx={remote}", f"--saveEngine={engine}", *options]
            build_ms = self._run(argv, limit_s, may_refuse=True).log.build_ms or 0.0
            self.device.connector.discard([remote])
        else:  # not placed: there, where that is here, it would be the user's own file
            self.device.connector.push(path, engine)
        first = self._run([f"--loadEngine={engine}"], limit_s, may_refuse=True)
        if not first.log.load_ms:
            raise AgentError("trtexec does not tell how long the engine took to load")
        inputs, outputs = ends or parse_bindings(first.text)
        self._models[key] = EngineModel(engine, inputs, outputs)
        return LoadInfo(
            load_ms=first.log.load_ms,
            build_ms=build_ms,
            first_ms=first.latencies_ms[0],
            rss_kib=0,  # the tool is gone again
            inputs=inputs,
            outputs=outputs,
            delegated=True,
            outside=(),
        )

    def gpu(self, *, timeout_s: float = 60.0) -> Gpu:  # noqa: D102
        # The tool tells its GPU before it looks at the engine, which is not there.
        argv = [self._settings.program, f"--loadEngine={self._new_file('none')}"]
        _, text = self._run_program(argv, timeout_s)
        try:
            return parse_gpu(text)
        except AgentError as error:
            raise RefusedError(f"{self._where}: {error}") from error

    def build(  # noqa: D102
        self, model: Path, target: Path, options: BuildOptions, *, timeout_s: float
    ) -> BuildInfo:
        connector, end = self.device.connector, time.monotonic() + timeout_s
        found = self.gpu(timeout_s=timeout_s)
        wanted = options.compute_capability
        if wanted not in (None, found.compute_capability):
            raise RefusedError(
                f"an engine for compute capability {wanted} is asked for, and {found.name} on the "
                f"device {self.device.id!r} has {found.compute_capability}"
            )
        folder = timings_folder(connector, options.timings)
        engine, copy = self._new_file("engine"), self._new_file("timings")
        remote = connector.place(model)
        argv = [f"--onnx={remote}", f"--saveEngine={engine}", skipping(self.info.engine_version)]
        argv += self._build_options(tf32=options.tf32)

        def run(arguments: Sequence[str]) -> str:
            left_s = end - time.monotonic()
            return self._run_tool(arguments, left_s, n_problems=_BUILD_PROBLEMS)[0]

        try:
            if folder is None:
                text, use = run(argv), None
            else:
                kept = Kept.of(connector, folder, self.info.engine_version, found, copy)
                text, use = kept.build(argv, run)
            refuse_other_precision(text, self._precision)
            connector.pull(engine, target)
        finally:
            remove(connector, [engine, copy, f"{copy}.lock"])
        connector.discard([remote])
        warn_of(use, self.device.id)
        build_ms = parse_log(text).build_ms
        if not build_ms:
            raise AgentError("trtexec does not tell how long the engine took to build")
        return BuildInfo(build_ms=build_ms, timings=use, **found.model_dump())

    def infer(  # noqa: D102
        self, key: str, arrays: Mapping[str, Array], *, timeout_s: float = 60.0
    ) -> dict[str, Array]:
        model, connector = self._model(key), self.device.connector
        given = {one.name: (arrays[one.name].shape, arrays[one.name].dtype.name)
                 for one in model.inputs if one.name in arrays}  # fmt: skip
        wanted = {one.name: (one.shape, one.dtype) for one in model.inputs}
        if given != wanted or len(arrays) != len(wanted):
            raise RefusedError(f"the inputs are {wanted}, not {given}")
        remotes = {name: self._new_file("bin") for name in wanted}
        exported = self._new_file("json")
        try:
            with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
                local = Path(folder) / "input.bin"
                for name, remote in remotes.items():
                    local.write_bytes(np.ascontiguousarray(arrays[name]).tobytes())
                    connector.push(local, remote)
            spec = ",".join(f"{name}:{remote}" for name, remote in remotes.items())
            self._run(
                [f"--loadEngine={model.remote}", f"--loadInputs={spec}",
                 f"--exportOutput={exported}"], timeout_s, may_refuse=True,
            )  # fmt: skip
            return dict(parse_outputs(self._fetched(exported), model.outputs))
        finally:
            if self.alive:
                remove(connector, [*remotes.values(), exported])

    def _samples_ms(
        self, model: EngineModel, n_runs: int, n_warmup: int, timeout_s: float
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
        self,
        more: Sequence[str],
        timeout_s: float,
        *,
        n_runs: int = 1,
        duration_s: float = 0.0,
        may_refuse: bool = False,
    ) -> _Run:
        """Run the tool once; it makes at least `n_runs` runs and takes at least `duration_s`.

        What it has run before it cannot refuse: that it fails then is worth another try.
        """
        times = self._new_file("json")
        argv = [
            *more, "--warmUp=0", f"--duration={duration_s:g}",
            f"--iterations={n_runs}", "--avgRuns=1", "--useSpinWait", f"--exportTimes={times}",
        ]  # fmt: skip
        try:
            text, told = self._run_tool(argv, timeout_s)
        except RefusedError as error:
            raise error if may_refuse else AgentError(str(error)) from error
        try:
            found = _Run(told, text, self._fetched(times))
            latencies_ms = found.latencies_ms
        except AgentError as error:
            raise AgentError(f"{self._where}: {error}") from error
        if not latencies_ms:
            raise AgentError(f"{self._where} told of no times")
        return found

    def _run_tool(
        self, arguments: Sequence[str], timeout_s: float, *, n_problems: int = 3
    ) -> tuple[str, TrtexecLog]:
        """Run the tool once and return what it printed, and what that comes to."""
        argv = [self._settings.program, *arguments]
        status, text = self._run_program(argv, timeout_s)
        try:
            told = parse_log(text, n_problems=n_problems)
        except AgentError as error:
            how = f"status {status}" if status not in _KILLED else "killed by SIGKILL"
            raise type(error)(f"{self._where} ({how}): {error}") from error
        if status != 0:
            raise AgentError(f"{self._where} passed, and ended with status {status}")
        return text, told

    def _build_options(self, *, tf32: bool) -> tuple[str, ...]:
        """Return the options with which an engine of the bench's precision is built."""
        allowed = () if tf32 else ("--noTF32",)
        if int(self.info.engine_version.partition(".")[0]) >= _STRONGLY_TYPED:
            return ("--stronglyTyped", *allowed)
        return (*_ALLOWED.get(self._precision, ()), *allowed)

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
