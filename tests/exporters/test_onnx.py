"""ONNX keeps the exporters' contract."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgenas.core.artifact import Artifact
from edgenas.core.errors import ExportError
from edgenas.exporters import Exporter, ExportRequest, get
from edgenas.exporters.onnx import OnnxExporter, OnnxRecipe
from edgenas.testing.exporter import ExporterContract


class TestContract(ExporterContract):
    @pytest.fixture(params=["float32", "float16", "int8", "weight_int8"])
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        return get("onnx", request.param)


def test_operator_set_of_the_recipe_is_written(
    request_small: ExportRequest, tmp_path: Path
) -> None:
    recipe = get("onnx").recipe.model_copy(update={"opset": 15})
    path = OnnxExporter(recipe).export(request_small, tmp_path / "model.onnx").path
    assert onnx.load(path).opset_import[0].version == 15


def test_unknown_operator_set_writes_nothing(request_small: ExportRequest, tmp_path: Path) -> None:
    recipe = get("onnx").recipe.model_copy(update={"opset": 9})
    with pytest.raises(ExportError, match="opset 9"):
        OnnxExporter(recipe).export(request_small, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_images_of_another_size_are_refused(onnx_artifact: Artifact) -> None:
    with pytest.raises(ExportError, match="the file takes"):
        get("onnx").infer(onnx_artifact.path, np.zeros((1, 2, 8, 8), np.float32))


def test_recipe_of_another_target_is_refused() -> None:
    with pytest.raises(ExportError, match="OnnxRecipe"):
        OnnxExporter(get("tflite").recipe)
    assert issubclass(OnnxExporter.recipe_model, OnnxRecipe)
