"""TFLite keeps the exporters' contract."""

from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import ExportError
from edgenas.exporters import Exporter, ExportRequest, get
from edgenas.lowering.optimised_tflite import tflite_operators
from edgenas.testing.exporter import FAMILIES, ExporterContract, small_request


class TestContract(ExporterContract):
    @pytest.fixture(params=["float32", "float16", "int8", "weight_int8"])
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        return get("tflite", request.param)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_of_it_runs_in_the_delegate(family: str, tmp_path: Path) -> None:
    request = small_request(family=family)
    artifact = get("tflite").export(request, tmp_path / "model.tflite")
    assert tflite_operators(artifact.path.read_bytes()).outside == ()


def test_images_of_another_size_are_refused(request_small: ExportRequest, tmp_path: Path) -> None:
    artifact = get("tflite").export(request_small, tmp_path / "model.tflite")
    with pytest.raises(ExportError, match="the file takes"):
        get("tflite").infer(artifact.path, np.zeros((1, 2, 8, 8), np.float32))
