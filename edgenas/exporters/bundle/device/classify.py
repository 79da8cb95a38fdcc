"""Classifies images with the model of this bundle.

    python3 examples/python/classify.py IMAGE... [--top 5]

An image is a file, for which Pillow is needed; or an .npy file: bytes of shape (height, width) or
(height, width, channels) are pixels, float32 or codes are inputs as the network reads them, such
as check/inputs.npy. How pixels become inputs is in preprocessing.json; nothing is written here.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

BUNDLE = Path(__file__).resolve().parent.parent.parent
Array = Any


def main() -> None:
    """Print the likeliest classes of each image."""
    parser = argparse.ArgumentParser(description="Classify images.")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--top", type=int, default=5, help="classes to show (default 5)")
    asked = parser.parse_args()
    sys.dont_write_bytecode = True  # a bundle holds what is listed, and nothing else
    from engine import Model

    manifest = json.loads((BUNDLE / "manifest.json").read_text(encoding="utf-8"))
    how = json.loads((BUNDLE / "preprocessing.json").read_text(encoding="utf-8"))
    labels = (BUNDLE / "labels.txt").read_text(encoding="utf-8").splitlines()
    model = Model(str(BUNDLE / manifest["file"]["name"]), 1, manifest["options"])
    for name in asked.images:
        inputs = read(name, how)
        for i, one in enumerate(inputs):
            batch = np.repeat(one[np.newaxis], model.batch, axis=0)
            share = probabilities(model.run(batch)[0], how["output"]["codes"])
            best = np.argsort(-share, kind="stable")[: asked.top]
            place = name if len(inputs) == 1 else f"{name}[{i}]"
            print(place + ": " + ", ".join(f"{labels[k]} {share[k]:.1%}" for k in best))


def read(name: str, how: dict[str, Any]) -> Array:
    """Return inputs of the network, a batch, from a file."""
    if not name.endswith(".npy"):
        from PIL import Image

        with Image.open(name) as opened:
            return prepared(pixels_of(opened, how), how)
    array = np.load(name, allow_pickle=False)
    if array.dtype != np.uint8:
        shape = how["input"]["shape"][1:]
        return array.reshape([-1, *shape]).astype(how["input"]["dtype"], casting="no")
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    return prepared(framed(array, how), how)


def pixels_of(image: Any, how: dict[str, Any]) -> Array:
    """Return an image's pixels in the right colours and frame, (height, width, channels), bytes."""
    image = image.convert({"grey": "L", "rgb": "RGB"}.get(how["colour"], image.mode))
    pixels = np.asarray(image)
    return framed(pixels.reshape((*pixels.shape[:2], -1)), how)


def framed(pixels: Array, how: dict[str, Any]) -> Array:
    """Return pixels cut out and scaled as the training images were, bytes."""
    resize = how["resize"]
    height, width, channels = pixels.shape
    if channels != how["channels"]:
        raise SystemExit(f"{channels} channels; the network takes {how['channels']}")
    if resize["stored"] is not None:
        size, box = resize["stored"], (0.0, 0.0, float(width), float(height))
        if [height, width] == size:
            return pixels
    elif resize["crop_share"] is not None:
        size = [resize["height"], resize["width"]]
        box = centre(width, height, size, resize["crop_share"])
    else:
        return pixels
    from PIL import Image

    planes = [Image.fromarray(np.ascontiguousarray(pixels[:, :, c])) for c in range(channels)]
    bilinear = getattr(Image, "Resampling", Image).BILINEAR  # with antialiasing
    scaled_planes = [plane.resize((size[1], size[0]), bilinear, box=box) for plane in planes]
    return np.stack([np.asarray(plane) for plane in scaled_planes], axis=2)


def centre(
    width: int, height: int, size: list[int], share: float
) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the middle that is shown of an image."""
    covered_height, covered_width = (math.ceil(side / share) for side in size)
    if covered_width * height >= covered_height * width:
        new_width, new_height = covered_width, int(covered_width * height / width)
    else:
        new_width, new_height = int(covered_height * width / height), covered_height
    left, top = round((new_width - size[1]) / 2), round((new_height - size[0]) / 2)
    across, down = width / new_width, height / new_height
    right, bottom = (left + size[1]) * across, (top + size[0]) * down
    return left * across, top * down, min(right, width), min(bottom, height)


def prepared(pixels: Array, how: dict[str, Any]) -> Array:
    """Return one input of the network, a batch of 1, from framed pixels."""
    low, high = how["pixel_range"]
    values = pixels.astype(np.float32) / 255 * np.float32(high - low) + np.float32(low)
    resize = how["resize"]
    values = scaled(scaled(values, 0, resize["height"]), 1, resize["width"])
    values = (values - np.float32(how["mean"])) / np.float32(how["std"])
    if how["input"]["layout"] == "NCHW":
        values = values.transpose(2, 0, 1)
    codes = how["input"]["codes"]
    if codes is not None:
        limits = np.iinfo(how["input"]["dtype"])
        values = np.rint(values / np.float32(codes["scale"])) + codes["zero_point"]
        values = np.clip(values, limits.min, limits.max)
    return np.ascontiguousarray(values[np.newaxis], how["input"]["dtype"])


def scaled(values: Array, axis: int, size: int) -> Array:
    """Return `size` entries along an axis: bilinear, half-pixel centres, no antialiasing."""
    n = values.shape[axis]
    if n == size:
        return values
    at = np.clip((np.arange(size) + 0.5) * (n / size) - 0.5, 0, n - 1)
    before = at.astype(int)
    after = np.minimum(before + 1, n - 1)
    shape = [1] * values.ndim
    shape[axis] = size
    share = (at - before).astype(np.float32).reshape(shape)
    return values.take(before, axis) * (1 - share) + values.take(after, axis) * share


def probabilities(answer: Array, codes: dict[str, Any] | None) -> Array:
    """Return the softmax of the logits."""
    logits = answer.astype(np.float64)
    if codes is not None:
        logits = (logits - codes["zero_point"]) * codes["scale"]
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


if __name__ == "__main__":
    main()
