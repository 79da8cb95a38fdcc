"""Engine files built by the measuring process, against the stand-in of TensorRT, in this process.

TensorRT-RTX itself builds engine files, too, where it is installed: it keeps no timings.
"""

import errno
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgenas.core.extras import require, unavailable_reason
from edgenas.profiling.workload import model_bytes
from edgenas.runtimes.agent import cuda, tensorrt_build
from edgenas.runtimes.agent.engines import Loaded
from edgenas.runtimes.agent.frames import RefusalError
from edgenas.runtimes.agent.litert_models import LiteRtModel
from edgenas.runtimes.agent.server import Agent
from edgenas.runtimes.agent.tensorrt_build import Timings, build_file, timings_key
from edgenas.runtimes.agent.tensorrt_log import log_of
from edgenas.runtimes.agent.tensorrt_models import TensorRtModel
from edgenas.testing.space_contract import width_space
from edgenas.testing.tensorrt import FakeTensorRt

SETTINGS = {"threads": 1, "affinity": None, "tf32": False, "precision": "float32"}
GPU = {"name": "NVIDIA Orin (nvgpu)", "compute_capability": "8.7"}


class Played:
    """The stand-in, imported; and what a host would ask of it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.fake = FakeTensorRt.install(folder)
        self.folder, self.model = folder, model
        found = importlib.util.spec_from_file_location(
            "played_tensorrt", folder / "site" / "tensorrt.py"
        )
        assert found is not None
        assert found.loader is not None
        self.module: Any = importlib.util.module_from_spec(found)
        found.loader.exec_module(self.module)

    @property
    def kept(self) -> list[Path]:
        return sorted((self.folder / "kept").glob("*"))

    def build(self, **changes: Any) -> dict[str, Any]:
        settings = {**SETTINGS, "precision": changes.pop("precision", "float32")}
        request = {
            "path": str(self.model),
            "target": str(self.folder / "out" / "a.engine"),
            "folder": str(self.folder / "kept"),
            "key": "tensorrt-10.3.0",
            "compute_capability": None,
            **changes,
        }
        return build_file(self.module, settings, request)


@pytest.fixture
def played(tmp_path: Path, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    monkeypatch.setattr(cuda, "open_library", cuda.open_library)  # which the stand-in replaces
    return Played(tmp_path, onnx_file)


def test_an_engine_file_is_written_and_opens(played: Played) -> None:
    told = played.build()
    target = played.folder / "out" / "a.engine"
    assert (told["name"], told["compute_capability"]) == ("Orin", "8.7")
    assert told["build_ms"] > 0
    assert [path.name for path in target.parent.iterdir()] == ["a.engine"]
    model = TensorRtModel(played.module, SETTINGS, str(target))
    model.fill()
    model.start()
    model.finish()
    assert model.build_ms == 0
    assert model.inputs == [{"name": "image", "shape": [1, 8, 16, 16], "dtype": "float32"}]


def test_timings_are_kept_and_used(played: Played) -> None:
    first = played.build()["timings"]
    assert first == {"used_bytes": 0, "kept_bytes": first["kept_bytes"], "problem": ""}
    (path,) = played.kept
    assert path.stat().st_size == first["kept_bytes"] > 0
    assert path.parent.stat().st_mode & 0o077 == 0
    second = played.build()["timings"]
    assert second == {**first, "used_bytes": first["kept_bytes"]}
    assert played.kept == [path]
    assert played.build(folder=None)["timings"] is None


def test_timings_are_of_one_version_and_gpu(played: Played) -> None:
    played.build()
    played.fake.play(version="10.4.0")
    assert played.build(key="tensorrt-10.4.0")["timings"]["used_bytes"] == 0
    played.fake.play(gpu="Xavier", compute_capability="7.2")
    assert played.build()["timings"]["used_bytes"] == 0
    assert len(played.kept) == 3
    assert timings_key("tensorrt-10.3.0", GPU) == "tensorrt-10.3.0-nvidia-orin-nvgpu-8.7"


@pytest.mark.parametrize("damage", ["cut", "no timings", "of another version", "a folder"])
def test_wrong_timings_are_left_out(played: Played, damage: str) -> None:
    played.build()
    (path,) = played.kept
    key = path.name.rsplit(".", 2)[0]
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-3])
    elif damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
        other = b"no timings" if damage == "no timings" else content.replace(b"10.3.0", b"10.2.0")
        digest = hashlib.sha256(other).hexdigest()[:16]
        (path.parent / f"{key}.{digest}.cache").write_bytes(other)
    told = played.build()["timings"]
    assert told["used_bytes"] == 0
    says = {"cut": f"{path.name} is damaged", "a folder": "could not be kept"}
    assert says.get(damage, "of another version of TensorRT") in told["problem"]
    if damage != "a folder":
        assert told["kept_bytes"] > 0
        assert played.build()["timings"]["problem"] == ""
        assert len(played.kept) == 1


def test_timings_that_cannot_be_kept_cost_no_build(played: Played) -> None:
    (played.folder / "kept").write_text("no folder")
    told = played.build()["timings"]
    assert told["kept_bytes"] == 0
    assert "could not be kept" in told["problem"]


def test_timings_with_which_nothing_can_be_built_are_left_out(played: Played) -> None:
    """As of a system that was upgraded since: their head is sound, their tactics are not."""
    played.build()
    played.fake.play(fault="timings")
    told = played.build()["timings"]
    assert (told["used_bytes"], told["problem"]) == (
        0,
        "TensorRT could not build with what was kept",
    )
    assert told["kept_bytes"] > 0
    played.fake.play(fault="memory")
    with pytest.raises(RefusalError, match="out of memory"):
        played.build()
    assert len(played.kept) == 1  # they are not what it failed over


def test_a_version_that_only_says_that_it_uses_no_timings(played: Played) -> None:
    """As 8.6 and TensorRT-RTX do: the cache is taken, and an error is logged."""
    log = log_of(played.module)

    class Config:
        def create_timing_cache(self, content: bytes) -> object:
            if content:
                log.log(played.module.ILogger.ERROR, "4: The timing cache will not be used!")
            return object()

        def set_timing_cache(self, cache: object, *, ignore_mismatch: bool) -> bool:
            return True

    played.build()
    timings = Timings(played.folder / "kept", played.kept[0].name.rsplit(".", 2)[0])
    log.lines.clear()
    timings.attach(Config(), log)
    assert (timings.used_bytes, played.kept, log.lines) == (0, [], [])
    assert "another version" in timings.problem


@pytest.mark.parametrize(
    ("fault", "precision", "kind", "message"),
    [
        ("operator", "float32", "operator", "No importer registered for op: HardSwish"),
        ("memory", "float32", "build", r"cannot build the engine:\n  .*Cuda Runtime \(out of mem"),
        ("no_gpu", "float32", "gpu", "no CUDA-capable device"),
        ("not_fast", "int8", "precision", "no int8 of its own"),
        ("not_fast", "float16", "precision", "no float16 of its own"),
    ],
)
def test_what_tensorrt_refuses_is_told(
    played: Played, fault: Any, precision: str, kind: str, message: str
) -> None:
    played.fake.play(fault=fault)
    with pytest.raises(RefusalError, match=message) as refused:
        played.build(precision=precision)
    assert refused.value.kind == kind
    assert not (played.folder / "out").exists()


def test_float32_needs_no_fast_precision(played: Played) -> None:
    played.fake.play(fault="not_fast")
    assert played.build()["build_ms"] > 0


def test_another_gpu_than_asked_for_is_refused(played: Played) -> None:
    with pytest.raises(RefusalError, match=r"capability 8.6 is asked for, and Orin has 8.7"):
        played.build(compute_capability="8.6")
    assert played.build(compute_capability="8.7")["build_ms"] > 0


def test_a_full_disk_leaves_nothing(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tensorrt_build.os, "fsync", full)
    with pytest.raises(RefusalError, match="cannot be written: No space left") as refused:
        played.build()
    assert refused.value.kind == "disk"
    assert list((played.folder / "out").iterdir()) == []
    assert played.kept == []


def test_other_engines_build_no_files(played: Played) -> None:
    agent = Agent()
    agent._engine = Loaded(None, "ai-edge-litert", "2", LiteRtModel)
    agent._settings, agent._greeted = dict(SETTINGS), True
    request = {"command": "build", "path": str(played.model), "tf32": False}
    with pytest.raises(RefusalError, match="no files of its own"):
        agent.answer(request)
    with pytest.raises(RefusalError, match="no such file"):
        agent.answer({**request, "path": "/no/such.onnx"})
    with pytest.raises(RefusalError, match="no GPU of its own"):
        agent.answer({"command": "gpu"})


def test_the_name_of_a_gpu_ends_with_its_zero_byte() -> None:
    def properties(buffer: Any, index: Any) -> int:
        buffer[:40] = b"NVIDIA H200 " + b"\0" + b"x" * 27
        return 0

    def attribute(number: Any, which: int, index: Any) -> int:
        number._obj.value = {75: 9, 76: 0}[which]
        return 0

    library = SimpleNamespace(
        cudaGetErrorString=lambda status: b"no",
        cudaGetDevice=lambda index: 0,
        cudaDeviceGetAttribute=attribute,
        cudaGetDeviceProperties=properties,
    )
    assert cuda.gpu(library) == {"name": "NVIDIA H200", "compute_capability": "9.0"}
    library.cudaGetDevice = lambda index: 35
    with pytest.raises(RefusalError, match="no GPU can be used: CUDA error 35: no"):
        cuda.gpu(library)


@pytest.mark.skipif(
    unavailable_reason("tensorrt_rtx") is not None, reason="TensorRT-RTX is not installed"
)
def test_tensorrt_rtx_builds_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trt, space = require("tensorrt_rtx"), width_space()
    (tmp_path / "a.onnx").write_bytes(model_bytes(space.network(space.smallest()), "onnx"))
    monkeypatch.setattr(cuda, "open_library", lambda: None)
    monkeypatch.setattr(cuda, "gpu", lambda library: dict(GPU))
    request = {
        "path": str(tmp_path / "a.onnx"),
        "target": str(tmp_path / "a.engine"),
        "folder": str(tmp_path / "kept"),
        "key": "tensorrt_rtx-1",
        "compute_capability": None,
    }
    told = build_file(trt, dict(SETTINGS), request)
    assert told["timings"] == {"used_bytes": 0, "kept_bytes": 0, "problem": ""}
    assert (tmp_path / "a.engine").stat().st_size > 1000
