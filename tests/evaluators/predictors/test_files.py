"""Predictors in files: the same bits back, and nothing foreign or damaged taken for one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError, StorageError, UsageError
from edgenas.evaluators.predictors import (
    FittedPredictor,
    boosting,
    ensemble,
    fit_predictor,
    load_predictor,
    save_predictor,
)
from edgenas.evaluators.predictors.files import load_fitted, read_header
from edgenas.evaluators.predictors.kinds import KINDS
from edgenas.evaluators.predictors.published import PublishedPredictor
from edgenas.spaces.base import SearchSpace

Evaluated = tuple[Genes, npt.NDArray[np.float64]]


@pytest.fixture(scope="module")
def predictor(space: SearchSpace, evaluated: Evaluated) -> FittedPredictor:
    return fit_predictor(space, *evaluated, kinds=("gaussian_process",))


@pytest.fixture
def file(predictor: FittedPredictor, tmp_path: Path) -> Path:
    path = tmp_path / "predictor.safetensors"
    save_predictor(predictor, path)
    return path


def parts(path: Path) -> tuple[dict[str, str], dict[str, npt.NDArray[np.float64]]]:
    with safe_open(path, framework="numpy") as content:
        names = list(content.keys())
        return dict(content.metadata()), {name: content.get_tensor(name) for name in names}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_to_the_bit(
    kind: str,
    space: SearchSpace,
    evaluated: Evaluated,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ensemble, "_EPOCHS", 5)
    monkeypatch.setattr(boosting, "_TREES", 20)
    fitted = fit_predictor(space, *evaluated, kinds=(kind,), n_folds=2)
    path = tmp_path / f"{kind}.safetensors"
    save_predictor(fitted, path)
    again = load_predictor(path)
    assert isinstance(again, FittedPredictor)
    rows = space.sample(1200, np.random.default_rng(4))
    for found, wanted in zip(again.predict(rows), fitted.predict(rows), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert again.report == fitted.report
    assert again.space.fingerprint == space.fingerprint


def test_the_header_tells_all_without_reading_as_code(
    file: Path, predictor: FittedPredictor
) -> None:
    header = read_header(file)
    assert header.space.name == "mbv3_tiny"
    assert header.report == predictor.report
    text = parts(file)[0]["edgenas_predictor"]
    assert json.loads(text)["schema_version"] == 1


def test_loads_without_the_library_that_fits(file: Path) -> None:
    code = f"""
import sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name in ("sklearn", "torch"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent)
import numpy as np
from pathlib import Path
from edgenas.evaluators.predictors import load_predictor
predictor = load_predictor(Path({str(file)!r}))
print(predictor(predictor.space.sample(3, np.random.default_rng(0))).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    predictor = load_predictor(file)
    wanted = predictor(predictor.space.sample(3, np.random.default_rng(0)))
    np.testing.assert_allclose(json.loads(done.stdout), wanted, rtol=1e-6)


def test_another_space_is_refused(file: Path) -> None:
    assert load_predictor(file, spaces.get("mbv3_tiny")).space.name == "mbv3_tiny"
    with pytest.raises(SpaceError, match=r"predicts mbv3_tiny .* asked was ofa_mbv3_w1\.0"):
        load_predictor(file, spaces.get("ofa_mbv3_w1.0"))
    with pytest.raises(SpaceError, match="--space mbv3_tiny"):
        load_predictor(file, spaces.get("mbv3_tiny", resolutions=(20, 24)))


def test_the_published_one_needs_its_space(tmp_path: Path) -> None:
    shapes = {"w0": (400, 128), "w2": (400, 400), "w4": (400, 400), "w6": (1, 400)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays |= {f"b{name[1]}": np.full(shape[0], 0.5, np.float32) for name, shape in shapes.items()}
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays)
    with pytest.raises(UsageError, match=r"--space ofa_mbv3_w1\.2"):
        load_predictor(path)
    assert isinstance(load_predictor(path, spaces.get("ofa_mbv3_w1.2")), PublishedPredictor)


def test_names_are_checked_before_anything_is_written(
    predictor: FittedPredictor, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"ends in \.safetensors, not 'predictor.pkl'"):
        save_predictor(predictor, tmp_path / "predictor.pkl")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="cannot write"):
        save_predictor(predictor, tmp_path / "file" / "predictor.safetensors")


def test_other_files_are_no_predictors(file: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read the predictor"):
        load_predictor(tmp_path / "absent.safetensors")
    other = tmp_path / "other.safetensors"
    other.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(StorageError, match="cannot read the predictor"):
        load_predictor(other)
    save_file({"weight": np.zeros(3)}, other)
    with pytest.raises(StorageError, match="holds no predictor"):
        load_predictor(other)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema_version": 2}, "format 2, known is 1"),
        ({"spread": -1.0}, "header of .* cannot be read"),
        ({"extra": 1}, "header of .* cannot be read"),
        ({"space": {"name": "x", "fingerprint": "y", "parameters": {}}}, "names no space"),
    ],
    ids=["version", "spread", "extra", "space"],
)
def test_headers_that_are_wrong(file: Path, change: dict[str, object], told: str) -> None:
    header, arrays = parts(file)
    content = {**json.loads(header["edgenas_predictor"]), **change}
    save_file(arrays, file, {"edgenas_predictor": json.dumps(content)})
    with pytest.raises(StorageError, match=told):
        load_fitted(file)
    save_file(arrays, file, {"edgenas_predictor": "[1, 2"})
    with pytest.raises(StorageError, match=r"header of .* cannot be read"):
        load_fitted(file)


def test_arrays_that_are_wrong(file: Path) -> None:
    header, arrays = parts(file)
    save_file({k: v for k, v in arrays.items() if k != "regression/table"}, file, header)
    with pytest.raises(StorageError, match="damaged"):
        load_fitted(file)
    save_file({**arrays, "regression/weights": arrays["regression/weights"][:-1]}, file, header)
    with pytest.raises(StorageError, match="damaged"):
        load_fitted(file)
    save_file({**arrays, "centre": np.full(2, np.nan)}, file, header)
    with pytest.raises(StorageError, match="not finite"):
        load_fitted(file)
    save_file({**arrays, "errors": np.zeros(0)}, file, header)
    with pytest.raises(StorageError, match="damaged"):
        load_fitted(file)
