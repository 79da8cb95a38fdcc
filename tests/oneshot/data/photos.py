"""Folders of small photographs: smooth colour, so that scaled and compressed images stay alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def photo(seed: int, width: int, height: int) -> Image.Image:
    """A picture of smooth random colour."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def write_photos(
    folder: Path, classes: tuple[str, ...] = ("cat", "dog"), n: int = 8, ending: str = ".jpg"
) -> None:
    """Write `n` pictures a class, of different sizes, upright ones among them."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            image = photo(100 * label + i, 60 + 4 * i, 90 - 3 * i)
            image.save(folder / name / f"{i:02}{ending}")
