"""Architectures, artifacts, measurements, errors, extras and data folders."""

import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from edgenas.core import errors, extras, paths
from edgenas.core.architecture import Architecture, architectures, population
from edgenas.core.artifact import Artifact
from edgenas.core.errors import EdgenasError, MissingExtraError, StorageError, UsageError, choices
from edgenas.core.evaluation import Evaluation
from edgenas.core.measurement import Measurement

# -- architectures -------------------------------------------------------------------------


def test_an_architecture_is_its_space_and_genes() -> None:
    arch = Architecture("space", (0, 2, 1))
    assert arch == Architecture("space", (0, 2, 1))
    assert arch.row.dtype == np.int8
    # The identifier is written into files: it never changes.
    assert arch.id == "1adf78f811"
    ids = {Architecture(name, genes).id for name in "ab" for genes in ((0, 1), (1, 0), (0, 1, 0))}
    assert len(ids) == 6


def test_populations_and_architectures_are_each_other() -> None:
    rows = np.array([[0, 1], [2, 3]], np.int8)
    archs = architectures("space", rows)
    assert np.array_equal(population(archs, 2), rows)
    assert population([], 2).shape == (0, 2)
    assert population([], 2).dtype == np.int8


def test_an_evaluation_is_of_nothing_but_what_it_says() -> None:
    evaluation = Evaluation(Architecture("space", (0,)), "failed", error="no power")
    assert evaluation.values == {}
    assert evaluation.violation == 0


# -- artifacts -----------------------------------------------------------------------------


def test_a_model_file_is_known_by_its_content(tmp_path: Path) -> None:
    one, other = tmp_path / "a.onnx", tmp_path / "b.tflite"
    for path in (one, other):
        path.write_bytes(b"model")
    first, second = Artifact.of(one), Artifact.of(other)
    assert (first.format, second.format) == ("onnx", "tflite")
    assert first.sha256 == second.sha256
    one.write_bytes(b"other")
    assert Artifact.of(one).sha256 != first.sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.onnx", "model.onnx: no such file"),
        ("model.pt", "model.pt: not a model file; allowed suffixes: .*.onnx"),
        ("model", "not a model file"),
        ("folder.onnx", "no such file"),
    ],
)
def test_what_is_no_model_file_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UsageError, match=message):
        Artifact.of(tmp_path / name)


# -- measurements --------------------------------------------------------------------------


def test_a_latency_is_the_least_run() -> None:
    # Whatever disturbs a run makes it longer: spikes and slow visits are passed over.
    measurement = Measurement("x", np.array([[2.0, 2.1, 9.0], [4.0, 4.0, 4.0], [1.0, 2.2, 2.3]]))
    assert measurement.latency_ms == 1.0
    assert measurement.percentile_ms(100) == 9.0
    assert measurement.percentile_ms(0) == 1.0


# -- errors --------------------------------------------------------------------------------


def test_every_error_is_in_the_tree_drawn_at_the_top() -> None:
    classes = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, EdgenasError)
    }
    drawn = re.findall(r"^([│ ]*[├└]── )?(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert {name for _, name in drawn} == set(classes)
    above: list[str] = []
    for indent, name in drawn:
        depth = len(indent) // 4
        above[depth:] = [name]
        if depth:
            assert classes[name].__base__ is classes[above[depth - 1]]
    assert all(1 <= kind.exit_code <= 8 and kind.__doc__ for kind in classes.values())


def test_choices_name_the_nearest() -> None:
    assert choices("stride", ["strides", "width"]) == "allowed: strides, width; nearest: strides"
    assert choices("zzz", ["b", "a"]) == "allowed: a, b"
    assert choices("x", []) == "allowed: none"


# -- extras --------------------------------------------------------------------------------


@pytest.mark.parametrize("module", sorted(extras.EXTRAS))
def test_a_missing_package_is_missed_by_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"{module} is needed .* run: pip install 'edgenas\[{extras.EXTRAS[module]}\]'"
    with pytest.raises(MissingExtraError, match=message) as caught:
        extras.require(module)
    assert isinstance(caught.value.__cause__, ImportError)
    assert extras.unavailable_reason(module) == str(caught.value)


def test_a_part_of_a_missing_package_is_missed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)  # another test may have used it
    with pytest.raises(MissingExtraError, match=r"PIL.Image is needed.*edgenas\[image\]"):
        extras.require("PIL.Image")


def test_a_library_that_does_not_load_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(extras.importlib, "import_module", broken)
    with pytest.raises(MissingExtraError, match=r"libnvinfer.*edgenas\[tensorrt\]"):
        extras.require("tensorrt_rtx")


def test_a_package_that_is_there_is_returned() -> None:
    assert extras.require("flatbuffers") is sys.modules["flatbuffers"]
    assert extras.unavailable_reason("flatbuffers") is None


# -- data folders --------------------------------------------------------------------------


def test_data_folders_are_found_in_the_checkout(repository: Path) -> None:
    for name in paths.DATA_FOLDERS:
        assert paths.data_folder(name) == repository / name
    with pytest.raises(StorageError, match="no data folder 'device'; there are devices, latency"):
        paths.data_folder("device")


def test_a_wheels_own_folders_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "edgenas")
    with pytest.raises(StorageError, match="devices/ is missing from this installation"):
        paths.data_folder("devices")
    (tmp_path / "devices").mkdir()
    assert paths.data_folder("devices") == tmp_path / "devices"
    (tmp_path / "edgenas" / "_data" / "devices").mkdir(parents=True)
    assert paths.data_folder("devices") == tmp_path / "edgenas" / "_data" / "devices"


def test_a_users_own_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path))
    shipped = paths.data_folder("latency_tables")
    assert paths.search_path("latency_tables") == (shipped,)
    (tmp_path / "latency_tables").mkdir()
    assert paths.search_path("latency_tables") == (tmp_path / "latency_tables", shipped)


def test_the_users_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGENAS_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert paths.user_folder() == tmp_path / "data" / "edgenas"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.user_folder() == tmp_path / ".local" / "share" / "edgenas"
