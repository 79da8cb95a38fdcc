"""Benches with the real engines: load, visit, infer, nodes, and every refusal."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.errors import AgentError, DeviceError, MissingExtraError
from edgenas.hardware.description import DeviceDescription, LiteRtSettings, OnnxRuntimeSettings
from edgenas.hardware.device import Device, load_device
from edgenas.runtimes import Bench, open_bench
from edgenas.runtimes.client import AgentClient
from edgenas.runtimes.onnxruntime import OnnxRuntime

RUNTIMES = ["onnxruntime", "litert"]
SHAPE = (8, 16, 16)


@pytest.fixture
def model(request: pytest.FixtureRequest, runtime: str) -> Path:
    name = {"onnxruntime": "onnx_file", "litert": "tflite_file"}[runtime]
    path = request.getfixturevalue(name)
    assert isinstance(path, Path)
    return path


def changed(**runtimes: object) -> Device:
    """Return the local device with other settings of its runtimes."""
    device = load_device("local")
    values = device.description.model_dump()
    return Device(DeviceDescription(**{**values, "runtimes": runtimes}), device.connector)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_models_are_visited_in_the_order_asked(device: Device, runtime: str, model: Path) -> None:
    with open_bench(device, runtime) as bench:
        assert bench.info.engine == runtime
        assert bench.info.threads == 1
        assert set(bench.info.affinity) <= os.sched_getaffinity(0)
        assert len(bench.info.affinity) == 1
        info = bench.load("a", model)
        bench.load("b", model)
        assert info.delegated
        assert info.outside == ()
        assert info.inputs[0].dtype == "float32"
        visits = bench.visit(["a", "b", "a"], n_runs=3, n_warmup=1, timeout_s=60)
        assert [visit.key for visit in visits] == ["a", "b", "a"]
        assert all(len(visit.samples_ms) == 3 for visit in visits)
        assert min(min(visit.samples_ms) for visit in visits) > 0
        starts = [visit.at_s for visit in visits]
        assert starts == sorted(starts)
        assert bench.memory_kib() > 0
        bench.unload("b")
        with pytest.raises(AgentError, match="no model is loaded under the key 'b'"):
            bench.visit(["b"], n_runs=1, n_warmup=0, timeout_s=60)
        assert bench.alive
    assert not bench.alive


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_deadline_ends_between_visits(device: Device, runtime: str, model: Path) -> None:
    with open_bench(device, runtime) as bench:
        bench.load("a", model)
        keys = ["a"] * 5
        none = bench.visit(keys, n_runs=1, n_warmup=0, timeout_s=60, deadline_s=0.0)
        every = bench.visit(keys, n_runs=1, n_warmup=0, timeout_s=60, deadline_s=60.0)
        assert (len(none), len(every)) == (0, 5)


def test_onnxruntime_computes_what_numpy_does(
    device: Device, onnx_file: Path, kernel: np.ndarray
) -> None:
    image = np.random.default_rng(1).normal(size=(1, *SHAPE)).astype(np.float32)
    padded = np.pad(image, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.maximum(np.einsum("nchwij,ocij->nohw", windows, kernel), 0)
    with open_bench(device, "onnxruntime") as bench:
        bench.load("a", onnx_file)
        result = bench.infer("a", {"image": image})["result"]
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_inference_leaves_the_timing_inputs_alone(device: Device, tflite_file: Path) -> None:
    with open_bench(device, "litert") as bench:
        (tensor,) = bench.load("a", tflite_file).inputs
        (before,) = bench.infer("a", {tensor.name: np.zeros(tensor.shape, np.float32)}).values()
        bench.visit(["a"], n_runs=1, n_warmup=0, timeout_s=60)
        (other,) = bench.infer("a", {tensor.name: np.ones(tensor.shape, np.float32)}).values()
        (after,) = bench.infer("a", {tensor.name: np.zeros(tensor.shape, np.float32)}).values()
    np.testing.assert_array_equal(before, after)
    assert not np.array_equal(before, other)


def test_nodes_are_those_after_optimisation(
    device: Device, onnx_file: Path, tflite_file: Path
) -> None:
    with open_bench(device, "onnxruntime") as bench:
        bench.load("a", onnx_file)
        nodes = bench.nodes("a")
    convolutions = [node for node in nodes if "Conv" in node.kind]
    assert len(convolutions) == 1
    assert "Relu" not in {node.kind for node in nodes}  # fused
    with open_bench(device, "litert") as bench:
        bench.load("a", tflite_file)
        nodes = bench.nodes("a")
    assert [node.kind for node in nodes if "CONV" in node.kind] == ["CONV_2D"]
    assert all(node.inside for node in nodes)


def test_operators_outside_the_delegate_are_named(
    device: Device, partly_delegated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), open_bench(device, "litert") as bench:
        info = bench.load("a", partly_delegated)
        inside = [(node.kind, node.inside) for node in bench.nodes("a")]
    assert info.delegated
    assert info.outside == ("CUMSUM",)
    assert inside == [("ROUND", True), ("CUMSUM", False)]
    assert "runs outside the delegate: CUMSUM" in caplog.text


def test_without_a_delegate_nothing_is_delegated(
    tflite_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_bench(changed(litert=LiteRtSettings(delegate="none")), "litert") as bench:
        assert not bench.load("a", tflite_file).delegated
        assert not any(node.inside for node in bench.nodes("a"))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("content", [b"", b"not a model", bytes(1000)])
def test_an_unloadable_file_is_refused_and_the_bench_lives(
    device: Device, runtime: str, model: Path, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"broken{model.suffix}"
    path.write_bytes(content)
    with open_bench(device, runtime) as bench:
        with pytest.raises(AgentError, match=r"refused 'load' \(model\)"):
            bench.load("a", path)
        assert bench.load("a", model).load_ms > 0


def refusals(bench: Bench, model: Path) -> None:
    """Make every request that the measuring process refuses."""
    bench.load("a", model)
    with pytest.raises(AgentError, match="no such model file"):
        bench.load("b", model.with_name("missing"))
    with pytest.raises(AgentError, match="loaded already"):
        bench.load("a", model)
    with pytest.raises(AgentError, match="no model is loaded"):
        bench.unload("b")
    with pytest.raises(AgentError, match="the inputs are"):
        bench.infer("a", {})
    with pytest.raises(AgentError, match="the inputs are"):
        bench.infer("a", {"image": np.zeros((1, 2, 3), np.float32)})
    for wrong in ({"n_runs": 0, "n_warmup": 0}, {"n_runs": 1, "n_warmup": -1}):
        with pytest.raises(AgentError, match="n_runs >= 1"):
            bench.visit(["a"], timeout_s=60, **wrong)


def test_wrong_requests_are_refused_and_the_bench_lives(device: Device, onnx_file: Path) -> None:
    with open_bench(device, "onnxruntime") as bench:
        refusals(bench, onnx_file)
        assert len(bench.visit(["a"], n_runs=1, n_warmup=0, timeout_s=60)) == 1


def test_cpus_that_are_not_there_are_refused() -> None:
    device = changed(onnxruntime=OnnxRuntimeSettings(affinity=(100_000,)))
    with (
        pytest.raises(AgentError, match=r"CPUs \[100000\] asked"),
        open_bench(device, "onnxruntime"),
    ):
        pass


def test_more_threads_than_cpus_are_refused() -> None:
    device = changed(litert=LiteRtSettings(threads=2, affinity=(0,)))
    with (
        pytest.raises(AgentError, match=r"2 thread\(s\) on the CPUs \[0\]"),
        open_bench(device, "litert"),
    ):
        pass


def test_a_given_affinity_is_kept() -> None:
    cpu = min(os.sched_getaffinity(0))
    device = changed(onnxruntime=OnnxRuntimeSettings(affinity=(cpu,)))
    with open_bench(device, "onnxruntime") as bench:
        assert bench.info.affinity == (cpu,)
        assert os.sched_getaffinity(bench.info.pid) == {cpu}


def test_an_unknown_provider_is_refused(onnx_file: Path) -> None:
    device = changed(onnxruntime=OnnxRuntimeSettings(providers=("NoSuchProvider",)))
    with open_bench(device, "onnxruntime") as bench, pytest.raises(AgentError, match="NoSuch"):
        bench.load("a", onnx_file)


def test_an_engine_that_is_missing_on_the_device_names_its_extra(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no engine here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        pytest.raises(MissingExtraError, match=r"no engine here.*'edgenas\[onnx\]'"),
        open_bench(device, "onnxruntime"),
    ):
        pass


def test_a_model_may_take_as_long_to_load_as_its_runtime_says(
    device: Device, onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    call = AgentClient.call

    def noted(self: AgentClient, command: str, *args: Any, timeout_s: float, **fields: Any) -> Any:
        if command == "load":
            limits.append(timeout_s)
        return call(self, command, *args, timeout_s=timeout_s, **fields)

    monkeypatch.setattr(AgentClient, "call", noted)
    monkeypatch.setattr(OnnxRuntime, "load_timeout_s", lambda *_: 321.0)
    with open_bench(device, "onnxruntime") as bench:
        bench.load("a", onnx_file)
        bench.load("b", onnx_file, timeout_s=50.0)
    assert limits == [321.0, 50.0]


def test_a_gpus_memory_is_not_the_processs(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(changed(), "onnxruntime") as bench:
        assert bench.load("a", onnx_file).peak_memory_kib is not None
        monkeypatch.setattr(OnnxRuntimeSettings, "on_gpu", True)
        assert bench.load("b", onnx_file).peak_memory_kib is None


def test_one_bench_at_a_time(device: Device) -> None:
    with open_bench(device, "onnxruntime") as bench:
        with (
            pytest.raises(DeviceError, match=f"held by process {os.getpid()}"),
            open_bench(load_device("local"), "litert"),
        ):
            pass
        assert bench.alive
