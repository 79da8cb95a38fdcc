"""OpenVINO keeps the runtimes' contract; its settings come from device files."""

from pathlib import Path

import pytest

from edgenas.core.errors import SchemaError
from edgenas.hardware.device import load_device
from edgenas.runtimes import RUNTIMES, open_bench
from edgenas.testing.exporter import small_request
from edgenas.testing.runtime_contract import RuntimeContract, write_model
from edgenas_openvino.runtime import OpenVinoRuntime, OpenVinoSettings

DEVICE = """\
schema_version: 1
id: mine
extends: local
runtimes:
  openvino: {bf16: true, threads: 1}
"""


class TestContract(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> str:
        return "openvino"


def test_layers_of_an_int8_model_are_fused(tmp_path: Path) -> None:
    request = small_request()
    with load_device("local") as device, open_bench(device, "openvino", precision="int8") as bench:
        bench.load("a", write_model("openvino", request, tmp_path, precision="int8"))
        kinds = [node.kind for node in bench.nodes("a")]
    n_layers = sum(node.op.kind == "conv2d" for node in request.graph.nodes)
    assert kinds.count("Convolution") == n_layers


def test_a_device_file_has_settings_of_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(DEVICE)
    runtime = RUNTIMES.get("openvino")()
    assert isinstance(runtime, OpenVinoRuntime)
    with load_device(path) as device:
        assert runtime.settings(device.description) == OpenVinoSettings(bf16=True)
        assert runtime.settings(device.resolved).decisive == {"affinity": "auto", "bf16": True}
        model = write_model("openvino", small_request(), tmp_path, precision="float32")
        with open_bench(device, "openvino") as bench:
            bench.load("a", model)
    path.write_text(DEVICE.replace("bf16", "bf61"))
    with pytest.raises(SchemaError, match=r"unknown key 'bf61' in runtimes.openvino;.*bf16"):
        load_device(path)


def test_without_a_block_it_has_its_defaults() -> None:
    with load_device("local") as device:
        assert OpenVinoRuntime().settings(device.description) == OpenVinoSettings()
