"""From public weights to checked files without training: with labels and without any."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from edgenas.core.errors import DataError, UsageError
from edgenas.evaluators.predictors import fit_predictor, save_predictor
from edgenas.exporters.manifest import read_manifest
from edgenas.oneshot.data import load_dataset
from edgenas.oneshot.ofa_import import import_checkpoint, public_state
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces import from_parameters
from edgenas.spaces.base import SearchSpace
from edgenas.study import api
from edgenas.study.job import load_job
from tests.tiny_job import TINY_JOB, TINY_SPACE

pytestmark = pytest.mark.slow

SETTINGS = yaml.safe_load(TINY_SPACE)["space"]["settings"]


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return from_parameters({"preset": "mbv3_tiny", **SETTINGS})


@pytest.fixture(scope="module")
def weights(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as the public code would have saved them, imported."""
    folder = tmp_path_factory.mktemp("weights")
    supernet = Supernet(space, seed=3, statistics=True)
    torch.save({"state_dict": public_state(supernet, space)}, folder / "public.pth")
    path = folder / "imported.safetensors"
    import_checkpoint(folder / "public.pth", path, preset="mbv3_tiny", settings=SETTINGS)
    return path


@pytest.fixture(scope="module")
def predictor(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A predictor of accuracies that somebody is to have measured."""
    rows = np.unique(space.sample(80, np.random.default_rng(0)), axis=0)
    accuracy = 0.5 + 0.3 * np.tanh(rows.sum(axis=1) / rows.shape[1])
    path = tmp_path_factory.mktemp("predictor") / "accuracy.safetensors"
    save_predictor(fit_predictor(space, rows, accuracy, kinds=["ridge"]), path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's images, of which nobody has said what they show."""
    folder = tmp_path_factory.mktemp("photos")
    images = load_dataset("digits").train.batch(np.arange(48), (8, 8))
    for i, image in enumerate(images):
        Image.fromarray(image[0]).resize((24, 24)).save(folder / f"{i}.png")
    return folder


def job(folder: Path, **changes: Any) -> Path:
    content = yaml.safe_load(TINY_JOB)
    del content["space"], content["training"], content["finetune"]
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def unlabelled(photos: Path) -> dict[str, Any]:
    own = {"image_channels": 1, "mean": [0.3], "std": [0.37], "workers": 0}
    return {"source": f"unlabelled:{photos}", **own}


def test_images_without_labels_lead_to_checked_files(
    finished: api.CompileResult, weights: Path, predictor: Path, photos: Path, tmp_path: Path
) -> None:
    del finished  # its table is there for this run, too
    path = job(
        tmp_path,
        data=unlabelled(photos),
        training={"weights": str(weights)},
        search={
            "algorithm": "predictor",
            "predictor": str(predictor),
            "n_evaluations": 12,
            "settings": {"n_predictions": 1000},
        },
    )
    result = api.compile_job(path, tmp_path / "run")
    assert sorted(file.name for file in result.files) == ["model.onnx", "model.tflite"]
    for file in result.files:
        manifest = read_manifest(file)
        states = {check.name: check.passed for check in manifest.checks}
        assert states["values"] is True
        assert states["top1"] is True
        assert "accuracy" not in states
    proof = json.loads((tmp_path / "run/proof.json").read_text())
    assert proof["test_accuracy"] is None
    training = json.loads((tmp_path / "run/train/training.json").read_text())
    assert training["weights"]["file"] == "public.pth"
    assert training["losses"] == []
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["predicted_accuracy"] is True
    page = (tmp_path / "run/report.html").read_text()
    assert "Predicted accuracy" in page
    assert "accuracy.safetensors; they were not measured" in page
    # What it had done it does not do again.
    assert api.compile_job(tmp_path / "run/job.yaml", tmp_path / "run").pick == result.pick


def test_with_labels_accuracy_is_measured(
    finished: api.CompileResult, weights: Path, tmp_path: Path
) -> None:
    del finished
    settings = {"n_first": 22, "n_between": 4, "n_predictions": 500}
    path = job(
        tmp_path,
        training={"weights": str(weights)},
        search={
            "algorithm": "predictor",
            "n_evaluations": 30,
            "n_validation_images": 60,
            "settings": settings,
        },
    )
    api.search(path, tmp_path / "run")
    front = json.loads((tmp_path / "run/search/front.json").read_text())["front"]
    assert len(front) >= 1
    training = json.loads((tmp_path / "run/train/training.json").read_text())
    assert 0 <= training["validation_accuracy"]["largest"] <= 1
    report = json.loads((tmp_path / "run/search/predictor.json").read_text())
    assert report["n_architectures"] == 30
    assert (tmp_path / "run/search/predictor.safetensors").exists()


def test_what_cannot_be_done_without_labels_is_refused(
    weights: Path, predictor: Path, photos: Path, tmp_path: Path
) -> None:
    data = unlabelled(photos)
    with pytest.raises(UsageError, match="no labels to train with"):
        api.compile_job(job(tmp_path, data=data), tmp_path / "one")
    imported = {"weights": str(weights)}
    with pytest.raises(UsageError, match="no labels to measure accuracy"):
        api.compile_job(job(tmp_path, data=data, training=imported), tmp_path / "two")
    search = {"predictor": str(predictor)}
    path = job(tmp_path, data=data, training=imported, search=search, finetune={"epochs": 2})
    with pytest.raises(UsageError, match=r"leave out finetune\.epochs"):
        api.compile_job(path, tmp_path / "three")


def test_weights_decide_the_space(weights: Path, tmp_path: Path, space: SearchSpace) -> None:
    path = job(tmp_path, training={"weights": str(weights)})
    loaded = load_job(path)
    assert loaded.space.preset == "mbv3_tiny"
    assert from_parameters({"preset": "mbv3_tiny", **loaded.space.settings}).name == space.name
    path = job(tmp_path, training={"weights": str(weights)}, space={"preset": "ofa_mbv3_w1.0"})
    with pytest.raises(UsageError, match=r"leave space\.preset out"):
        load_job(path)


def test_images_of_other_classes_are_refused(
    weights: Path, tmp_path: Path, finished: api.CompileResult
) -> None:
    del finished
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "two.npz", x=images, y=np.arange(40) % 2)
    path = job(
        tmp_path, data={"source": f"npz:{tmp_path / 'two.npz'}"}, training={"weights": str(weights)}
    )
    with pytest.raises(DataError, match="2 classes"):
        api.compile_job(path, tmp_path / "run")


def test_few_images_are_refused(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "few").mkdir()
    for i in range(9):
        (tmp_path / f"few/{i}.png").write_bytes((photos / f"{i}.png").read_bytes())
    with pytest.raises(DataError, match="holds 9 images"):
        load_dataset(f"unlabelled:{tmp_path / 'few'}", image_channels=1)
