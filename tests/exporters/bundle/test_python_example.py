"""The Python example sees in an image file what the network saw in training, and names classes."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgenas.exporters.bundle.preprocessing import Preprocessing
from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.oneshot.data.batches import network_input
from tests.exporters.bundle.bundles import VARIANTS, tiny_bundle, tiny_request
from tests.oneshot.data.photos import write_photos

PROGRAM = Path(__file__).parents[3] / "edgenas/exporters/bundle/device/classify.py"


def classify(bundle: Path, *arguments: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(bundle / "examples/python/classify.py"), *map(str, arguments)],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("classify", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("target", "precision", "recipe"), VARIANTS)
def test_recorded_inputs_get_the_networks_classes(
    tmp_path: Path, target: str, precision: str, recipe: dict[str, Any]
) -> None:
    bundle = tiny_bundle(tmp_path, target, precision, recipe=recipe)
    lines = classify(bundle, bundle / "check/inputs.npy", "--top", "2")
    logits = np.load(bundle / "check/outputs.npy")
    labels = (bundle / "labels.txt").read_text().splitlines()
    found = [re.split(r"\]: ", line)[1] for line in lines]
    assert len(found) == len(logits)
    agree = [line.startswith(labels[row.argmax()]) for line, row in zip(found, logits, strict=True)]
    assert np.mean(agree) == (1 if precision == "float32" else pytest.approx(1, abs=0.1))


def test_probabilities_are_those_of_the_logits(bundle: Path) -> None:
    (first, *_) = classify(bundle, bundle / "check/inputs.npy", "--top", "1")
    logits = np.load(bundle / "check/outputs.npy")[0].astype(np.float64)
    share = np.exp(logits - logits.max())
    assert first.endswith(f"{share.max() / share.sum():.1%}")


def photos(folder: Path, **settings: Any) -> ImageDataset:
    write_photos(folder, n=12, ending=".png")
    return load_dataset(f"imagefolder:{folder}", workers=0, **settings)


def how_of(dataset: ImageDataset, size: tuple[int, int], channels: int) -> dict[str, Any]:
    """Returns the preprocessing of a network that was trained on a data set."""
    share = dataset.train.crop_share
    how = {
        "schema_version": 1,
        "colour": {1: "grey", 3: "rgb"}[channels],
        "channels": channels,
        "resize": {
            "height": size[0],
            "width": size[1],
            "interpolation": "bilinear",
            "stored": list(dataset.image_shape[1:]) if share is None else None,
            "crop_share": share,
        },
        "pixel_range": [0.0, 1.0],
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "input": {"name": "image", "shape": [1, channels, *size], "layout": "NCHW",
                  "dtype": "float32", "codes": None},
        "output": {"name": "logits", "shape": [1, 2], "dtype": "float32", "codes": None},
    }  # fmt: skip
    Preprocessing.model_validate(how, strict=False)
    return how


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (20, 24), (64, 64)])
@pytest.mark.parametrize("in_memory", [True, False])
def test_images_become_what_they_were_in_training(
    program: ModuleType, tmp_path: Path, channels: int, size: tuple[int, int], in_memory: bool
) -> None:
    settings = {"in_memory": in_memory, "image_size_px": 32, "image_channels": channels}
    dataset = photos(tmp_path, **settings)
    part = dataset.train.take(np.arange(6))
    images = torch.from_numpy(part.batch(np.arange(6), size))
    wanted = network_input(images, dataset.mean, dataset.std, size).numpy()
    paths = sorted(tmp_path.rglob("*.png"))
    how = how_of(dataset, size, channels)
    every = []
    for path in paths:
        with Image.open(path) as opened:
            every.append(program.prepared(program.pixels_of(opened, how), how)[0])
    # The data set has the images in an order of its own.
    least = np.abs(np.stack(every)[None] - wanted[:, None]).max(axis=(2, 3, 4)).min(axis=1)
    assert least.max() <= 1e-5  # a level of a byte is a thousand times as much


def test_pixels_in_an_array_are_an_image(bundle: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    np.save(tmp_path / "image.npy", pixels)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    one, other = classify(bundle, tmp_path / "image.npy", tmp_path / "image.png")
    assert one.partition(": ")[2] == other.partition(": ")[2]


def test_grey_images_need_no_third_axis(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, request=tiny_request(channels=1))
    np.save(tmp_path / "image.npy", np.full((16, 14), 128, np.uint8))
    assert len(classify(bundle, tmp_path / "image.npy")) == 1


def test_other_channels_are_refused(program: ModuleType, bundle: Path) -> None:
    how = json.loads((bundle / "preprocessing.json").read_text())
    with pytest.raises(SystemExit, match="2 channels; the network takes 3"):
        program.framed(np.zeros((16, 14, 2), np.uint8), how)
