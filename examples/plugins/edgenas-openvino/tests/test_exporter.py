"""OpenVINO keeps the exporters' contract; what else its files promise."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import ExportError
from edgenas.core.precision import PRECISIONS
from edgenas.exporters import Exporter, get
from edgenas.exporters.manifest import tool_versions
from edgenas.testing.exporter import ExporterContract, small_request
from edgenas_openvino.exporter import OpenVinoExporter


class TestContract(ExporterContract):
    @pytest.fixture(params=PRECISIONS)
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        return get("openvino", request.param)


def test_it_is_found_by_its_name() -> None:
    assert isinstance(get("openvino"), OpenVinoExporter)
    assert {"openvino", "edgenas-openvino"} <= set(tool_versions(OpenVinoExporter.distributions))


def test_the_archive_holds_what_every_tool_of_openvino_takes(tmp_path: Path) -> None:
    import openvino

    request = small_request()
    exporter = get("openvino")
    path = exporter.export(request, tmp_path / "model.ovz").path
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["model.xml", "model.bin"]
        archive.extractall(tmp_path)
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(tmp_path / "model.xml", "CPU", config)
    image = request.reference_inputs[:1]
    np.testing.assert_array_equal(compiled(image)[0], exporter.infer(path, image))


def test_files_of_fewer_bits_are_smaller(tmp_path: Path) -> None:
    sizes = {}
    for precision in PRECISIONS:
        path = get("openvino", precision).export(small_request(), tmp_path / "model.ovz").path
        with zipfile.ZipFile(path) as archive:
            sizes[precision] = archive.getinfo("model.bin").file_size
    assert sizes["float16"] < 0.6 * sizes["float32"]
    assert sizes["int8"] < 0.5 * sizes["float32"]
    assert sizes["weight_int8"] < 0.4 * sizes["float32"]


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    exporter = get("openvino")
    path = exporter.export(small_request(), tmp_path / "model.ovz").path
    with pytest.raises(ExportError, match="the file takes"):
        exporter.infer(path, np.zeros((1, 2, 8, 8), np.float32))


def test_a_precision_without_a_recipe_is_refused() -> None:
    with pytest.raises(ExportError, match="openvino-float32"):
        get("openvino", "int4")


def test_what_openvino_does_not_take_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words are in the error, and nothing is written."""
    from onnx import helper

    node = helper.make_node("NoSuchOperator", ["image"], ["logits"])
    ends = [helper.make_tensor_value_info(name, 1, [1, 2]) for name in ("image", "logits")]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]))
    monkeypatch.setattr(
        "edgenas_openvino.lowering.onnx.lower", lambda *args, **kwargs: model.SerializeToString()
    )
    with pytest.raises(ExportError, match=r"OpenVINO cannot read(.|\n)*NoSuchOperator"):
        get("openvino").export(small_request(), tmp_path / "model.ovz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_bundles_open_it_with_answers_alike(tmp_path: Path, precision: str) -> None:
    from edgenas_openvino.engine import Model

    request, exporter = small_request(), get("openvino", precision)
    path = exporter.export(request, tmp_path / "model.ovz").path
    model = Model(str(path), 1, exporter.recipe.model_dump(mode="json"))
    assert model.inputs == {"name": "image", "shape": [1, 2, 15, 14], "dtype": "float32"}
    image = request.reference_inputs[:1]
    np.testing.assert_array_equal(model.run(image), exporter.infer(path, image))
