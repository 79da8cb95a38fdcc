"""Reads what TensorFlow Lite's `benchmark_model` prints, in the forms that its versions have.

Statistics come in three forms, each with the runs' number and in microseconds: ``curr= count=``
(TensorFlow 1), ``count= first= curr= min= max= avg= std=``, and the same with percentiles (2.17 and
later); equal runs are told as ``count= curr= (all same)``. Single runs are not printed, but up to
three follow from these numbers.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgenas.core.errors import AgentError

N_KNOWN_RUNS = 3
"""How many runs in a row follow from the statistics alone."""

_PREFIX = re.compile(r"^(?:(?:INFO|WARN|WARNING|ERROR|VERBOSE): )?(?:\[[\w./-]+\.(?:h|cc):\d+\] )?")
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: ({_NUMBER}), First inference: ({_NUMBER}), "
    rf"Warmup \(avg\): ({_NUMBER}|-?nan), Inference \(avg\): ({_NUMBER})"
)
_COUNTED = re.compile(r"(?:count|curr)=")
_FIELD = re.compile(rf"(count|first|curr|min|max|avg|std|p5|median|p95)=({_NUMBER})")
_SERIES = re.compile(
    rf"Running benchmark for at least (\d+) iterations and at least ({_NUMBER}) seconds but "
    rf"terminate if exceeding ({_NUMBER}) seconds\."
)
_APPLIED = re.compile(
    r"(?:Explicitly )?[Aa]pplied (\w+) delegate, and the model graph will be "
    r"(completely|partially) executed (?:by|w/) the delegate(?: w/ (\d+) delegate kernels)?\."
)
_NOT_APPLIED = re.compile(
    r"Though (\w+) delegate is explicitly applied, the model graph will not be executed by the "
    r"delegate\."
)
_MEMORY = re.compile(
    rf"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    rf"init=(-?{_NUMBER}) overall=(-?{_NUMBER})"
)
_PARAMETER = re.compile(r"([#\w][\w #()-]*?): \[(.*)\]")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: (.+)")
_GPU_LIST = "Following operations are not supported by GPU delegate:"
_GPU_ENTRY = re.compile(r"([A-Z][A-Z0-9_]*):")
_PROFILE = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_TABLE = re.compile(r"=+ (.+?) =+")
_HEAD = re.compile(r"\t\s*\[node type\]\t")
_CSV_HEAD = "node type, "
_LARGE_US = 1e12
_LARGE_MIB = 1e9
_ROUNDING = 1e-5  # averages are printed with six digits


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is told of one series of runs, in microseconds; None where it is not told."""

    count: int
    curr_us: float = 0.0
    min_us: float = 0.0
    max_us: float = 0.0
    avg_us: float = 0.0
    first_us: float | None = None
    std_us: float | None = None

    def runs_us(self) -> tuple[float, ...]:
        """Return the single runs of a series of up to three, in their order if it is told.

        Raises:
            AgentError: there were more, or no runs have these statistics.
        """
        if self.count > N_KNOWN_RUNS:
            raise AgentError(
                f"benchmark_model does not print single runs: {self.count} of them cannot be told "
                f"apart, {N_KNOWN_RUNS} can"
            )
        if self.min_us == self.max_us:
            return (self.curr_us,) * self.count
        runs = self._runs_us()
        spread = math.sqrt(sum((one - self.avg_us) ** 2 for one in runs) / len(runs))
        told = self.std_us if self.std_us is not None else spread
        if (
            (len(runs), min(runs), max(runs)) != (self.count, self.min_us, self.max_us)
            or not math.isclose(sum(runs) / len(runs), self.avg_us, rel_tol=_ROUNDING, abs_tol=0.2)
            or abs(spread - told) > 2 + 0.01 * told
        ):
            raise AgentError(f"benchmark_model printed statistics that no runs have: {self}")
        return runs

    def _runs_us(self) -> tuple[float, ...]:
        if self.count == 2:
            other = self.max_us if self.curr_us == self.min_us else self.min_us
            return (other if self.first_us is None else self.first_us, self.curr_us)
        middle = float(round(3 * self.avg_us - self.min_us - self.max_us))
        middle = min(max(middle, self.min_us), self.max_us)  # rounded, it may lie a little outside
        known = [one for one in (self.first_us, self.curr_us) if one is not None]
        absent = [one for one in (self.min_us, self.max_us) if one not in known]
        if self.first_us is None:
            return (*(absent if len(absent) == 2 else (*absent, middle)), self.curr_us)
        return (self.first_us, *(absent or (middle,)), self.curr_us)


@dataclass(frozen=True, slots=True)
class ProfiledNode:
    """A node of the graph as it ran: a delegate's partition or an operator outside."""

    kind: str
    name: str
    avg_ms: float

    @property
    def delegated(self) -> bool:
        """Whether this is a part that a delegate runs."""
        return "Delegate" in self.kind


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """One run of the tool.

    `init_mib` and `overall_mib` are how much the peak of the process's memory grew until the model
    was loaded and until all runs were made; None where it is not told.
    `delegates` has the extent of each delegate that was applied: completely, partially or not.
    `left_out` are operators that a delegate refused by name. `nodes` is None without a profile.
    """

    init_us: float
    warmup: Statistics
    runs: Statistics
    parameters: dict[str, str]
    delegates: dict[str, str]
    left_out: tuple[str, ...]
    init_mib: float | None
    overall_mib: float | None
    nodes: tuple[ProfiledNode, ...] | None


def parse_benchmark(text: str) -> BenchmarkReport:
    """Return what `text`, the whole output of one run, says.

    Raises:
        AgentError: an option was not understood, something is missing or twice, a number is
            malformed, or numbers contradict each other; the message has the line.
    """
    lines = [_PREFIX.sub("", line).rstrip() for line in text.splitlines()]
    for line in lines:
        if ignored := _UNCONSUMED.fullmatch(line):
            raise AgentError(
                f"benchmark_model does not know {ignored[1]}; use a version that does, or change "
                "the settings of the runtime in the device file"
            )
    profile = lines.index(_PROFILE) if _PROFILE in lines else len(lines)
    head = lines[:profile]
    init_us, first_us, _, inference_us = _timings(head)
    warmup, runs = _series(head)
    if warmup.count and warmup.first_us not in (None, first_us):
        raise AgentError(f"benchmark_model contradicts itself on the first inference: {first_us:g}")
    if not math.isclose(runs.avg_us, inference_us, rel_tol=_ROUNDING):
        raise AgentError(
            f"benchmark_model contradicts itself: runs of {runs.avg_us:g} us on average, and "
            f"inference of {inference_us:g} us"
        )
    memory = [found for line in head if (found := _MEMORY.fullmatch(line))]
    return BenchmarkReport(
        init_us=init_us,
        warmup=warmup,
        runs=runs,
        parameters={m[1]: m[2] for line in head if (m := _PARAMETER.fullmatch(line))},
        delegates=_delegates(head),
        left_out=_left_out(head),
        init_mib=_mib(memory[0][1]) if memory else None,
        overall_mib=_mib(memory[0][2]) if memory else None,
        nodes=_nodes(lines[profile + 1 :]) if profile < len(lines) else None,
    )


def _mib(text: str) -> float:
    """Return an amount of memory.

    Raises:
        AgentError: no device has as much.
    """
    if abs(mib := float(text)) >= _LARGE_MIB:
        raise AgentError(f"benchmark_model printed a memory that cannot be: {text:.40} MB")
    return mib


def _timings(lines: Sequence[str]) -> tuple[float, float, float, float]:
    begun = [line for line in lines if line.startswith("Inference timings in us:")]
    if len(begun) != 1:
        raise AgentError(
            f"benchmark_model printed its timings {len(begun)} times and not once; its last lines: "
            + " / ".join([line for line in lines if line][-4:])
        )
    found = _TIMINGS.fullmatch(begun[0])
    if found is None:
        raise AgentError(f"benchmark_model printed what are no timings: {begun[0]!r}")
    init, first, warmup, inference = (float(found[i]) for i in range(1, 5))
    if not 0 < inference < _LARGE_US or not 0 < init < _LARGE_US:
        raise AgentError(
            f"benchmark_model printed times that cannot be: {begun[0]!r}; below a microsecond it "
            "tells nothing"
        )
    return init, first, warmup, inference


def _series(lines: Sequence[str]) -> tuple[Statistics, Statistics]:
    """Return the statistics of the warm-up and of the runs, in this order."""
    begun = sum(bool(_SERIES.fullmatch(line)) for line in lines)
    found = [_statistics(line) for line in lines if _COUNTED.match(line)]
    if begun != 2 or len(found) != 2:
        raise AgentError(
            f"benchmark_model began {begun} series of runs and told of {len(found)}; a warm-up and "
            "one series belong there"
        )
    return found[0], found[1]


def _statistics(line: str) -> Statistics:
    text, n_same = re.subn(r"\(all same\)", "", line)
    fields: dict[str, float] = {}
    for part in text.split():
        found = _FIELD.fullmatch(part)
        if found is None or found[1] in fields:
            raise AgentError(f"benchmark_model printed what are no statistics: {line!r}")
        fields[found[1]] = float(found[2])
    if n_same != ("min" not in fields and fields.get("count", 0.0) > 1):
        raise AgentError(f"benchmark_model printed what are no statistics: {line!r}")
    return _checked(fields, line)


def _checked(fields: dict[str, float], line: str) -> Statistics:
    wrong = AgentError(f"benchmark_model printed statistics that cannot be: {line!r}")
    count = fields.get("count", -1.0)
    if not count.is_integer() or not 0 <= count < 1e9:
        raise wrong
    if count == 0:
        return Statistics(0)
    curr = fields.get("curr")
    if curr is None:
        raise wrong
    if "min" not in fields:
        if set(fields) - {"count", "curr", "p5", "median", "p95"}:
            raise wrong
        return Statistics(int(count), curr, curr, curr, curr, curr)
    least, most, mean = (fields.get(name, math.nan) for name in ("min", "max", "avg"))
    first = fields.get("first")
    rounding = _ROUNDING * most
    inside = all(least <= one <= most for one in (curr, curr if first is None else first))
    if not inside or not least - rounding <= mean <= most + rounding or most >= _LARGE_US:
        raise wrong
    return Statistics(int(count), curr, least, most, mean, first, fields.get("std"))


def _delegates(lines: Sequence[str]) -> dict[str, str]:
    found = {m[1]: m[2] for line in lines if (m := _APPLIED.fullmatch(line))}
    found |= {m[1]: "not" for line in lines if (m := _NOT_APPLIED.fullmatch(line))}
    unclear = [
        line
        for line in lines
        if "delegate, and the model graph" in line and not _APPLIED.fullmatch(line)
    ]
    if unclear:
        raise AgentError(f"benchmark_model printed an unknown line on delegates: {unclear[0]!r}")
    return found


def _left_out(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the operators that the GPU delegate lists as not supported."""
    if _GPU_LIST not in lines:
        return ()
    names = []
    for line in lines[lines.index(_GPU_LIST) + 1 :]:
        entry = _GPU_ENTRY.match(line.strip())
        if entry is None:
            break
        names.append(entry[1])
    return tuple(dict.fromkeys(names))


def _nodes(lines: Sequence[str]) -> tuple[ProfiledNode, ...]:
    """Return the first table "Run Order" of a profile: the primary graph's."""
    titles = [
        i for i, line in enumerate(lines) if (m := _TABLE.fullmatch(line)) and m[1] == "Run Order"
    ]
    if not titles or titles[0] + 1 >= len(lines):
        raise AgentError("benchmark_model printed a profile without the table 'Run Order'")
    rows = lines[titles[0] + 1 :]
    if rows[0].startswith(_CSV_HEAD):
        found = tuple(_csv_rows(rows))
    elif _HEAD.match(rows[0]):
        found = tuple(_text_rows(rows))
    else:
        raise AgentError(f"benchmark_model printed a profile with an unknown head: {rows[0]!r}")
    if not found:
        raise AgentError("benchmark_model printed an empty profile")
    return found


def _text_rows(rows: Sequence[str]) -> Iterator[ProfiledNode]:
    head = [cell.strip() for cell in rows[0].strip("\t").split("\t")]
    for row in rows[1:]:
        if not row.strip():
            return
        cells = [cell.strip() for cell in row.strip("\t").split("\t", len(head) - 1)]
        yield _node(dict(zip(head, cells, strict=False)), len(head) == len(cells), row)


def _csv_rows(rows: Sequence[str]) -> Iterator[ProfiledNode]:
    head = [cell.strip() for cell in rows[0].split(",")]
    names = {"node type": "[node type]", "avg_ms": "[avg ms]", "name": "[Name]"}
    for row in rows[1:]:
        if not row.strip():
            return
        try:
            (cells,) = csv.reader([row], skipinitialspace=True, quoting=csv.QUOTE_NONE)
        except (csv.Error, ValueError) as error:
            raise AgentError(f"benchmark_model printed what is no row: {row!r:.200}") from error
        rest = ", ".join(cells[len(head) - 1 :])  # a name may hold commas
        cells = [*cells[: len(head) - 1], rest]
        record = {names.get(key, key): cell for key, cell in zip(head, cells, strict=False)}
        yield _node(record, len(cells) == len(head), row)


def _node(record: dict[str, str], whole: bool, row: str) -> ProfiledNode:
    try:
        avg_ms = float(record["[avg ms]"])
        node = ProfiledNode(record["[node type]"], record["[Name]"], avg_ms)
    except (KeyError, ValueError) as error:
        raise AgentError(f"benchmark_model printed what is no row of a profile: {row!r}") from error
    if not whole or not math.isfinite(avg_ms) or avg_ms < 0 or not node.kind:
        raise AgentError(f"benchmark_model printed what is no row of a profile: {row!r}")
    return node
