"""Requests that do not fit together are refused before anything is written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.errors import ExportError, RegistryError, SchemaError, StorageError
from edgenas.exporters import EXPORTERS, ExportRequest, get
from edgenas.exporters.base import check_request
from edgenas.exporters.recipe import Recipe, load_recipe


def test_registered() -> None:
    assert set(EXPORTERS.names()) >= {"onnx", "tflite", "tensorrt"}
    with pytest.raises(RegistryError, match="nearest: onnx"):
        get("onx")


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("mean", (0.5,), "mean has shape"),
        ("std", (0.5, 0.5, 0.5), "std has shape"),
        ("class_names", ("a", "b"), "class_names"),
        ("reference_inputs", np.zeros((8, 2, 9, 9), np.float32), "reference_inputs"),
        ("reference_inputs", np.full((8, 2, 15, 14), np.nan, np.float32), "NaN"),
        ("reference_logits", np.zeros((7, 5), np.float32), "reference_logits"),
        ("test_labels", None, "come together"),
        ("test_images", np.zeros((3, 2, 15, 14), np.float32), "do not fit"),
        ("test_accuracy", 1.5, "impossible"),
        ("test_accuracy", float("nan"), "impossible"),
    ],
)
def test_inconsistent_request(
    request_small: ExportRequest, part: str, value: Any, message: str
) -> None:
    changes: dict[str, Any] = {part: value}
    with pytest.raises(ExportError, match=message):
        check_request(replace(request_small, **changes))


def test_no_reference_inputs(request_small: ExportRequest) -> None:
    empty = replace(
        request_small,
        reference_inputs=request_small.reference_inputs[:0],
        reference_logits=request_small.reference_logits[:0],
    )
    with pytest.raises(ExportError, match="at least one"):
        check_request(empty)


def test_missing_weights(request_small: ExportRequest, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"stem\.conv\.weight"):
        get("onnx").export(replace(request_small, weights={}), tmp_path / "model.onnx")


def test_folder_that_cannot_be_written(request_small: ExportRequest, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        get("onnx").export(request_small, tmp_path / "file" / "model.onnx")


def test_unknown_precision_lists_recipes() -> None:
    with pytest.raises(ExportError, match="onnx-float32"):
        get("onnx", "int4")


def test_own_recipe_comes_first(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(own_home / "with_recipe"))
    folder = own_home / "with_recipe" / "export" / "recipes"
    folder.mkdir(parents=True)
    text = "schema_version: 1\ntarget: onnx\nprecision: float32\ntolerance: 0.5\n"
    path = folder / "onnx-float32.yaml"
    path.write_text(text)
    assert get("onnx").recipe.tolerance == 0.5
    path.write_text(text.replace("tolerance", "tolerence"))
    with pytest.raises(SchemaError, match="tolerence"):
        get("onnx")
    path.write_text(text.replace("target: onnx", "target: tflite"))
    with pytest.raises(ExportError, match="its name says"):
        load_recipe("onnx", "float32", Recipe)
