"""Whatever bytes come in the place of an agent's frames make an error of ours, and no other."""

import base64
import io
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenas.core.errors import DeviceError, EdgenasError
from edgenas.hardware.connectors.base import RemoteProcess
from edgenas.hardware.device import Device, load_device
from edgenas.runtimes.agent_bench import AgentBench
from edgenas.runtimes.base import RUNTIMES
from edgenas.runtimes.client import AgentClient
from edgenas.testing.fake_connector import FakeConnector

HELLO = {
    "id": 1, "ok": True, "protocol": 2, "python": "3", "numpy": "2", "engine": "onnxruntime",
    "distribution": "onnxruntime", "engine_version": "1", "pid": 7, "affinity": [0], "threads": 1,
    "timer_resolution_ns": 1, "load_average": 0.0,
}  # fmt: skip
ANSWERS: list[dict[str, Any]] = [
    {"rss_before_kib": 1, "load_ms": 1.0, "build_ms": 0.0, "first_ms": 1.0, "rss_kib": 5,
     "peak_kib": 7, "inputs": [{"name": "x", "shape": [1], "dtype": "float32"}],
     "outputs": [{"name": "y", "shape": [1], "dtype": "float32"}], "delegated": True,
     "outside": []},
    {"visits": [{"key": "a", "at_ns": 5, "samples_ns": [3, 4]}]},
    {"rss_kib": 5},
    {"outputs": {"y": "AAAA"}},
    {"nodes": [{"kind": "Conv", "name": "c", "in_shapes": [[1]], "out_shapes": [[1]],
                "inside": True}]},
    {"start_ns": 1, "end_ns": 9, "n_runs": 1, "peak_kib": None},
    {"at_ns": [1], "samples_ns": [4]},
    {"readings": [{"source": "s", "at_ns": 3, "values": ["1", None]}], "n_dropped": 0,
     "more": False},
]  # fmt: skip
ODD: list[Any] = [
    -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", "\ud800", "x" * 1000, None, True, [],
    {}, [[]], [None], 1.5,
]  # fmt: skip


DESCRIPTION = load_device("local").description


class Speaker(RemoteProcess):
    """A process that has said all that it will say before it is asked."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def status(self) -> int | None:
        return None

    def write(self, content: bytes, timeout_s: float) -> None:
        pass

    def read(self, n_bytes: int, timeout_s: float) -> bytes:
        part, self._said = self._said[:n_bytes], self._said[n_bytes:]
        if len(part) < n_bytes:
            raise DeviceError(f"ended after {len(part)} of {n_bytes} bytes")
        return part

    def stderr_tail(self) -> str:
        return ""

    def wait(self, timeout_s: float) -> int | None:
        return 0

    def close_input(self) -> None:
        pass

    def kill(self) -> None:
        pass


class Way(FakeConnector):
    """A way to a device whose measuring process says `said`."""

    said = b""

    def spawn(self, argv: Sequence[str], env: Mapping[str, str]) -> RemoteProcess:
        return Speaker(self.said)


def frame(answer: Any) -> bytes:
    body = json.dumps(answer).encode()
    return struct.pack(">I", len(body)) + body


def requests(bench: AgentBench, path: Path) -> list[Callable[[], object]]:
    return [
        lambda: bench.load("a", path),
        lambda: bench.visit(["a"], n_runs=2, n_warmup=0, timeout_s=5),
        bench.memory_kib,
        lambda: bench.infer("a", {}),
        lambda: bench.nodes("a"),
        lambda: bench.sustain("a", duration_s=1.0),
        bench.readings,
    ]


def ask(said: bytes, which: int) -> None:
    """Open a bench on what a process says, and make one request; only our errors may come."""
    way = Way()
    way.said = said
    device = Device(DESCRIPTION, way)
    runtime = RUNTIMES.get("onnxruntime")()
    client = AgentClient(device, "onnxruntime", "install it", {})
    try:
        info = client.hello(5.0)
    except EdgenasError:
        return
    bench = AgentBench(device, runtime, client, info)
    with suppress(EdgenasError):
        requests(bench, Path(__file__))[which]()


def changed(answer: Any, data: st.DataObject) -> Any:
    """Return an answer with one value, at any depth, in exchange for an odd one."""
    if isinstance(answer, dict) and answer and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(answer)))
        return {**answer, key: changed(answer[key], data)}
    if isinstance(answer, list) and answer and data.draw(st.booleans()):
        return [changed(answer[0], data), *answer[1:]]
    return data.draw(st.sampled_from(ODD))


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.integers(0, 6))
def test_an_answer_with_an_odd_value(data: st.DataObject, which: int) -> None:
    fitting = [which] if which < 5 else [[5, 6], [7]][which - 5]
    answers = [{"id": 2 + k, "ok": True, **ANSWERS[i]} for k, i in enumerate(fitting)]
    place = data.draw(st.integers(0, len(answers)))
    whole: list[Any] = [HELLO, *answers]
    whole[place] = {"id": 1 + place, "ok": True} | _as_dict(changed(whole[place], data))
    ask(b"".join(map(frame, whole)), which)


@pytest.mark.parametrize("odd", [-1, 10**19, 10**400], ids=["negative", "large", "endless"])
@pytest.mark.parametrize(
    "visit",
    [{"at_ns": "odd", "samples_ns": [3, 4]}, {"at_ns": 5, "samples_ns": [3, "odd"]}],
    ids=["at", "sample"],
)
def test_a_time_that_no_clock_shows(visit: dict[str, Any], odd: int) -> None:
    whole = json.dumps({"id": 2, "ok": True, "visits": [{"key": "a", **visit}]})
    body = whole.replace('"odd"', str(odd)).encode()
    ask(frame(HELLO) + struct.pack(">I", len(body)) + body, 1)


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_array(data: st.DataObject) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, 3), np.float32), allow_pickle=False)
    content = bytearray(stream.getvalue())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.sampled_from([0, 4, 9, 40, len(content)]))])
    answer = {"id": 2, "ok": True, "outputs": {"y": base64.b64encode(cut).decode()}}
    ask(frame(HELLO) + frame(answer), 3)


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda b: frame(HELLO) + b)),
       st.integers(0, 6))  # fmt: skip
def test_any_bytes(said: bytes, which: int) -> None:
    ask(said, which)


@given(st.sampled_from(ODD), st.sampled_from(ODD), st.integers(0, 6))
def test_an_odd_refusal(kind: Any, message: Any, which: int) -> None:
    refusal = {"id": 2, "ok": False, "error": {"kind": kind, "message": message}}
    ask(frame(HELLO) + frame(refusal), which)


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"odd": value}
