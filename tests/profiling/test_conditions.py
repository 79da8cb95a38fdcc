"""What a table has to match: the engine's version as the device itself tells it."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from edgenas.core.errors import AgentError, DeviceError, TableMismatchError
from edgenas.core.schema import dump_yaml
from edgenas.costs.store import table_path, user_tables
from edgenas.costs.table import CostTable
from edgenas.hardware.description import DeviceDescription
from edgenas.hardware.device import Device, load_device
from edgenas.profiling.conditions import conditions_of
from edgenas.profiling.profile import profile
from edgenas.profiling.tabulate import decisive_settings
from edgenas.profiling.workload import ProfileSettings
from edgenas.runtimes.bench import engine_version, open_bench
from edgenas.spaces.base import SearchSpace
from edgenas.study.steps.profile import existing_table
from edgenas.testing.fake_connector import FakeConnector
from edgenas.testing.sshd import Sshd


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runtimes of the benches that were opened, in order."""
    from edgenas.runtimes.onnxruntime import OnnxRuntime

    found: list[str] = []
    opened = OnnxRuntime.open

    def counted(self: OnnxRuntime, device: Device, **others: Any) -> Any:
        found.append(self.name)
        return opened(self, device, **others)

    monkeypatch.setattr(OnnxRuntime, "open", counted)
    return found


def described(folder: Path, connector: dict[str, Any], **changes: Any) -> Device:
    document = {
        "schema_version": 1,
        "id": "board",
        "description": "a test",
        "connector": connector,
        "python": sys.executable,
    }
    path = folder / "board.yaml"
    path.write_text(dump_yaml({**document, **changes}))
    return load_device(path)


@pytest.fixture
def board(sshd: Sshd, tmp_path: Path) -> Iterator[Device]:
    connector = sshd.settings().model_dump(exclude_defaults=True) | {"kind": "ssh"}
    with described(tmp_path, connector, lock={"folder": str(tmp_path)}) as device:
        yield device


def interpreter(folder: Path, setting: str = "") -> str:
    """Return this interpreter under another name, with a variable of the environment set."""
    path = folder / "interpreter"
    path.write_text(f'#!/bin/sh\n{setting} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


def settings_of(device: Device, runtime: str, **block: Any) -> dict[str, Any]:
    """Return the settings in a table's passport with a runtime set up in this way."""
    values = device.description.model_dump()
    values["runtimes"][runtime] |= block
    return decisive_settings(Device(DeviceDescription(**values), device.connector), runtime)


def test_what_decides_times_is_told_whole(device: Device) -> None:
    assert settings_of(device, "litert") == {"affinity": "auto"}
    assert settings_of(device, "onnxruntime", threads=2, affinity=[0]) == {
        "affinity": [0],
        "providers": ["CPUExecutionProvider"],
    }
    told = settings_of(
        device, "benchmark_model", device_binary="/x", version="2", op_profiling=False
    )
    assert told == {"affinity": "auto"}  # the program is in the engine's version


@pytest.mark.parametrize(
    ("runtime", "block"),
    [
        ("onnxruntime", {"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]}),
        ("benchmark_model", {"delegate": "gpu"}),
        ("tensorrt", {}),
        ("trtexec", {"program": "/trtexec"}),
    ],
)
@pytest.mark.parametrize(
    ("facts", "accelerators"),
    [
        ({"gpus": ("NVIDIA H100",), "board": "A board"}, ["NVIDIA H100"]),
        ({"gpus": (), "board": "Jetson Orin Nano 8GB"}, ["Jetson Orin Nano 8GB"]),
        ({"gpus": (), "board": "", "cpu_name": "A chip"}, ["A chip"]),
    ],
)
def test_the_processor_that_computes_is_told(
    device: Device,
    runtime: str,
    block: dict[str, Any],
    facts: dict[str, Any],
    accelerators: list[str],
) -> None:
    values = device.description.model_dump()
    values["runtimes"][runtime] |= block
    board = Device(DeviceDescription(**values), device.connector)
    board.fingerprint = replace(device.fingerprint, **facts)
    told = decisive_settings(board, runtime)
    assert told["accelerators"] == accelerators
    assert not {"threads", "delegate", "program"} & set(told)


def test_another_provider_is_another_table(
    device: Device, space: SearchSpace, few: ProfileSettings, make: Any
) -> None:
    device.engine_versions["onnxruntime"] = "1.0"  # the fake bench's
    table = make()
    asked = conditions_of(device, "onnxruntime", precision="float32")
    assert table.check_serves(space, asked) == ()
    values = device.description.model_dump()
    values["runtimes"]["onnxruntime"]["providers"] = ("CUDAExecutionProvider",)
    other = Device(DeviceDescription(**values), device.connector)
    other.engine_versions["onnxruntime"] = "1.0"
    asked = conditions_of(other, "onnxruntime", precision="float32")
    with pytest.raises(TableMismatchError, match="providers is CPUExecutionProvider, asked: CUDA"):
        table.check_serves(space, asked)


def test_here_nothing_is_started(device: Device, starts: list[str]) -> None:
    asked = conditions_of(device, "onnxruntime", precision="float32")
    assert (asked.runtime_version, starts) == (version("onnxruntime"), [])


def test_elsewhere_the_engine_is_asked_once(board: Device, starts: list[str]) -> None:
    for precision in ("float32", "int8"):
        asked = conditions_of(board, "onnxruntime", precision=precision)
        assert asked.runtime_version == version("onnxruntime")
    assert starts == ["onnxruntime"]


def test_a_bench_tells_it_by_the_way(board: Device, starts: list[str]) -> None:
    with open_bench(board, "onnxruntime"):
        pass
    assert engine_version(board, "onnxruntime") == version("onnxruntime")
    assert starts == ["onnxruntime"]


def test_another_interpreter_here_is_asked(tmp_path: Path, starts: list[str]) -> None:
    with described(tmp_path, {"kind": "local"}, python=interpreter(tmp_path)) as device:
        assert engine_version(device, "onnxruntime") == version("onnxruntime")
    assert starts == ["onnxruntime"]


def test_an_installed_table_of_another_version_does_not_serve_elsewhere(
    board: Device, bench: Any, space: SearchSpace, few: ProfileSettings,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    table = profile(load_device("local"), "onnxruntime", space, few, user_tables())
    own = board.fingerprint
    path = table_path(
        user_tables(), slug=own.slug, runtime="onnxruntime", precision="float32", space=space.name
    )
    for found, serves in ((version("onnxruntime"), True), ("0.9", False)):
        passport = table.passport
        runtime = passport.runtime.model_copy(update={"version": found})
        device = passport.device.model_copy(update={"match_key": own.match_key})
        changes = {"runtime": runtime, "device": device}
        CostTable(table.rows.values(), passport.model_copy(update=changes)).save(path)
        there = existing_table(board, "onnxruntime", space, precision="float32", shipped=False)
        assert (there is not None) == serves


def test_without_the_engine_the_version_is_told_as_not_checked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no engine here')")
    bare = interpreter(tmp_path, f"PYTHONPATH={tmp_path}")
    with described(tmp_path, {"kind": "local"}, python=bare) as device:
        assert engine_version(device, "onnxruntime") is None
        assert engine_version(device, "onnxruntime") is None
        assert engine_version(device, "trtexec") is None
    assert caplog.text.count("version of onnxruntime on the device 'board' is not checked") == 1
    assert "is not installed for" in caplog.text
    assert "no block runtimes.trtexec" in caplog.text


def test_without_python_the_version_is_told_as_not_checked(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    phone = Device(device.description, FakeConnector())
    phone.__dict__["fingerprint"] = replace(device.fingerprint, python=None)
    assert engine_version(phone, "litert") is None
    assert "no python3 is there" in caplog.text
    assert phone.connector.ran == []  # type: ignore[attr-defined]


def test_a_device_that_is_not_reached_and_an_engine_that_fails_are_errors(tmp_path: Path) -> None:
    device = load_device("local")
    lost = Device(device.description, FakeConnector())
    with pytest.raises(DeviceError):
        conditions_of(lost, "onnxruntime", precision="float32")
    runtimes = {"onnxruntime": {"affinity": [100_000]}}
    python = interpreter(tmp_path)
    with (
        described(tmp_path, {"kind": "local"}, python=python, runtimes=runtimes) as wrong,
        pytest.raises(AgentError, match=r"CPUs \[100000\] asked"),
    ):
        conditions_of(wrong, "onnxruntime", precision="float32")
    assert wrong.engine_versions == {}
