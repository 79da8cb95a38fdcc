"""The registered runtimes and their settings."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgenas.core.artifact import FORMATS
from edgenas.core.errors import RegistryError, UsageError
from edgenas.hardware.description import DeviceDescription
from edgenas.hardware.device import load_device
from edgenas.runtimes import RUNTIMES, open_bench
from edgenas.runtimes.agent_bench import AgentRuntime

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["onnxruntime", "litert"])
def test_a_runtime_says_what_it_is(name: str) -> None:
    runtime = RUNTIMES.get(name)()
    assert runtime.name == name
    assert runtime.format in FORMATS.names()
    assert "float32" in runtime.precisions
    assert runtime.unavailable_reason() is None
    version = runtime.version()
    assert version is not None
    assert version[0].isdigit()


def test_an_unknown_runtime_lists_those_there_are() -> None:
    with pytest.raises(RegistryError, match=r"unknown runtime 'onnx'; .*litert, onnxruntime"):
        RUNTIMES.get("onnx")


def test_the_extra_is_named_when_the_engine_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    reason = RUNTIMES.get("onnxruntime")().unavailable_reason()
    assert reason is not None
    assert "pip install 'edgenas[onnx]'" in reason


def test_settings_come_from_the_description() -> None:
    values = load_device("local").description.model_dump()
    values["runtimes"]["onnxruntime"] = {"threads": 2, "affinity": [1, 0]}
    description = DeviceDescription(**values)
    found = []
    for name in ("onnxruntime", "litert"):
        runtime = RUNTIMES.get(name)()
        assert isinstance(runtime, AgentRuntime)
        found.append(runtime.agent_settings(description, "float16"))
    assert found == [
        {
            "threads": 2,
            "affinity": [1, 0],
            "providers": ["CPUExecutionProvider"],
            "precision": "float16",
        },
        {"threads": 1, "affinity": None, "delegate": "xnnpack", "precision": "float16"},
    ]


@pytest.mark.parametrize(
    ("name", "providers", "expected_s"),
    [
        ("onnxruntime", ["CPUExecutionProvider"], 60),
        ("onnxruntime", ["CUDAExecutionProvider"], 60),
        ("onnxruntime", ["TensorrtExecutionProvider", "CUDAExecutionProvider"], 600),
        ("litert", ["CPUExecutionProvider"], 60),
        ("benchmark_model", ["CPUExecutionProvider"], 60),
        ("tensorrt", ["CPUExecutionProvider"], 600),
        ("trtexec", ["CPUExecutionProvider"], 600),
    ],
)
def test_engines_that_are_built_on_the_device_get_minutes(
    name: str, providers: list[str], expected_s: float
) -> None:
    values = load_device("local").description.model_dump()
    values["runtimes"]["onnxruntime"] = {"providers": providers}
    description = DeviceDescription(**values)
    assert RUNTIMES.get(name)().load_timeout_s(description) == expected_s


def test_an_unknown_precision_is_refused() -> None:
    with (
        load_device("local") as device,
        pytest.raises(UsageError, match="'half' is no precision; there are: float32, float16"),
        open_bench(device, "litert", precision="half"),
    ):
        pass


def test_no_engine_is_loaded_into_this_process() -> None:
    code = (
        "import sys, edgenas.runtimes; "
        "sys.exit(' '.join({'onnxruntime', 'ai_edge_litert', 'torch', 'onnx'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.stderr.decode().strip() == ""
