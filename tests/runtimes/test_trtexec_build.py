"""Engine files by `trtexec`: built with kept timings, loaded, and run on given inputs."""

import hashlib
import logging
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError, RefusedError
from edgenas.hardware.device import Device, load_device
from edgenas.runtimes import open_bench
from edgenas.runtimes.base import Tensor
from edgenas.runtimes.engine_files import BuildInfo, BuildOptions, EngineBuilder, explained
from edgenas.runtimes.trtexec_answers import parse_bindings, parse_gpu, parse_outputs
from tests.runtimes.boards import trtexec_board, write_trtexec

Describe = Callable[..., Device]
VERSIONS = (8001, 8503, 8601, 101303)


@pytest.fixture
def describe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Describe]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    devices: list[Device] = []

    def write(*arguments: Any, **settings: Any) -> Device:
        devices.append(load_device(trtexec_board(tmp_path, *arguments, **settings)))
        return devices[-1]

    yield write
    for device in devices:
        device.close()


def build(
    device: Device, model: Path, target: Path, *, timeout_s: float = 60.0, **options: Any
) -> BuildInfo:
    with open_bench(device, "trtexec", precision=options.pop("precision", "float32")) as bench:
        assert isinstance(bench, EngineBuilder)
        return bench.build(model, target, BuildOptions(**options), timeout_s=timeout_s)


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("cache/edgenas/tensorrt/*"))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_is_built_loaded_and_answers(
    describe: Describe, onnx_file: Path, kernel: np.ndarray, tmp_path: Path, version: int
) -> None:
    target, device = tmp_path / "model.engine", describe(version)
    info = build(device, onnx_file, target)
    assert (info.name, info.compute_capability, info.build_ms) == ("Orin", "8.7", 12_500)
    assert info.timings is not None
    assert (info.timings.used_bytes, info.timings.problem) == (0, "")
    (cache,) = kept(tmp_path)
    assert cache.stat().st_size == info.timings.kept_bytes > 0
    assert "orin-8.7" in cache.name
    with open_bench(device, "trtexec") as bench:
        loaded = bench.load("a", target)
        assert target.is_file()  # the user's own is not the device's
        assert (loaded.build_ms, loaded.load_ms) == (0, 12.5)
        assert loaded.inputs == (Tensor(name="image", shape=(1, 8, 16, 16), dtype="float32"),)
        assert loaded.outputs == (Tensor(name="result", shape=(1, 8, 16, 16), dtype="float32"),)
        image = np.random.default_rng(0).normal(size=(1, 8, 16, 16)).astype(np.float32)
        found = bench.infer("a", {"image": image})["result"]
        assert found.shape == (1, 8, 16, 16)
        middle = (image[0, :, 4:7, 5:8] * kernel[3]).sum()
        assert found[0, 3, 5, 6] == pytest.approx(max(middle, 0), rel=1e-5)
        assert len(bench.visit(["a"], n_runs=3, n_warmup=0, timeout_s=60)[0].samples_ms) == 3
        bench.unload("a")
        assert target.is_file()
    assert list(Path(device.connector.workdir).iterdir()) == []


@pytest.mark.parametrize(("version", "option"), [(8503, "--buildOnly"), (8601, "--skipInference")])
def test_building_runs_nothing(
    describe: Describe, onnx_file: Path, tmp_path: Path, version: int, option: str
) -> None:
    build(describe(version), onnx_file, tmp_path / "a.engine", tf32=True, precision="float16")
    (line,) = [one for one in (tmp_path / "calls").read_text().splitlines() if "--onnx" in one]
    assert {option, "--fp16"} <= set(line.split())
    assert "--noTF32" not in line


def test_the_second_build_has_the_timings_of_the_first(
    describe: Describe, onnx_file: Path, tmp_path: Path
) -> None:
    device = describe(101303)
    first = build(device, onnx_file, tmp_path / "a.engine")
    second = build(device, onnx_file, tmp_path / "b.engine")
    assert first.timings is not None
    assert second.timings is not None
    assert second.timings.used_bytes == first.timings.kept_bytes
    assert second.build_ms < first.build_ms
    assert len(kept(tmp_path)) == 1
    assert (tmp_path / "a.engine").read_bytes() == (tmp_path / "b.engine").read_bytes()


def test_timings_are_of_one_version_and_one_gpu(
    describe: Describe, onnx_file: Path, tmp_path: Path
) -> None:
    for version, fault in ((101303, "none"), (101400, "none"), (101303, "gpu=Xavier")):
        info = build(describe(version, fault), onnx_file, tmp_path / "a.engine")
        assert info.timings is not None
        assert (info.timings.used_bytes, info.timings.problem) == (0, "")
    assert len(kept(tmp_path)) == 3


def test_timings_can_be_kept_elsewhere_or_not_at_all(
    describe: Describe, onnx_file: Path, tmp_path: Path
) -> None:
    device, own = describe(), tmp_path / "my own"
    assert build(device, onnx_file, tmp_path / "a.engine", timings=False).timings is None
    assert kept(tmp_path) == []
    build(device, onnx_file, tmp_path / "a.engine", timings=str(own))
    assert len(list(own.iterdir())) == 1
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("version", "damage"),
    [(8503, "cut"), *((version, "of another version") for version in VERSIONS)],
)
def test_wrong_timings_are_left_out_with_a_warning(
    describe: Describe,
    onnx_file: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    version: int,
    damage: str,
) -> None:
    """Cut: the hash in the name tells. Of another version: only the tool can, in its own way."""
    device = describe(version)
    build(device, onnx_file, tmp_path / "a.engine")
    (path,) = kept(tmp_path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:10])
    else:
        path.unlink()
        content = b"timings of 7000\nsomething"
        key = path.name.rsplit(".", 2)[0]
        digest = hashlib.sha256(content).hexdigest()[:16]
        path.with_name(f"{key}.{digest}.cache").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        info = build(device, onnx_file, tmp_path / "b.engine")
    assert info.timings is not None
    assert info.timings.used_bytes == 0
    assert "damaged" in info.timings.problem
    assert "the engine was built without" in caplog.text
    assert (tmp_path / "b.engine").read_bytes() == (tmp_path / "a.engine").read_bytes()
    caplog.clear()
    again = build(device, onnx_file, tmp_path / "c.engine")
    assert again.timings is not None
    assert again.timings.used_bytes > 0
    assert (again.timings.problem, caplog.text) == ("", "")


def test_a_folder_that_cannot_be_written_costs_time_alone(
    describe: Describe, onnx_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "below")
    info = build(describe(), onnx_file, tmp_path / "a.engine", timings=folder)
    assert info.timings is None
    assert "timings of kernels are not kept on the device" in caplog.text
    assert (tmp_path / "a.engine").is_file()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("operator", r"does not take an operator(.|\n)*No importer registered for op: HardSwish"),
        ("memory", r"ran out of memory(.|\n)*Cuda Runtime \(out of memory\)"),
        ("full", r"disk is full(.|\n)*Saving engine to file failed"),
        ("native", r"does not compute in this precision(.|\n)*without native FP16"),
        ("no_gpu", "no CUDA-capable device is detected"),
    ],
)
def test_what_the_tool_fails_over_is_told(
    describe: Describe, onnx_file: Path, tmp_path: Path, fault: str, message: str
) -> None:
    device = describe(8503, fault)
    with pytest.raises(RefusedError) as failed:
        build(device, onnx_file, tmp_path / "a.engine", precision="float16")
    assert re.search(message, explained(str(failed.value)))
    assert not (tmp_path / "a.engine").exists()
    assert list(Path(device.connector.workdir).iterdir()) == []


def test_a_build_that_takes_too_long_is_ended(
    describe: Describe, onnx_file: Path, tmp_path: Path
) -> None:
    device = describe(8503, "hang")
    with pytest.raises(DeviceTimeoutError):
        build(device, onnx_file, tmp_path / "a.engine", timeout_s=2.0)
    assert not (tmp_path / "a.engine").exists()
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("version", "fault", "message"),
    [
        (8601, "none", r"of another version(.|\n)*expecting library version 8601 got 8503"),
        (8503, "gpu=Xavier", r"another kind of GPU(.|\n)*expecting compute 7.2 got compute 8.7"),
    ],
)
def test_an_engine_of_elsewhere_is_refused(
    describe: Describe, onnx_file: Path, tmp_path: Path, version: int, fault: str, message: str
) -> None:
    target = tmp_path / "a.engine"
    build(describe(8503), onnx_file, target)
    with open_bench(describe(version, fault), "trtexec") as bench:
        with pytest.raises(RefusedError) as refused:
            bench.load("a", target)
        assert re.search(message, explained(str(refused.value)))
        target.write_bytes(b"nothing")
        with pytest.raises(RefusedError, match="Serialization") as refused:
            bench.load("a", target)
        assert "damaged" in explained(str(refused.value))


def test_another_gpu_than_asked_for_is_refused(
    describe: Describe, onnx_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match=r"capability 8\.6 is asked for, and Orin .*has 8\.7"):
        build(describe(), onnx_file, tmp_path / "a.engine", compute_capability="8.6")
    build(describe(), onnx_file, tmp_path / "a.engine", compute_capability="8.7")


def test_answers_that_are_none_are_errors(
    describe: Describe, onnx_file: Path, tmp_path: Path
) -> None:
    image = {"image": np.ones((1, 8, 16, 16), np.float32)}
    with open_bench(describe(8503), "trtexec") as bench:
        bench.load("a", onnx_file)
        for arrays in (
            {},
            {"other": image["image"]},
            {"image": image["image"][:, :, :8]},
            {"image": image["image"].astype(np.float64)},
            {**image, "more": image["image"]},
        ):
            with pytest.raises(RefusedError, match="the inputs are"):
                bench.infer("a", arrays)
        write_trtexec(tmp_path, 8503, "torn_output")
        with pytest.raises(AgentError, match="no JSON as outputs"):
            bench.infer("a", image)
        write_trtexec(tmp_path, 8503, "nan")
        assert np.isnan(bench.infer("a", image)["result"]).all()


def test_a_device_without_the_tool_says_so(describe: Describe) -> None:
    device = describe(program="/usr/bin/no-such-trtexec")
    with pytest.raises(DeviceError, match="is no trtexec"), open_bench(device, "trtexec"):
        pass


OUTPUTS = (Tensor(name="logits", shape=(1, 3), dtype="float32"),)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("1, -2.5, 3e-05", [1.0, -2.5, 3e-05]),
        ("nan, -nan, 0", [math.nan, math.nan, 0.0]),
        ("inf, -inf, 1e+30", [math.inf, -math.inf, 1e30]),
    ],
)
def test_outputs_as_the_tool_writes_them(values: str, expected: list[float]) -> None:
    text = (
        '[\n  { "name" : "logits"\n  , "dimensions" : "1x3"\n'
        f'  , "values" : [ {values} ]\n  }}\n]\n'
    )
    np.testing.assert_allclose(parse_outputs(text, OUTPUTS)["logits"][0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("{}", "no array of objects"),
        ("[]", "the engine has"),
        ('[{"name": "logits", "dimensions": "1x3"}]', "without name or values"),
        ('[{"name": "logits", "dimensions": "1x3", "values": [1, 2]}]', "2 values"),
        ('[{"name": "logits", "dimensions": "1x3", "values": [1, 2, "3"]}]', "no numbers"),
        ('[{"name": "logits", "dimensions": "1x3", "values": [1, 2, true]}]', "no numbers"),
        ('[{"name": "logits", "dimensions": "3", "values": [1, 2, 3]}]', "the engine has"),
        ('[{"name": "other", "dimensions": "1x3", "values": [1, 2, 3]}]', "the engine has"),
        ('[{"name": "logits", "dimensions": "1x-3", "values": [1, 2, 3]}]', "dimensions that are"),
        ('[{"name": "logits", "dimensions": "0", "values": []}]', "cannot be"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_other_outputs_are_an_error(text: str, message: str) -> None:
    with pytest.raises(AgentError, match=message):
        parse_outputs(text, OUTPUTS)


def test_bindings_of_both_forms() -> None:
    early = (
        "[09/01/2025-18:07:00] [I] Created input binding for images with dimensions 10x3x64x108\n"
        "[09/01/2025-18:07:00] [I] Created output binding for output0 with dimensions 10x4x31\n"
    )
    later = (
        "[04/08/2025-23:15:48] [I] Input binding for a b with dimensions 1x3x10x12 is created.\n"
        "[04/08/2025-23:15:48] [I] Output binding for output with dimensions 1 is created.\n"
    )
    inputs, outputs = parse_bindings(early)
    assert [(one.name, one.shape) for one in inputs] == [("images", (10, 3, 64, 108))]
    assert [(one.name, one.shape) for one in outputs] == [("output0", (10, 4, 31))]
    inputs, outputs = parse_bindings(later)
    assert [(one.name, one.shape) for one in inputs] == [("a b", (1, 3, 10, 12))]
    assert [(one.name, one.shape) for one in outputs] == [("output", (1,))]
    with pytest.raises(AgentError, match="inputs and outputs"):
        parse_bindings("[I] Input binding for a with dimensions 1 is created.")


def test_the_gpu_as_the_tool_tells_it() -> None:
    text = (
        "[04/08/2025-23:13:59] [I] === Device Information ===\n"
        '[04/08/2025-23:13:59] [I]   Device 0: "NVIDIA GeForce RTX 3070" UUID: GPU-84a8068b\n'
        "[04/08/2025-23:14:00] [I] Selected Device: NVIDIA GeForce RTX 3070\n"
        "[04/08/2025-23:14:00] [I] Selected Device ID: 0\n"
        "[04/08/2025-23:14:00] [I] Compute Capability: 8.6\n"
    )
    found = parse_gpu(text)
    assert (found.name, found.compute_capability) == ("NVIDIA GeForce RTX 3070", "8.6")
    with pytest.raises(AgentError, match="does not tell its GPU: it printed nothing"):
        parse_gpu("")
