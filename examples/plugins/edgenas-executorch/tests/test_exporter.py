"""ExecuTorch keeps the exporters' contract; what else its files promise."""

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import ExportError, SchemaError
from edgenas.core.schema import parse_yaml
from edgenas.exporters import Exporter, get
from edgenas.testing.exporter import ExporterContract, small_request
from edgenas_executorch.exporter import ExecuTorchExporter, ExecuTorchRecipe


class TestContract(ExporterContract):
    @pytest.fixture(params=["float32", "int8"])
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        return get("executorch", request.param)


def test_it_is_found_by_its_name() -> None:
    assert isinstance(get("executorch"), ExecuTorchExporter)


def test_layers_run_in_xnnpack(tmp_path: Path) -> None:
    exporter = get("executorch")
    path = exporter.export(small_request(), tmp_path / "model.pte").path
    outside = exporter.outside_delegate(path)
    assert outside is not None
    assert outside == ()


@pytest.mark.filterwarnings("ignore")
def test_what_bundles_open_it_with_answers_alike(tmp_path: Path) -> None:
    from edgenas_executorch.engine import Model

    request, exporter = small_request(), get("executorch")
    path = exporter.export(request, tmp_path / "model.pte").path
    model, expected = Model(str(path), 1, {}), exporter.expected(request)
    assert model.inputs == {"name": "0", "shape": [*expected.input_shape], "dtype": "float32"}
    assert model.outputs == {"name": "0", "shape": [*expected.output_shape], "dtype": "float32"}
    image = request.reference_inputs[:1]
    np.testing.assert_array_equal(model.run(image), exporter.infer(path, image))
    assert exporter.device_program() == Path(inspect.getfile(Model)).read_text(encoding="utf-8")


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    exporter = get("executorch")
    path = exporter.export(small_request(), tmp_path / "model.pte").path
    with pytest.raises(ExportError, match="the file takes"):
        exporter.infer(path, np.zeros((1, 2, 8, 8), np.float32))


def test_int8_without_images_is_refused(tmp_path: Path) -> None:
    request = replace(small_request(), calibration_images=None)
    with pytest.raises(ExportError, match="calibration images and none"):
        get("executorch", "int8").export(request, tmp_path / "model.pte")
    images = np.zeros((0, *request.graph.in_shape), np.float32)
    with pytest.raises(ExportError, match=r"calibration images have shape \(0, 2, 15, 14\)"):
        get("executorch", "int8").export(
            replace(request, calibration_images=images), tmp_path / "model.pte"
        )


def test_a_method_of_calibration_that_is_not_its_own_is_refused() -> None:
    text = get("executorch", "int8").recipe.model_dump_json(exclude_none=True)
    with pytest.raises(SchemaError, match="min_max alone"):
        parse_yaml(text.replace("min_max", "mse"), ExecuTorchRecipe)


def test_what_executorch_does_not_take_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words are in the error, and nothing is written."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("Missing out variants: {'aten::no_such_operator'}")

    monkeypatch.setattr("edgenas_executorch.lowering._program", refuse)
    with pytest.raises(ExportError, match=r"ExecuTorch cannot lower .*no_such_operator"):
        get("executorch").export(small_request(), tmp_path / "model.pte")
    assert list(tmp_path.iterdir()) == []


def test_a_precision_without_a_recipe_is_refused() -> None:
    with pytest.raises(ExportError, match="executorch-int8"):
        get("executorch", "float16")
