"""Benches on a device behind a real ssh server: the whole way, and every fault on it."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError, MissingExtraError
from edgenas.core.schema import dump_yaml
from edgenas.hardware.connectors import ssh as ssh_module
from edgenas.hardware.device import Device, load_device
from edgenas.runtimes import open_bench
from edgenas.testing.connector_contract import gone
from edgenas.testing.sshd import Sshd
from edgenas.testing.tcp_proxy import TcpProxy

FOREVER = 10**9
Describe = Callable[..., Device]


@pytest.fixture
def describe(sshd: Sshd, proxy: TcpProxy, tmp_path: Path) -> Iterator[Describe]:
    """Loads descriptions of the device behind the proxy; the devices are closed in the end."""
    devices: list[Device] = []

    def load(name: str = "board", python: str = sys.executable) -> Device:
        document = {
            "schema_version": 1,
            "id": name,
            "description": "a test",
            "connector": sshd.settings(port=proxy.port).model_dump(exclude_defaults=True)
            | {"kind": "ssh"},
            "python": python,
            "lock": {"folder": str(tmp_path)},
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(dump_yaml(document))
        devices.append(load_device(path))
        return devices[-1]

    yield load
    proxy.resume()
    for device in devices:
        device.close()


def works(device: Device, model: Path) -> bool:
    with open_bench(device, "onnxruntime") as bench:
        bench.load("again", model)
        return len(bench.visit(["again"], n_runs=3, n_warmup=1, timeout_s=60)) == 1


@pytest.mark.parametrize(
    ("runtime", "model"), [("onnxruntime", "onnx_file"), ("litert", "tflite_file")]
)
def test_a_device_elsewhere_measures_and_infers_like_this_one(
    describe: Describe, request: pytest.FixtureRequest, runtime: str, model: str
) -> None:
    path = request.getfixturevalue(model)
    results = []
    for device in (describe(), load_device("local")):
        with device, open_bench(device, runtime) as bench:
            info = bench.load("a", path)
            assert info.delegated
            visits = bench.visit(["a", "a"], n_runs=200, n_warmup=5, timeout_s=60)
            assert [len(visit.samples_ms) for visit in visits] == [200, 200]
            (entry,) = info.inputs
            array = np.random.default_rng(0).normal(size=entry.shape).astype(entry.dtype)
            results.append(bench.infer("a", {entry.name: array}))
            assert bench.nodes("a")
    assert results[0].keys() == results[1].keys()
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name])


@pytest.mark.parametrize(
    ("runtime", "model"), [("onnxruntime", "onnx_file"), ("litert", "tflite_file")]
)
def test_models_leave_the_disk_once_they_are_loaded(
    describe: Describe,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    model: str,
) -> None:
    monkeypatch.setattr(ssh_module, "_SPARE_BYTES", 0)  # of which small ones may stay
    path = request.getfixturevalue(model)
    device = describe()
    with open_bench(device, runtime) as bench:
        folder = Path(device.connector.workdir)  # the server is on this machine
        before = sorted(folder.iterdir())
        bench.load("a", path)
        bench.load("b", path)
        assert sorted(folder.iterdir()) == before
        assert bench.nodes("a")  # for which an engine may read the file again
        assert sorted(folder.iterdir()) == before
        assert len(bench.visit(["a", "b"], n_runs=1, n_warmup=0, timeout_s=60)) == 2
        wrong = path.with_name("wrong" + path.suffix)
        wrong.write_bytes(b"no model")
        with pytest.raises(AgentError, match="refused 'load'"):
            bench.load("c", wrong)
        assert sorted(folder.iterdir()) == before


def test_large_requests_and_replies_pass(describe: Describe, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1 << 19]) for name in ("x", "y")
    ]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "large", ends[:1], ends[1:])
    path = tmp_path / "large.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    array = np.random.default_rng(0).normal(size=(1, 1 << 19)).astype(np.float32)
    with open_bench(describe(), "onnxruntime") as bench:
        bench.load("large", path)
        (result,) = bench.infer("large", {"x": array}).values()
    np.testing.assert_array_equal(result, np.maximum(array, 0))


def test_a_connection_cut_in_mid_visit(
    describe: Describe, proxy: TcpProxy, onnx_file: Path
) -> None:
    device = describe()
    with open_bench(device, "onnxruntime") as bench:
        bench.load("a", onnx_file)
        timer = threading.Timer(0.5, proxy.cut)
        timer.start()
        with pytest.raises(AgentError, match=r"died during 'visit' .*connection to .* lost"):
            bench.visit(["a"], n_runs=FOREVER, n_warmup=0, timeout_s=60)
        timer.join()
        assert not bench.alive
        assert gone(device.connector, bench.info.pid)
    assert works(device, onnx_file)


def test_garbled_frames_in_mid_visit(describe: Describe, proxy: TcpProxy, onnx_file: Path) -> None:
    device = describe()
    with open_bench(device, "onnxruntime") as bench:
        bench.load("a", onnx_file)
        proxy.garble()
        with pytest.raises(AgentError, match="died during 'visit'"):
            bench.visit(["a"], n_runs=10, n_warmup=0, timeout_s=60)
        assert gone(device.connector, bench.info.pid)
    assert works(device, onnx_file)


def test_a_connection_that_stalls_in_mid_visit(
    describe: Describe, proxy: TcpProxy, onnx_file: Path
) -> None:
    device = describe()
    with open_bench(device, "onnxruntime") as bench:
        bench.load("a", onnx_file)
        proxy.stall()
        resume = threading.Timer(2.0, proxy.resume)
        resume.start()
        with pytest.raises(DeviceTimeoutError, match=r"did not finish 'visit' within 0.5 s"):
            bench.visit(["a"], n_runs=10, n_warmup=0, timeout_s=0.5)
        resume.join()
        assert not bench.alive
        assert gone(device.connector, bench.info.pid)
    assert works(device, onnx_file)


def test_an_agent_killed_in_mid_visit(describe: Describe, onnx_file: Path) -> None:
    device = describe()
    with open_bench(device, "onnxruntime") as bench:
        bench.load("a", onnx_file)
        timer = threading.Timer(0.3, os.kill, (bench.info.pid, signal.SIGKILL))
        timer.start()
        with pytest.raises(AgentError, match=r"died during 'visit' .killed by SIGKILL"):
            bench.visit(["a"], n_runs=FOREVER, n_warmup=0, timeout_s=60)
        timer.join()
    assert works(device, onnx_file)


def test_a_hung_agent(describe: Describe, onnx_file: Path) -> None:
    device = describe()
    with open_bench(device, "onnxruntime") as bench:
        os.kill(bench.info.pid, signal.SIGSTOP)
        with pytest.raises(DeviceTimeoutError, match="was killed"):
            bench.memory_kib(timeout_s=0.3)
        assert gone(device.connector, bench.info.pid)
    assert works(device, onnx_file)


def test_one_holder_at_a_time(describe: Describe) -> None:
    with open_bench(describe(), "onnxruntime") as bench:
        held = pytest.raises(DeviceError, match="held by")
        with held, open_bench(describe("same-board"), "onnxruntime"):
            pass
        assert bench.alive


def test_a_device_without_python_or_an_engine_is_told(describe: Describe, tmp_path: Path) -> None:
    with (
        pytest.raises(DeviceError, match="no command 'no-python'"),
        open_bench(describe(python="no-python"), "onnxruntime"),
    ):
        pass
    bare = tmp_path / "python"
    bare.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import runpy, sys; sys.argv = sys.argv[1:]; "
        'sys.modules["onnxruntime"] = None; runpy.run_path(sys.argv[0], run_name="__main__")'
        '\' "$@"\n'
    )
    bare.chmod(0o755)
    refused = pytest.raises(MissingExtraError, match=r"not installed for .* on the device 'bare'")
    with refused as error, open_bench(describe("bare", python=str(bare)), "onnxruntime"):
        pass
    # The device needs no edgenas, whose Python boards do not have.
    assert f"give {bare} there numpy and onnxruntime by its pip" in str(error.value)
    assert "edgenas[" not in str(error.value)
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -IS "$@"\n')
    with (
        pytest.raises(MissingExtraError, match=r"No module named 'numpy'.*give .* there numpy and"),
        open_bench(describe("bare", python=str(bare)), "onnxruntime"),
    ):
        pass
