"""Engines built on a device and held against their network there, by both of the ways.

The device is this machine, alone or behind a real ssh server; TensorRT and its tool are played.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.errors import (
    AgentError,
    DeviceError,
    DeviceTimeoutError,
    ExportError,
    MissingExtraError,
    UsageError,
    ValidationError,
)
from edgenas.core.files import sha256_of
from edgenas.exporters import Exporter, ExportRequest, get
from edgenas.exporters.manifest import Manifest, Source, make_manifest
from edgenas.exporters.tensorrt import TensorRTExporter
from edgenas.exporters.validate import run_checks, settle
from edgenas.hardware.device import Device, load_device
from edgenas.profiling import engine_place
from edgenas.profiling.engine_place import DevicePlace, engine_runtime
from edgenas.testing.exporter import ExporterContract, small_request
from edgenas.testing.sshd import Sshd
from edgenas.testing.tcp_proxy import TcpProxy
from edgenas.testing.tensorrt import FakeTensorRt
from tests.runtimes.boards import tensorrt_board, trtexec_board, write_trtexec

WAYS = ("tensorrt", "trtexec")


class Board:
    """A device with TensorRT, played, and what of it is played."""

    def __init__(self, folder: Path, way: str, connector: dict[str, Any] | None = None) -> None:
        self.folder, self.way = folder, way
        self.fake: FakeTensorRt | None = None
        if way == "tensorrt":
            self.fake = FakeTensorRt.install(folder)
            path = tensorrt_board(folder, self.fake, connector=connector)
        else:
            path = trtexec_board(folder, 101303, connector=connector)
        self.device: Device = load_device(path)

    def play(self, fault: str = "", *, version: int = 101303, **played: Any) -> None:
        """Play another version or GPU, or have something wrong, by the names of either way."""
        if self.fake is not None:
            if fault == "slow":
                fault, played = "", {"build_s": 60.0, **played}
            numbers = f"{version // 10000}.{version // 100 % 100}.{version % 100}"
            self.fake.play(fault=fault, version=numbers, **played)  # type: ignore[arg-type]
        else:
            gpu = played.get("gpu")
            named = {"": "none", "not_fast": "native", "slow": "hang"}.get(fault, fault)
            write_trtexec(self.folder, version, f"gpu={gpu}" if gpu else named)

    def exporter(self, precision: str = "float32", **changes: Any) -> TensorRTExporter:
        recipe = get("tensorrt", precision).recipe
        device = {"build": "device", "compute_capability": None, **changes}
        place = DevicePlace(self.device, self.way)
        return TensorRTExporter(recipe.model_copy(update=device), place)


Boards = Callable[..., Board]


@pytest.fixture
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Boards]:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ExitStack() as stack:

        def make(way: str, connector: dict[str, Any] | None = None) -> Board:
            folder = tmp_path / way
            folder.mkdir(exist_ok=True)
            board = Board(folder, way, connector)
            stack.enter_context(board.device)
            return board

        yield make


@pytest.fixture(params=WAYS)
def board(request: pytest.FixtureRequest, boards: Boards) -> Board:
    return boards(request.param)


@pytest.fixture(scope="module")
def request_small() -> ExportRequest:
    return small_request(n_inputs=4, n_test=6)


class TestContract(ExporterContract):
    @pytest.fixture(params=["float32", "float16", "int8"])
    def exporter(self, request: pytest.FixtureRequest, boards: Boards) -> Exporter:
        return boards("tensorrt").exporter(request.param)


def test_an_engine_is_built_and_checked_on_the_device(
    board: Board, request_small: ExportRequest, tmp_path: Path
) -> None:
    exporter = board.exporter()
    assert exporter.unavailable_reason() is None
    assert exporter.needed_packages == ("onnx",)
    artifact = exporter.export(request_small, tmp_path / "model.engine")
    checks = {check.name: check for check in run_checks(exporter, request_small, artifact)}
    assert {name: check.passed for name, check in checks.items()} == dict.fromkeys(checks, True)
    assert checks["opens"].detail == "opened and run where it was built"
    assert "6 test images" in checks["accuracy"].detail
    assert exporter.signature(artifact.path) == exporter.expected(request_small)
    np.testing.assert_allclose(
        exporter.infer(artifact.path, request_small.reference_inputs),
        request_small.reference_logits,
        rtol=1e-3,
        atol=1e-5,
    )


def test_the_manifest_tells_how_it_was_built(
    board: Board, request_small: ExportRequest, tmp_path: Path
) -> None:
    exporter = board.exporter()
    manifest = _exported(exporter, request_small, tmp_path)
    built = manifest.built
    assert built is not None
    assert (built.gpu, built.compute_capability) == ("Orin", "8.7")
    assert (built.runtime, built.engine_version) == (board.way, "10.13.3" if board.way == "trtexec"
                                                     else "10.3.0")  # fmt: skip
    assert built.device == board.device.fingerprint.slug
    assert built.build_s > 0
    assert built.timings is not None
    assert (built.timings.used_bytes, built.timings.problem) == (0, "")
    assert built.timings.kept_bytes > 0
    again = _exported(exporter, request_small, tmp_path).built
    assert again is not None
    assert again.timings is not None
    assert again.timings.used_bytes == built.timings.kept_bytes
    assert Manifest.model_validate(manifest.model_dump(mode="json"), strict=False) == manifest
    without = _exported(board.exporter(timing_cache=False), request_small, tmp_path).built
    assert without is not None
    assert without.timings is None


@pytest.mark.slow
def test_over_ssh(
    boards: Boards, sshd: Sshd, proxy: TcpProxy, request_small: ExportRequest, tmp_path: Path
) -> None:
    settings = sshd.settings(port=proxy.port).model_dump(exclude_defaults=True)
    for way in WAYS:
        board = boards(way, {**settings, "kind": "ssh"})
        exporter = board.exporter("float16")
        artifact = exporter.export(request_small, tmp_path / "model.engine")
        settle(run_checks(exporter, request_small, artifact), artifact)
        kept = list((sshd.folder / "home/.cache/edgenas/tensorrt").glob(f"{way}-*.cache"))
        assert len(kept) == 1


@pytest.mark.slow
def test_the_device_vanishes_during_the_build(
    boards: Boards, sshd: Sshd, proxy: TcpProxy, request_small: ExportRequest, tmp_path: Path
) -> None:
    settings = sshd.settings(port=proxy.port).model_dump(exclude_defaults=True)
    for way in WAYS:
        board = boards(way, {**settings, "kind": "ssh"})
        exporter = board.exporter()
        assert exporter.unavailable_reason() is None
        board.play(
            "slow" if way == "trtexec" else "", **({} if way == "trtexec" else {"build_s": 60})
        )
        cut = threading.Timer(4.0, proxy.cut)
        cut.start()
        began = time.monotonic()
        with pytest.raises(DeviceError, match=r"was not finished.*nothing was written"):
            exporter.export(request_small, tmp_path / "model.engine")
        assert time.monotonic() - began < 40
        cut.join()
        assert not (tmp_path / "model.engine").exists()
        board.play()
        exporter.export(request_small, tmp_path / "model.engine")
        (tmp_path / "model.engine").unlink()


@pytest.mark.parametrize(
    ("fault", "precision", "message"),
    [
        ("operator", "float32", r"does not take an operator(.|\n)*op: HardSwish"),
        ("memory", "float32", r"ran out of memory(.|\n)*Cuda Runtime \(out of memory\)"),
        ("not_fast", "float16", r"does not compute in this precision: choose another"),
    ],
)
def test_what_the_device_cannot_build_is_told(
    board: Board,
    request_small: ExportRequest,
    tmp_path: Path,
    fault: str,
    precision: str,
    message: str,
) -> None:
    board.play(fault)
    with pytest.raises(ExportError, match=message):
        board.exporter(precision).export(request_small, tmp_path / "model.engine")
    assert list(tmp_path.glob("*.engine")) == []


def test_a_build_that_the_system_kills_is_told(
    board: Board, request_small: ExportRequest, tmp_path: Path
) -> None:
    board.play("killed")
    with pytest.raises(AgentError, match=r"ran out of memory.*\n.*killed by SIGKILL"):
        board.exporter().export(request_small, tmp_path / "model.engine")
    assert list(tmp_path.glob("*.engine")) == []


def test_a_build_that_takes_too_long_is_ended(
    board: Board, request_small: ExportRequest, tmp_path: Path
) -> None:
    exporter = board.exporter(build_timeout_s=2.0)
    board.play("slow")
    with pytest.raises(DeviceTimeoutError, match=r"raise export.tensorrt.build_timeout_s"):
        exporter.export(request_small, tmp_path / "model.engine")
    assert list(tmp_path.glob("*.engine")) == []


def test_a_disk_that_is_full_is_told(
    board: Board, request_small: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if board.way == "trtexec":
        board.play("full")
    else:  # a folder is as good as a full disk to whoever writes a file there
        work = Path(board.device.connector.workdir)
        (work / "built-network.engine").mkdir()
        (work / "built-network.engine" / "x").touch()
    with pytest.raises(ExportError, match=r"disk is full|cannot be written") as failed:
        board.exporter().export(request_small, tmp_path / "model.engine")
    assert "failed" in str(failed.value)
    assert list(tmp_path.glob("*.engine")) == []


@pytest.mark.parametrize(
    ("played", "message"),
    [
        ({"version": 101400}, "of another version of TensorRT: export it again on this device"),
        ({"gpu": "Xavier"}, "of another kind of GPU: export it again on this device"),
    ],
)
def test_an_engine_of_elsewhere_fails_its_checks(
    board: Board,
    request_small: ExportRequest,
    tmp_path: Path,
    played: dict[str, Any],
    message: str,
) -> None:
    exporter = board.exporter()
    board.play()
    artifact = exporter.export(request_small, tmp_path / "model.engine")
    more = {"compute_capability": "7.2"} if "gpu" in played and board.way == "tensorrt" else {}
    board.play(**played, **more)
    checks = {check.name: check for check in run_checks(exporter, request_small, artifact)}
    assert checks["content"].passed
    assert checks["opens"].passed is False
    assert message in checks["opens"].detail
    assert {checks[name].passed for name in ("names", "values", "accuracy")} == {None}
    with pytest.raises(ValidationError, match="failed opens"):
        settle(list(checks.values()), artifact)
    assert artifact.path.with_name("model.engine.failed").is_file()


def test_another_network_fails_its_values(
    board: Board, request_small: ExportRequest, tmp_path: Path
) -> None:
    other = replace(request_small, reference_logits=request_small.reference_logits[::-1].copy())
    exporter = board.exporter()
    artifact = exporter.export(request_small, tmp_path / "model.engine")
    checks = {check.name: check for check in run_checks(exporter, other, artifact)}
    assert checks["opens"].passed
    assert checks["values"].passed is False


def test_checks_that_take_too_long_fail(
    boards: Boards, request_small: ExportRequest, tmp_path: Path
) -> None:
    board = boards("trtexec")
    artifact = board.exporter().export(request_small, tmp_path / "model.engine")
    hasty = board.exporter(timeout_s=0.01)
    with pytest.raises(ExportError, match=r"0 of 4 images are answered.*raise timeout_s"):
        hasty.infer(artifact.path, request_small.reference_inputs)
    with pytest.raises(ExportError, match="the file takes"):
        board.exporter().infer(artifact.path, np.zeros((1, 3, 15, 14), np.float32))


def test_a_device_without_tensorrt_says_so_before_any_work(
    boards: Boards, request_small: ExportRequest, tmp_path: Path
) -> None:
    board = boards("tensorrt")
    board.play("missing")
    exporter = board.exporter()
    reason = exporter.unavailable_reason()
    assert reason is not None
    assert re.search(r"cannot be built on the device 'board': .*is not installed", reason)
    assert "python3-libnvinfer" in reason
    with pytest.raises(MissingExtraError, match="is not installed"):
        exporter.export(request_small, tmp_path / "model.engine")


def test_a_device_without_a_gpu_says_so_before_any_work(board: Board) -> None:
    board.play("no_gpu")
    reason = board.exporter().unavailable_reason()
    assert reason is not None
    assert "no CUDA-capable device is detected" in reason


def test_another_gpu_than_the_job_asks_for(
    board: Board, request_small: ExportRequest, tmp_path: Path
) -> None:
    exporter = board.exporter(compute_capability="8.6")
    with pytest.raises(ExportError, match=r"capability 8.6 is asked for, and Orin"):
        exporter.export(request_small, tmp_path / "model.engine")


def test_what_the_device_offers_is_taken(
    boards: Boards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, tool = boards("tensorrt").device, boards("trtexec").device
    assert engine_runtime(python, None, "onnxruntime") == "tensorrt"
    assert engine_runtime(tool, None, "tensorrt") == "trtexec"
    assert engine_runtime(tool, "trtexec", "onnxruntime") == "trtexec"
    with pytest.raises(UsageError, match=r"by tensorrt.*\(trtexec\); add runtimes: \{tensorrt"):
        engine_runtime(tool, "tensorrt", "onnxruntime")
    with load_device("local") as local:
        with pytest.raises(
            UsageError, match=r"names no TensorRT; add runtimes: \{tensorrt: \{\}\}"
        ):
            engine_runtime(local, None, "onnxruntime")
        with pytest.raises(UsageError, match="it has no TensorRT"):
            engine_runtime(local, "trtexec", "onnxruntime")
    both = tmp_path / "both.yaml"
    text = (tmp_path / "trtexec" / "board.yaml").read_text()
    both.write_text(text.replace("runtimes:\n", "runtimes:\n  tensorrt: {}\n"))
    with load_device(both) as device:
        assert engine_runtime(device, None, "onnxruntime") == "tensorrt"
        assert engine_runtime(device, None, "trtexec") == "trtexec"
        assert engine_runtime(device, "trtexec", "tensorrt") == "trtexec"


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC\n"
         "GCC version:  gcc version 12.2.0\n", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n",
         "540.4.0"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  35.3.1  Release Build\n"
         "# R35 (release), REVISION: 3.1, GCID: 32827747, BOARD: t186ref, EABI: aarch64\n",
         "Jetson Linux 35.3.1"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_driver_as_the_system_tells_it(text: str, driver: str) -> None:
    from edgenas.testing.fake_connector import FakeConnector

    assert engine_place.driver_of(FakeConnector({("sh",): text})) == driver
    assert engine_place.driver_of(FakeConnector()) == ""


def _exported(exporter: TensorRTExporter, request: ExportRequest, folder: Path) -> Manifest:
    artifact = exporter.export(request, folder / "model.engine")
    assert artifact.sha256 == sha256_of(artifact.path)
    source = Source(run="r", architecture_id="a", space="s", genes=(0,), config={}, data="d")
    return make_manifest(exporter, request, artifact, checks=[], source=source)
