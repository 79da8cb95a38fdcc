"""TensorFlow Lite's `benchmark_model` on a device without Python: one process a visit.

The tool prints statistics and not single runs. Three runs in a row follow from them exactly (see
`benchmark_output`); a visit of more is made by several processes, each warmed up, so that every
sample is a run that was made. Times are whole microseconds. The memory that it tells without being
asked is the growth of the process's peak, by the kernel; its own monitor
(``report_peak_memory_footprint``) looks every 50 ms only, and slows the runs down.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgenas.core.errors import AgentError, DeviceError
from edgenas.core.extras import requirement_of, unavailable_reason
from edgenas.core.files import sha256_of
from edgenas.core.precision import PRECISIONS
from edgenas.hardware.cores import read_cores
from edgenas.hardware.description import BenchmarkModelSettings, DeviceDescription
from edgenas.hardware.device import Device
from edgenas.runtimes.base import (
    RUNTIMES,
    Bench,
    EngineInfo,
    LoadInfo,
    NodeInfo,
    Repeated,
    Runtime,
)
from edgenas.runtimes.benchmark_output import (
    N_KNOWN_RUNS,
    BenchmarkReport,
    ProfiledNode,
    parse_benchmark,
)
from edgenas.runtimes.program_bench import PlacedModel, ProgramBench
from edgenas.runtimes.tflite_model import TfliteModel, read_tflite

log = logging.getLogger(__name__)

_SCHEMA = "ai_edge_litert.schema_py_generated"
_RESOLUTION_NS = 1000
_HASH_DIGITS = 12
_DELEGATES = {"xnnpack": "XNNPACK", "gpu": "GPU", "nnapi": "NNAPI"}
"""What the settings call a delegate, and what the tool does."""
_FLAGS = {"none": ("--use_xnnpack=false",), "xnnpack": ("--use_xnnpack=true",),
          "gpu": ("--use_gpu=true",), "nnapi": ("--use_nnapi=true",)}  # fmt: skip
_NAMELESS = "operators that it names only with op_profiling"


@dataclass(frozen=True, slots=True)
class _Loaded(PlacedModel):
    model: TfliteModel
    report: BenchmarkReport
    profile: tuple[ProfiledNode, ...] | None
    """What ran, where the delegate left something out; None where nobody asked."""


class BenchmarkModelBench(ProgramBench[_Loaded]):
    """A bench whose models are TFLite files on the device."""

    comparable = "litert"

    def __init__(
        self, device: Device, runtime: Runtime, binary: str, info: EngineInfo, *, precision: str
    ) -> None:
        super().__init__(device, runtime, info)
        self._settings = device.resolved.runtimes.benchmark_model
        self._binary = binary
        delegate = self._settings.delegate
        self._delegate_options = (*_FLAGS[delegate], *_arithmetic(delegate, precision))

    def load(  # noqa: D102
        self, key: str, path: Path, *, timeout_s: float | None = None
    ) -> LoadInfo:
        self._check_new(key, path)
        limit_s = self._load_limit_s(timeout_s)
        model = read_tflite(path)
        remote = self.device.connector.place(path)
        try:
            report = self._run(remote, 1, 0, limit_s, [])
            profile = None
            if self._settings.op_profiling and self._extent(report) == "partially":
                # In a run of its own: it takes time and memory.
                profile = self._run(remote, 1, 0, limit_s, ["--enable_op_profiling=true"]).nodes
            outside = self._outside(report, profile)
        except BaseException:
            self._discard([remote])
            raise
        self._models[key] = _Loaded(remote, model, report, profile)
        delegated = self._settings.delegate != "none" and "not" not in report.delegates.values()
        if outside or not delegated:
            left = ", ".join(sorted(set(outside))) or "everything"
            log.warning("%s: %s runs outside the delegate: %s", path, self.runtime.name, left)
        grown_kib = max(0, round(1024 * (report.overall_mib or 0.0)))
        told = report.overall_mib is not None and not self._settings.on_gpu
        return LoadInfo(
            load_ms=report.init_us / 1e3,
            first_ms=report.runs.runs_us()[0] / 1e3,
            rss_before_kib=0,
            rss_kib=grown_kib,
            peak_kib=grown_kib if told else None,
            inputs=model.inputs,
            outputs=model.outputs,
            delegated=delegated,
            outside=outside,
        )

    def _samples_ms(
        self, model: _Loaded, n_runs: int, n_warmup: int, timeout_s: float
    ) -> tuple[float, ...]:
        end = time.monotonic() + timeout_s
        samples_ms: list[float] = []
        while len(samples_ms) < n_runs:
            n_now = min(N_KNOWN_RUNS, n_runs - len(samples_ms))
            report = self._run(model.remote, n_now, n_warmup, end - time.monotonic(), [])
            samples_ms += [us / 1e3 for us in report.runs.runs_us()]
        return tuple(samples_ms)

    def _remove(self, remotes: Sequence[str]) -> None:
        self.device.connector.discard(remotes)

    def run_for(  # noqa: D102
        self, key: str, *, duration_s: float, timeout_s: float
    ) -> Repeated:
        self._check_alive()
        report = self._run(self._model(key).remote, 1, 0, timeout_s, [], least_s=duration_s)
        n_runs = report.runs.count
        # The mean run lacks what is done between two; all of them lasted as long as was asked.
        period_ms = max(report.runs.avg_us / 1e3, duration_s * 1e3 / n_runs)
        return Repeated(n_runs=n_runs, period_ms=period_ms)

    def nodes(self, key: str, *, timeout_s: float = 60.0) -> tuple[NodeInfo, ...]:  # noqa: D102
        loaded = self._model(key)
        report = loaded.report
        if self._settings.delegate == "none" or "not" in report.delegates.values():
            return loaded.model.nodes(None)
        if self._extent(report) != "partially":
            return loaded.model.nodes([])
        if loaded.profile is None:
            raise AgentError(
                "which operators run outside the delegate is told by the profile only: set "
                "runtimes.benchmark_model.op_profiling in the device file"
            )
        return loaded.model.nodes([one.name for one in loaded.profile if not one.delegated])

    # -- the tool --------------------------------------------------------------------------

    def _run(  # noqa: PLR0913
        self,
        remote: str,
        n_runs: int,
        n_warmup: int,
        timeout_s: float,
        more: Sequence[str],
        *,
        least_s: float = 0.0,
    ) -> BenchmarkReport:
        """Run the tool once; its report is of exactly the runs asked for, unless `least_s` is."""
        settings = self._settings
        argv = [
            *_pinned(self._info.affinity), self._binary, f"--graph={remote}",
            f"--num_runs={n_runs}", f"--min_secs={least_s:g}", f"--warmup_runs={n_warmup}",
            "--warmup_min_secs=0", f"--max_secs={max(1.0, timeout_s):.0f}",
            f"--num_threads={settings.threads}", *self._delegate_options, *more,
        ]  # fmt: skip
        status, text = self._run_program(argv, timeout_s)
        if status != 0:
            how = f"status {status}" if status > 0 else f"signal {-status}"
            raise AgentError(f"{self._where} failed ({how}): {_last_lines(text)}")
        try:
            report = parse_benchmark(text)
            self._check(report, n_runs, n_warmup, exact=not least_s)
        except AgentError as error:
            raise AgentError(f"{self._where}: {error}") from error
        return report

    def _check(self, report: BenchmarkReport, n_runs: int, n_warmup: int, *, exact: bool) -> None:
        """Refuse a report of other runs, threads or delegates than were asked for."""
        found = (report.runs.count, report.warmup.count)
        if (exact and found[0] != n_runs) or found[0] < n_runs or found[1] != n_warmup:
            raise AgentError(
                f"asked for {n_runs} runs after {n_warmup}, it tells of {found[0]} after {found[1]}"
            )
        threads = report.parameters.get("Num threads")
        if threads is not None and threads != str(self._settings.threads):
            raise AgentError(f"asked for {self._settings.threads} threads, it ran with {threads}")
        if min(report.runs.runs_us() if exact else [report.runs.avg_us]) <= 0:
            raise AgentError("a run was shorter than the microsecond in which it counts")
        wanted = _DELEGATES.get(self._settings.delegate)
        if wanted is not None and wanted not in report.delegates:
            named = ", ".join(report.delegates) or "none"
            raise AgentError(
                f"asked for the delegate {wanted}, it applied {named}; this device or this build "
                "of the tool does not have it"
            )

    def _extent(self, report: BenchmarkReport) -> str | None:
        """Return how much of the model the delegate took; None without one."""
        return report.delegates.get(_DELEGATES.get(self._settings.delegate, ""))

    def _outside(
        self, report: BenchmarkReport, profile: tuple[ProfiledNode, ...] | None
    ) -> tuple[str, ...]:
        """Return the types of the operators that the delegate did not take."""
        if self._extent(report) != "partially":
            return ()
        if profile is not None:
            return tuple(one.kind for one in profile if not one.delegated)
        return report.left_out or (_NAMELESS,)


@RUNTIMES.add("benchmark_model")
class BenchmarkModel(Runtime):
    """LiteRT by its command line tool, for phones; the device file names the program."""

    name = "benchmark_model"
    format = "tflite"
    precisions = PRECISIONS
    returns_outputs = False

    def settings(self, description: DeviceDescription) -> BenchmarkModelSettings:  # noqa: D102
        return description.runtimes.benchmark_model

    @property
    def requirement(self) -> str:  # noqa: D102
        return requirement_of(_SCHEMA)

    def absent_reason(self, description: DeviceDescription) -> str | None:  # noqa: D102
        settings = self.settings(description)
        if settings.binary is None and settings.device_binary is None:
            return (
                "its device file names no program; set runtimes.benchmark_model.binary to "
                "benchmark_model built for the device, on this machine, or device_binary to its "
                "path there"
            )
        return None

    def unavailable_reason(self) -> str | None:  # noqa: D102
        return unavailable_reason(_SCHEMA)

    @contextmanager
    def open(  # noqa: D102
        self, device: Device, *, timeout_s: float, precision: str = "float32"
    ) -> Iterator[Bench]:
        settings = device.resolved.runtimes.benchmark_model
        binary, digest = _program(device, settings, timeout_s)
        info = EngineInfo(
            engine=self.name,
            engine_version=f"{settings.version or 'unnamed'}+{digest[:_HASH_DIGITS]}",
            affinity=_affinity(device, settings),
            threads=settings.threads,
            timer_resolution_ns=_RESOLUTION_NS,
        )
        opened = BenchmarkModelBench(device, self, binary, info, precision=precision)
        with closing(opened) as bench:
            yield bench


def _arithmetic(delegate: str, precision: str) -> tuple[str, ...]:
    """Return the options that have a delegate compute in no less than the model's precision.

    The GPU's computes float32 in float16 unless it is forbidden to, NNAPI's does if it is allowed.
    """
    half = precision == "float16"
    if delegate == "gpu":
        return (f"--gpu_precision_loss_allowed={'true' if half else 'false'}",)
    return ("--nnapi_allow_fp16=true",) if delegate == "nnapi" and half else ()


def _program(device: Device, settings: BenchmarkModelSettings, timeout_s: float) -> tuple[str, str]:
    """Return the program's path on the device, ready to run, and its hash."""
    connector = device.connector
    if settings.binary is not None:
        local = Path(settings.binary).expanduser()
        if not local.is_file():
            raise DeviceError(
                f"{local}: no such file; the device file names it as "
                "runtimes.benchmark_model.binary"
            )
        remote, digest = connector.place(local), sha256_of(local)
        done = connector.run(["chmod", "755", remote], timeout_s)
    else:
        remote = settings.device_binary or ""
        script = '[ -x "$1" ] && sha256sum <"$1"'
        done = connector.run(["sh", "-c", script, "sh", remote], timeout_s)
        digest = done.stdout.decode(errors="replace").split(" ")[0]
    if done.status != 0 or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise DeviceError(
            f"{remote} cannot be run on the device {device.id!r}: "
            f"{done.stderr.decode(errors='replace').strip() or 'it is no program'}"
        )
    return remote, digest


def _affinity(device: Device, settings: BenchmarkModelSettings) -> tuple[int, ...]:
    """Return the CPUs to run on: those named, or the last ones; see that the device allows them."""
    if isinstance(settings.affinity, str):
        cpus = tuple(core.cpu for core in read_cores(device.connector).every)[-settings.threads :]
    else:
        cpus = settings.affinity
    if len(cpus) < settings.threads:
        raise AgentError(f"{settings.threads} thread(s) on the CPUs {list(cpus)} asked")
    done = device.connector.run([*_pinned(cpus), "true"], timeout_s=30.0)
    if done.status != 0:
        why = done.stderr.decode(errors="replace").strip()
        raise AgentError(
            f"the device {device.id!r} does not let a process run on its CPUs {list(cpus)}: {why}"
        )
    return cpus


def _pinned(cpus: Sequence[int]) -> list[str]:
    """Return what stands before a command that is to run on these CPUs."""
    return ["taskset", f"{sum(1 << cpu for cpu in set(cpus)):x}"]


def _last_lines(text: str) -> str:
    return " / ".join([line.strip() for line in text.splitlines() if line.strip()][-4:]) or "silent"
