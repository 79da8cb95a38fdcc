"""TensorRT by its tool, against a program that prints and exports as it does."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError
from edgenas.hardware.connectors.base import Completed
from edgenas.hardware.device import Device, load_device
from edgenas.runtimes import RUNTIMES, open_bench
from edgenas.runtimes.trtexec_output import (
    parse_log,
    parse_profile,
    parse_span_ms,
    parse_times,
    parse_version,
)
from tests.runtimes.boards import trtexec_board

Describe = Callable[..., Device]


@pytest.fixture
def describe(tmp_path: Path) -> Iterator[Describe]:
    """A function that describes a device whose `trtexec` plays a version and has a fault."""
    devices: list[Device] = []

    def write(version: int = 8401, fault: str = "none", **settings: Any) -> Device:
        devices.append(load_device(trtexec_board(tmp_path, version, fault, **settings)))
        return devices[-1]

    yield write
    for device in devices:
        device.close()


@pytest.mark.parametrize(
    ("version", "told"),
    [(8001, "8.0.1"), (8401, "8.4.1"), (101303, "10.13.3"), (110000, "11.0.0")],
)
def test_every_version_builds_and_times(
    describe: Describe, onnx_file: Path, version: int, told: str
) -> None:
    with open_bench(describe(version), "trtexec") as bench:
        assert bench.info.engine_version == told
        info = bench.load("a", onnx_file)
        assert info.build_ms == 12_500
        assert info.load_ms == 12.5
        assert info.first_ms is not None
        assert info.inputs[0].shape == (1, 8, 16, 16)
        assert (info.inputs[0].name, info.inputs[0].dtype) == ("image", "float32")
        assert [one.name for one in info.outputs] == ["result"]
        visits = bench.visit(["a", "a"], n_runs=3, n_warmup=2, timeout_s=60)
        assert [len(visit.samples_ms) for visit in visits] == [3, 3]
        # The two runs of the warm-up are left out: the times go 0, 1, 2, 0, 1 %.
        assert visits[0].samples_ms[0] == max(visits[0].samples_ms)
        assert [node.name for node in bench.nodes("a")] == ["Conv_0 + Relu_1", "Gemm_2"]
        assert info.peak_memory_kib is None
        bench.unload("a")
        with pytest.raises(AgentError, match="no model is loaded under the key 'a'"):
            bench.visit(["a"], n_runs=1, n_warmup=0, timeout_s=60)


@pytest.mark.parametrize("version", [8001, 101303])
def test_the_period_of_runs_is_shorter_than_their_latency(
    describe: Describe, onnx_file: Path, version: int
) -> None:
    """Copies are made beside the computing of other runs: an energy is of the time between two."""
    with open_bench(describe(version), "trtexec") as bench:
        bench.load("a", onnx_file)
        (visit,) = bench.visit(["a"], n_runs=3, n_warmup=0, timeout_s=60)
        run = bench.run_for("a", duration_s=0.3, timeout_s=60)
    latency_ms = sum(visit.samples_ms) / 3
    assert run.n_runs > 50
    assert run.period_ms == pytest.approx(latency_ms - 0.13, rel=0.01)


def test_nothing_stays_on_the_device(describe: Describe, onnx_file: Path) -> None:
    device = describe()
    with open_bench(device, "trtexec") as bench:
        bench.load("a", onnx_file)
        bench.load("b", onnx_file)
        bench.visit(["a", "b"], n_runs=1, n_warmup=0, timeout_s=60)
        bench.nodes("b")
        folder = Path(device.connector.workdir)
        assert len([*folder.iterdir()]) == 2
        bench.unload("a")
        assert len([*folder.iterdir()]) == 1
    assert [*folder.iterdir()] == []
    assert not bench.alive
    with pytest.raises(AgentError, match="open a new bench"):
        bench.load("c", onnx_file)


@pytest.mark.parametrize(
    ("version", "precision", "expected"),
    [
        (8401, "float32", ["--noTF32"]),
        (8401, "float16", ["--fp16", "--noTF32"]),
        (8401, "int8", ["--int8", "--noTF32"]),
        (101303, "float32", ["--stronglyTyped", "--noTF32"]),
        (101303, "float16", ["--stronglyTyped", "--noTF32"]),
        (110000, "int8", ["--stronglyTyped", "--noTF32"]),
    ],
)
def test_what_an_engine_may_compute_in_follows_from_the_precision(
    describe: Describe,
    onnx_file: Path,
    tmp_path: Path,
    version: int,
    precision: str,
    expected: list[str],
) -> None:
    with open_bench(describe(version), "trtexec", precision=precision) as bench:
        bench.load("a", onnx_file)
    calls = (tmp_path / "calls").read_text().splitlines()
    (built,) = [line.split() for line in calls if "--onnx" in line]
    asked = [one for one in built if one in ("--fp16", "--int8", "--noTF32", "--stronglyTyped")]
    assert asked == expected
    assert "--iterations=1" in built


def test_tf32_is_off_unless_it_is_asked_for(
    describe: Describe, onnx_file: Path, tmp_path: Path
) -> None:
    with open_bench(describe(tf32=True), "trtexec") as bench:
        bench.load("a", onnx_file)
    assert "--noTF32" not in (tmp_path / "calls").read_text()


def test_building_an_engine_gets_minutes(
    describe: Describe, onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = describe()
    limits: list[float] = []
    run = device.connector.run

    def noted(argv: Sequence[str], timeout_s: float) -> Completed:
        limits.append(timeout_s)
        return run(argv, timeout_s)

    with open_bench(device, "trtexec") as bench:
        monkeypatch.setattr(device.connector, "run", noted)
        bench.load("a", onnx_file)
        assert max(limits) == 600
        limits.clear()
        bench.load("b", onnx_file, timeout_s=7.0)
        assert max(limits[:1]) == 7


def test_a_deadline_ends_between_visits(describe: Describe, onnx_file: Path) -> None:
    with open_bench(describe(), "trtexec") as bench:
        bench.load("a", onnx_file)
        keys = ["a"] * 3
        assert bench.visit(keys, n_runs=1, n_warmup=0, timeout_s=60, deadline_s=0.0) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("short", "asked for 3 runs and told of 2"),
        ("torn", "exported no JSON as times"),
        ("crash", r"trtexec did not pass"),
    ],
)
def test_a_faulty_visit_is_an_error(
    describe: Describe, onnx_file: Path, fault: str, message: str
) -> None:
    with open_bench(describe(), "trtexec") as bench:
        bench.load("a", onnx_file)
        describe(fault=fault)  # the program is another one from here on
        with pytest.raises(AgentError, match=message):
            bench.visit(["a"], n_runs=3, n_warmup=0, timeout_s=60)
        describe()
        assert len(bench.visit(["a"], n_runs=3, n_warmup=0, timeout_s=60)) == 1


def test_a_tool_that_hangs_ends_the_bench(describe: Describe, onnx_file: Path) -> None:
    with open_bench(describe(), "trtexec") as bench:
        bench.load("a", onnx_file)
        describe(fault="hang")
        with pytest.raises(DeviceTimeoutError):
            bench.visit(["a"], n_runs=1, n_warmup=0, timeout_s=1.0)
        assert not bench.alive


def test_what_cannot_be_done_is_refused(
    describe: Describe, onnx_file: Path, tmp_path: Path
) -> None:
    broken, other = tmp_path / "broken.onnx", tmp_path / "other.onnx"
    broken.write_bytes(b"\xff\xff\xff no model")
    with open_bench(describe(), "trtexec") as bench:
        bench.load("a", onnx_file)
        with pytest.raises(AgentError, match="is loaded already"):
            bench.load("a", onnx_file)
        with pytest.raises(AgentError, match="no such model file"):
            bench.load("b", other)
        with pytest.raises(AgentError, match="is no ONNX file"):
            bench.load("b", broken)
        with pytest.raises(AgentError, match="the inputs are"):
            bench.infer("a", {})
        with pytest.raises(AgentError, match="holds no memory"):
            bench.memory_kib()
        with pytest.raises(AgentError, match="n_runs >= 1"):
            bench.visit(["a"], n_runs=0, n_warmup=0, timeout_s=60)


def test_a_device_must_have_the_tool(describe: Describe) -> None:
    with (
        pytest.raises(DeviceError, match="is no trtexec on the device 'board'"),
        open_bench(describe(program="/bin/echo"), "trtexec"),
    ):
        pass
    with (
        pytest.raises(DeviceError, match=r"no block runtimes\.trtexec"),
        open_bench(load_device("local"), "trtexec"),
    ):
        pass


def test_the_runtime_says_what_it_is() -> None:
    runtime = RUNTIMES.get("trtexec")()
    assert (runtime.name, runtime.format) == ("trtexec", "onnx")
    assert runtime.requirement == "edgenas[onnx]"
    assert runtime.also == ("tensorrt",)
    assert runtime.symmetric  # signed 8 bits around 0


LATER = {"h2dMs": 0.1, "computeMs": 1.0, "d2hMs": 0.1, "latencyMs": 1.2}
EARLIER = {"inMs": 0.1, "computeMs": 1.0, "outMs": 0.1, "latencyMs": 1.2, "endToEndMs": 2.0}


def test_times_of_both_forms() -> None:
    assert parse_times(json.dumps([LATER, {**LATER, "h2dMs": 0.2, "latencyMs": 1.3}])) == (1.2, 1.3)
    assert parse_times(json.dumps([EARLIER])) == (1.2,)


def test_a_span_of_both_forms() -> None:
    runs = [{"startH2dMs": 5.0, "endD2hMs": 7.0}, {"startH2dMs": 6.0, "endD2hMs": 9.5}]
    assert parse_span_ms(json.dumps(runs)) == (5.0, 9.5)
    assert parse_span_ms(json.dumps([{"startInMs": 1.0, "endOutMs": 2.5}])) == (1.0, 2.5)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "0 runs last from 0 to 0 ms"),
        ([LATER], "does not tell when a run began"),
        ([{"startH2dMs": 5.0}], "endD2hMs is None, which is no time"),
        ([{"startH2dMs": 5.0, "endD2hMs": 5.0}], "1 runs last from 5 to 5 ms"),
    ],
)
def test_other_spans_are_an_error(runs: list[dict[str, float]], message: str) -> None:
    with pytest.raises(AgentError, match=message):
        parse_span_ms(json.dumps(runs))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("{}", "no array of objects"),
        ("[1]", "no array of objects"),
        ("[{}]", "no copies"),
        (json.dumps([{**LATER, "latencyMs": 3.0}]), "contradicts itself"),
        (json.dumps([{**LATER, "computeMs": -1.0}]), "no time"),
        (json.dumps([{**LATER, "computeMs": "1"}]), "no time"),
        (json.dumps([{**LATER, "computeMs": True}]), "no time"),
        (json.dumps([{**LATER, "latencyMs": float("nan")}]), "no time"),
        (json.dumps([dict.fromkeys(LATER, 0.0)]), "contradicts itself"),
    ],
)
def test_other_times_are_an_error(text: str, message: str) -> None:
    with pytest.raises(AgentError, match=message):
        parse_times(text)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '[{"name": "a"}]',
        '[{"count": 1}, {"averageMs": 1}]',
        '[{"count": 1}, {"name": "a"}]',
    ],
)
def test_other_profiles_are_an_error(text: str) -> None:
    with pytest.raises(AgentError):
        parse_profile(text)


def test_a_failure_tells_its_reasons() -> None:
    with pytest.raises(AgentError, match="did not pass: no operator Foo / cannot build"):
        parse_log("[I] x\n[11/22/2025-08:00:00] [E] no operator Foo\n[E] cannot build\n")
    with pytest.raises(AgentError, match="printed nothing"):
        parse_log("")
    with pytest.raises(AgentError, match="does not tell its version"):
        parse_version("&&&& RUNNING TensorRT.trtexec # trtexec --help")


ODD = st.sampled_from(["", "-1", "²", "1e999", "9" * 5000, "NaN", "Infinity", "null", "[]", "true"])
PRINTED = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v8401] # trtexec --loadEngine=a
[11/22/2025-08:00:00] [I] Engine built in 12.5 sec.
[11/22/2025-08:00:00] [I] Engine loaded in 0.0125 sec.
&&&& PASSED TensorRT.trtexec [TensorRT v8401] # trtexec --loadEngine=a
"""
EXPORTED = json.dumps([LATER, EARLIER])
PROFILED = json.dumps([{"count": 3}, {"name": "a", "averageMs": 0.25}])


@given(data=st.data())
def test_damaged_output_is_refused_or_of_possible_times(data: st.DataObject) -> None:
    """Cut off, or with an odd number in the place of another."""
    text = data.draw(st.sampled_from([PRINTED, EXPORTED, PROFILED]))
    places = [found.span() for found in re.finditer(r"[0-9]+(?:\.[0-9]+)?", text)]
    start, end = data.draw(st.sampled_from(places))
    rest = data.draw(st.sampled_from(["", text[end:]]))
    text = text[:start] + data.draw(ODD) + rest
    with suppress(AgentError):
        assert all(0 < one < 1e12 for one in parse_times(text))
    with suppress(AgentError):
        assert all(0 <= one < 1e12 for _, one in parse_profile(text))
    with suppress(AgentError):
        assert re.fullmatch(r"[0-9]+(\.[0-9]+){2}", parse_version(text))
    with suppress(AgentError):
        log = parse_log(text)
        assert all(one is None or 0 <= one < 1e12 for one in (log.build_ms, log.load_ms))


@pytest.mark.parametrize("parse", [parse_times, parse_profile])
def test_brackets_without_end_are_refused(parse: Callable[[str], object]) -> None:
    with pytest.raises(AgentError):
        parse("[" * 100_000 + "]" * 100_000)


@given(st.text(max_size=200))
def test_no_text_does_more_than_fail(text: str) -> None:
    for parse in (parse_times, parse_profile, parse_log, parse_version):
        try:
            parse(text)
        except AgentError:
            continue
