"""What `benchmark_model` takes and prints, in the manners of several of its versions.

Recorded from its sources and logs: 1.15 to 2.2 ("2.2"), 2.3 to 2.13 ("2.9"), later ("2.16").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

VERSIONS = ("2.2", "2.9", "2.16")
_OLD, _NEW = "2.2", "2.16"
_NOTE = (
    "Note: as the benchmark tool itself affects memory footprint, the following is only "
    "APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at "
    "your discretion."
)


class UsageProblemError(Exception):
    """An option that the tool does not take."""


@dataclass(slots=True)
class Options:
    """The options, with the tool's own defaults."""

    graph: str = ""
    num_runs: int = 50
    min_secs: float = 1.0
    max_secs: float = 150.0
    warmup_runs: int = 1
    warmup_min_secs: float = 0.5
    num_threads: int = -1
    use_xnnpack: bool | None = None
    use_gpu: bool = False
    gpu_precision_loss_allowed: bool = True
    use_nnapi: bool = False
    nnapi_allow_fp16: bool = False
    enable_op_profiling: bool = False
    report_peak_memory_footprint: bool = False
    given: list[str] = field(default_factory=list)
    unconsumed: list[str] = field(default_factory=list)

    @property
    def delegate(self) -> str:
        """What runs the operators."""
        return "none" if self.use_xnnpack is False else "xnnpack"

    @classmethod
    def parse(cls, arguments: Sequence[str], version: str) -> Options:
        """Return the options given; later versions only warn of those that they do not know.

        Raises:
            UsageProblemError: a value is malformed, or there is no graph.
        """
        options = cls()
        for argument in arguments:
            name, equals, text = argument.removeprefix("--").partition("=")
            known = equals and argument.startswith("--") and hasattr(options, name)
            if not known or name in ("given", "unconsumed", "delegate"):
                options.unconsumed.append(argument)
                continue
            try:
                setattr(options, name, _value(name, text))
            except ValueError as error:
                raise UsageProblemError(f"Failed to parse {argument}") from error
            options.given.append(name)
        if options.unconsumed and version == _OLD:
            raise UsageProblemError(f"Unconsumed cmdline flags: {' '.join(options.unconsumed)}")
        if not options.graph:
            raise UsageProblemError(
                "Please specify the name of your TF Lite input file with --graph"
            )
        return options


@dataclass(frozen=True, slots=True)
class Timed:
    """What one run of the tool found, in microseconds and KiB."""

    init_us: int
    warmup: list[int]
    runs: list[int]
    init_kib: int
    overall_kib: int
    nodes: list[tuple[str, str]]


class Output:
    """Prints as one version does."""

    def __init__(self, version: str, write: Callable[[int, bytes], Any]) -> None:
        self._version, self._write = version, write

    def line(self, text: str) -> None:
        """Print a line of the log."""
        prefix = "INFO: " if self._version == _NEW else ""
        self._write(1, f"{prefix}{text}\n".encode())

    def start(self, options: Options) -> None:
        """Print what the tool was asked."""
        self.line("STARTING!")
        if options.unconsumed:
            self.line(f"Unconsumed cmdline flags: {' '.join(options.unconsumed)}")
        self.line("Log parameter values verbosely: [0]")
        titles = {
            "num_runs": "Min num runs",
            "min_secs": "Min runs duration (seconds)",
            "max_secs": "Max runs duration (seconds)",
            "num_threads": "Num threads",
            "warmup_runs": "Min warmup runs",
            "warmup_min_secs": "Min warmup runs duration (seconds)",
        }
        for name, title in titles.items():
            if name in options.given:
                self.line(f"{title}: [{_number(getattr(options, name))}]")
        self.line(f"Graph: [{options.graph}]")
        if self._version == _NEW:
            self.line("Signature to run: []")
        if "enable_op_profiling" in options.given:
            self.line(f"Enable op profiling: [{int(options.enable_op_profiling)}]")
        if options.num_threads > 0:
            self.line(f"#threads used for CPU inference: [{options.num_threads}]")
        for name, title in (("use_gpu", "gpu"), ("use_nnapi", "NNAPI"), ("use_xnnpack", "xnnpack")):
            if name in options.given:
                self.line(f"Use {title}: [{int(getattr(options, name))}]")

    def failed_to_load(self, options: Options) -> None:
        """Print that the graph is no model."""
        self._write(2, f"ERROR: Failed to load model {options.graph}\n".encode())
        self._write(2, b"ERROR: Benchmarking failed.\n")

    def loaded(
        self, options: Options, nodes: list[tuple[str, str]], *, n_bytes: int, init_us: int
    ) -> None:
        """Print how the model was taken in, and what of it delegates run."""
        self.line(f"Loaded model {options.graph}")
        for wanted, name in ((options.use_gpu, "GPU"), (options.use_nnapi, "NNAPI")):
            if wanted:
                self.line(f"{name} acceleration is unsupported on this platform.")
        if options.delegate == "xnnpack":
            self.line("Created TensorFlow Lite XNNPACK delegate for CPU.")
        if options.use_xnnpack:
            self._applied(nodes)
        self.line(f"The input model file size (MB): {_number(n_bytes / 1e6)}")
        self.line(f"Initialized session in {_number(init_us / 1e3)}ms.")

    def ran(self, least: int, least_s: float, options: Options, times: list[int]) -> None:
        """Print the statistics of one series."""
        self.line(
            f"Running benchmark for at least {least} iterations and at least {_number(least_s)} "
            f"seconds but terminate if exceeding {_number(options.max_secs)} seconds."
        )
        self.line(self._statistics(times) + "\n")

    def summary(self, options: Options, timed: Timed) -> None:
        """Print the last part: timings, memory, and the profile if it was asked for."""
        self.line(
            f"Inference timings in us: Init: {timed.init_us}, "
            f"First inference: {timed.warmup[0] if timed.warmup else 0}, "
            f"Warmup (avg): {_number(_mean(timed.warmup))}, "
            f"Inference (avg): {_number(_mean(timed.runs))}"
        )
        self.line(_NOTE)
        init, overall = (_number(kib / 1024) for kib in (timed.init_kib, timed.overall_kib))
        title = "Peak memory footprint (MB)" if self._version == _OLD else (
            "Memory footprint delta from the start of the tool (MB)"
        )  # fmt: skip
        self.line(f"{title}: init={init} overall={overall}")
        if options.report_peak_memory_footprint and self._version == _NEW:
            self.line(f"Overall peak memory footprint (MB) via periodic monitoring: {overall}")
        if options.enable_op_profiling:
            self._profile(timed)

    def _applied(self, nodes: list[tuple[str, str]]) -> None:
        n_kernels = sum(kind.endswith("Delegate") for kind, _ in nodes)
        word = "Applied" if self._version == _OLD else "Explicitly applied"
        if n_kernels == 0:
            self.line(
                "Though XNNPACK delegate is explicitly applied, the model graph will not be "
                "executed by the delegate."
            )
        elif n_kernels == len(nodes) == 1:
            self.line(
                f"{word} XNNPACK delegate, and the model graph will be completely executed by the "
                "delegate."
            )
        else:
            self.line(
                f"{word} XNNPACK delegate, and the model graph will be partially executed by the "
                f"delegate w/ {n_kernels} delegate kernels."
            )

    def _statistics(self, times: list[int]) -> str:
        n = len(times)
        if n == 0:
            return "count=0"
        quantiles = ""
        if self._version == _NEW:
            ranked = sorted(times)
            p5, median, p95 = (ranked[min(n - 1, n * part // 100)] for part in (5, 50, 95))
            quantiles = f" p5={p5} median={median} p95={p95}"
        if min(times) == max(times):
            same = "(all same)" if n > 1 else ""
            return f"count={n} curr={times[-1]}{same}{quantiles}"
        mean = _mean(times)
        std = int(math.sqrt(max(0.0, sum(t * t for t in times) / n - mean * mean)))
        return (
            f"count={n} first={times[0]} curr={times[-1]} min={min(times)} max={max(times)} "
            f"avg={_number(mean)} std={std}{quantiles}"
        )

    def _profile(self, timed: Timed) -> None:
        share_us = _mean(timed.runs) / max(1, len(timed.nodes))
        init = [("AllocateTensors", "AllocateTensors/0", timed.init_us)]
        runs = [(kind, name, share_us) for kind, name in timed.nodes]
        for title, rows in (
            ("Profiling Info for Benchmark Initialization:", init),
            ("Operator-wise Profiling Info for Regular Benchmark Runs:", runs),
        ):
            self.line(title)
            for part in ("Run Order", "Top by Computation Time"):
                self._table(part, rows)
            self._plain(f"Number of nodes executed: {len(rows)}")
            self._summary(rows)
            self._plain(f"Timings (microseconds): {self._statistics(timed.runs)}")
            self._plain("Memory (bytes): count=0")
            self._plain(f"{len(rows)} nodes observed\n")

    def _table(self, title: str, rows: Sequence[tuple[str, str, float]]) -> None:
        start = self._version != _NEW
        self._plain(f"{'=' * 30} {title} {'=' * 30}")
        head = [f"{'[node type]':>24}", *([f"{'[start]':>17}"] if start else [])]
        names = (("[first]", 9), ("[avg ms]", 9), ("[%]", 8), ("[cdf%]", 8), ("[mem KB]", 10))
        head += [f"{name:>{width}}" for name, width in names]
        self._plain("\t" + "\t".join([*head, "[times called]", "[Name]"]))
        total = sum(us for *_, us in rows) or 1.0
        done = 0.0
        for kind, name, us in rows:
            cells = [f"{kind:>24}", *([f"{done / 1e3:17.3f}"] if start else [])]
            done += us
            share, so_far = 100 * us / total, 100 * done / total
            cells += [f"{us / 1e3:9.3f}"] * 2
            cells += [f"{share:7.3f}%", f"{so_far:7.3f}%", f"{0:10.3f}", f"{1:9d}", name]
            self._plain("\t" + "\t".join(cells))
        self._plain("")

    def _summary(self, rows: Sequence[tuple[str, str, float]]) -> None:
        self._plain(f"{'=' * 30} Summary by node type {'=' * 30}")
        self._plain(
            f"\t{'[Node type]':>24}\t  [count]\t  [avg ms]\t    [avg %]\t    [cdf %]\t  [mem KB]"
            "\t[times called]"
        )
        total = sum(us for *_, us in rows) or 1.0
        done = 0.0
        for kind in dict.fromkeys(kind for kind, *_ in rows):
            times = [us for one, _, us in rows if one == kind]
            done += sum(times)
            share, so_far = 100 * sum(times) / total, 100 * done / total
            self._plain(
                f"\t{kind:>24}\t{len(times):9d}\t{sum(times) / 1e3:10.3f}\t{share:10.3f}%"
                f"\t{so_far:10.3f}%\t{0:10.3f}\t{len(times):9d}"
            )
        self._plain("")

    def _plain(self, text: str) -> None:
        self._write(1, f"{text}\n".encode())


def _value(name: str, text: str) -> int | float | bool | str:
    if name == "graph":
        return text
    if name.startswith(("use_", "enable_", "report_", "gpu_", "nnapi_")):
        if text not in ("true", "false", "1", "0"):
            raise ValueError(text)
        return text in ("true", "1")
    return float(text) if name.endswith("_secs") else int(text)


def _mean(times: Sequence[float]) -> float:
    return sum(times) / len(times) if times else 0.0


def _number(value: float) -> str:
    """Return a number as C++ streams print it by default: six significant digits."""
    return f"{value:.6g}"
