"""Reads what TensorRT's `trtexec` prints and exports, as versions 8 to 10 do.

Times are an array with an object for each run; early versions call the copies ``inMs`` and
``outMs``, later ones ``h2dMs`` and ``d2hMs``. All tell ``computeMs`` and ``latencyMs``, which is
the sum of the three, and when each of the three began and ended (``startH2dMs``, ...). Copies of a
run may overlap with the computing of its neighbours. A profile is an array too: the number of
runs, then a layer each.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from edgenas.core.errors import AgentError, RefusedError

_STARTED = re.compile(r"^&&&& RUNNING TensorRT\.trtexec \[TensorRT v([0-9]{1,9})\]", re.MULTILINE)
_PASSED = re.compile(r"^&&&& PASSED TensorRT\.trtexec", re.MULTILINE)
_FAILED = re.compile(r"^&&&& FAILED TensorRT\.trtexec", re.MULTILINE)
_PROBLEM = re.compile(r"^(?:\[[\d/:-]+\] )?\[E\] (.+)$", re.MULTILINE)
_SECONDS = r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?) sec"
_BUILT = re.compile(rf"\[I\] Engine built in {_SECONDS}")
_LOADED = re.compile(rf"\[I\] Engine (?:loaded|deserialized) in {_SECONDS}")
_COPIES = (("h2dMs", "d2hMs"), ("inMs", "outMs"))
_ENDS = (("startH2dMs", "endD2hMs"), ("startInMs", "endOutMs"))
_SUM_TOLERANCE = 1e-3
_LARGE_S = 1e6
_N_PROBLEMS = 3


@dataclass(frozen=True, slots=True)
class TrtexecLog:
    """What a run of the tool said of itself; times are None where they are not told."""

    build_ms: float | None
    load_ms: float | None


def parse_log(text: str, *, n_problems: int = _N_PROBLEMS) -> TrtexecLog:
    """Return what the tool printed about a run that succeeded.

    Raises:
        RefusedError: it said that it failed; the message has its first `n_problems`.
        AgentError: it did not say that it passed, or printed times that cannot be.
    """
    if _PASSED.search(text) is None:
        kind = AgentError if _FAILED.search(text) is None else RefusedError
        problems = list(dict.fromkeys(_PROBLEM.findall(text)))[:n_problems]
        problems = problems or text.strip().splitlines()[-n_problems:]
        raise kind(f"trtexec did not pass: {' / '.join(problems) or 'it printed nothing'}")
    return TrtexecLog(
        build_ms=_milliseconds(_BUILT, text),
        load_ms=_milliseconds(_LOADED, text),
    )


def parse_version(text: str) -> str:
    """Return TensorRT's version, e.g. ``8.4.1``, in what the tool printed first.

    Raises:
        AgentError: it printed none; those before 8 do not.
    """
    started = _STARTED.search(text)
    if started is None:
        raise AgentError(f"trtexec does not tell its version: {text.strip()[:100]!r}")
    number = int(started[1])
    whole = 10_000 if number >= 100_000 else 1000  # v8401 is 8.4.1, v101303 is 10.13.3
    return f"{number // whole}.{number % whole // 100}.{number % 100}"


def parse_times(text: str) -> tuple[float, ...]:
    """Return the runs' times in ms, in order: copy in, compute, copy out.

    Raises:
        AgentError: the text is no export of times, or contradicts itself.
    """
    return tuple(_latency_ms(entry) for entry in parse_array(text, "times"))


def parse_span_ms(text: str) -> tuple[float, float]:
    """Return when the first copy in began and when the last copy out ended, in ms.

    Raises:
        AgentError: the text is no export of times, does not tell, or has an end before its start.
    """
    ends = [_ends_ms(entry) for entry in parse_array(text, "times")]
    start_ms = min((start for start, _ in ends), default=0.0)
    end_ms = max((end for _, end in ends), default=0.0)
    if end_ms <= start_ms:
        raise AgentError(f"trtexec's {len(ends)} runs last from {start_ms:g} to {end_ms:g} ms")
    return start_ms, end_ms


def parse_profile(text: str) -> tuple[tuple[str, float], ...]:
    """Return the layers' names with their mean times in ms, in the order in which they run.

    Raises:
        AgentError: the text is no export of a profile.
    """
    head, *layers = parse_array(text, "a profile") or [{}]
    if set(head) != {"count"}:
        raise AgentError(f"trtexec's profile begins with {head!r:.80}, not with its count")
    found = []
    for layer in layers:
        name = layer.get("name")
        if not isinstance(name, str):
            raise AgentError(f"trtexec's profile has a layer without a name: {layer!r:.80}")
        found.append((name, _number(layer, "averageMs", least=0.0)))
    return tuple(found)


def _latency_ms(entry: dict[str, Any]) -> float:
    for names in _COPIES:
        if names[0] in entry:
            parts = [_number(entry, name, least=0.0) for name in (names[0], "computeMs", names[1])]
            latency_ms = _number(entry, "latencyMs", least=0.0)
            if latency_ms <= 0 or not math.isclose(
                sum(parts), latency_ms, rel_tol=_SUM_TOLERANCE, abs_tol=_SUM_TOLERANCE
            ):
                raise AgentError(
                    f"trtexec contradicts itself: {'+'.join(f'{part:g}' for part in parts)} ms of "
                    f"copies and computing, and {latency_ms:g} ms in all"
                )
            return latency_ms
    raise AgentError(f"trtexec's times tell of no copies: {entry!r:.120}")


def _ends_ms(entry: dict[str, Any]) -> tuple[float, float]:
    for names in _ENDS:
        if names[0] in entry:
            start_ms, end_ms = (_number(entry, name, least=0.0) for name in names)
            return start_ms, end_ms
    raise AgentError(f"trtexec does not tell when a run began: {entry!r:.120}")


def parse_array(text: str, what: str) -> list[dict[str, Any]]:
    """Return the objects of an exported JSON array.

    Raises:
        AgentError: the text is none; the message says of what it was to be.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AgentError(f"trtexec exported no JSON as {what}: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise AgentError(f"trtexec exported {text!r:.80} as {what}, which is no array of objects")
    return entries


def _number(entry: dict[str, Any], name: str, *, least: float) -> float:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e12:
        raise AgentError(f"trtexec's {name} is {value!r:.40}, which is no time: {entry!r:.120}")
    return float(value)


def _milliseconds(pattern: re.Pattern[str], text: str) -> float | None:
    found = pattern.search(text)
    if found is None:
        return None
    if not (seconds := float(found[1])) < _LARGE_S:
        raise AgentError(f"trtexec printed a time that cannot be: {found[0]:.80}")
    return seconds * 1e3
