"""Images from folders, one a class, alone or under train/, val/ and test/."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.core.errors import DataError
from edgenas.core.extras import require
from edgenas.oneshot.data.base import Augmentation, Part, RawDataset, UInt8

_LOG = logging.getLogger(__name__)
_PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_MOST_NAMED = 10
DEFAULT_SIZE_PX = 64


def read_imagefolder(
    folder: Path,
    *,
    size_px: int | None = None,
    channels: int | None = None,
    skip_broken: bool = False,
) -> RawDataset:
    """Return the images under `folder`, as squares of `size_px`.

    Args:
        folder: has train/ and optionally val/ and test/ with a folder for each class, or has
            the folders of the classes itself.
        size_px: default 64; images of another size are resized (bilinear with antialiasing).
        channels: 1 (grey) or 3 (RGB, the default).
        skip_broken: leave broken files out, with a warning that names them, instead of failing.

    Raises:
        DataError: no such folder, fewer than two classes, an empty class, classes that differ
            between the parts, or files that are not images.
        MissingExtraError: Pillow is not installed.
    """
    size_px, channels = size_px or DEFAULT_SIZE_PX, channels or 3
    if channels not in (1, 3) or size_px < 1:
        raise DataError(f"images of {channels} channels, {size_px} px; allowed: 1 or 3, above 0")
    broken: list[str] = []
    roots = _part_roots(folder)
    class_names = tuple(path.name for path in _folders(roots["train"]))
    if len(class_names) < 2:
        raise DataError(
            f"{roots['train']} has {len(class_names)} class folders "
            f"({', '.join(class_names) or 'none'}); needed: at least 2"
        )
    parts = {}
    for part, root in roots.items():
        names = tuple(path.name for path in _folders(root))
        if names != class_names:
            odd = sorted(set(names) ^ set(class_names))
            raise DataError(f"{root} and {roots['train']} differ in classes: {', '.join(odd)}")
        parts[part] = _read_part(root, class_names, size_px, channels, broken)
    if broken:
        _report(folder, broken, skip_broken)
    colour = "grey (ITU-R 601)" if channels == 1 else "RGB"
    return RawDataset(
        f"imagefolder:{folder}",
        class_names,
        parts,
        Augmentation(max_shift_px=max(1, size_px // 14), horizontal_flip=False),
        f"{colour}, resized to {size_px} x {size_px} (Pillow, bilinear with antialiasing)",
    )


def _part_roots(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give imagefolder:PATH with a folder a class")
    roots = {_PARTS[path.name]: path for path in _folders(folder) if path.name in _PARTS}
    return roots if "train" in roots else {"train": folder}


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _read_part(
    root: Path, class_names: tuple[str, ...], size_px: int, channels: int, broken: list[str]
) -> Part:
    images: list[UInt8] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        before = len(images)
        for path in sorted((root / name).rglob("*")):
            if path.is_dir() or path.name.startswith("."):
                continue
            image = _decode(path, size_px, channels, broken)
            if image is not None:
                images.append(image)
                labels.append(label)
        if len(images) == before:
            failed = [text for text in broken if text.startswith(f"{root / name}/")]
            raise DataError(
                f"class folder {root / name} holds no images that can be read; broken: "
                f"{'; '.join(failed[:_MOST_NAMED]) or 'none'}"
            )
    return Part(np.stack(images), np.array(labels, dtype=np.int64))


def _decode(path: Path, size_px: int, channels: int, broken: list[str]) -> UInt8 | None:
    image_module = require("PIL.Image")
    # Pillow raises all sorts on damaged files; each is reported with its file.
    damage = (OSError, ValueError, SyntaxError, EOFError, image_module.DecompressionBombError)
    try:
        with image_module.open(path) as opened:
            image: Any = opened.convert("L" if channels == 1 else "RGB")
    except damage as error:
        broken.append(f"{path} ({error})")
        return None
    if image.size != (size_px, size_px):
        image = image.resize((size_px, size_px), image_module.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _report(folder: Path, broken: list[str], skip_broken: bool) -> None:
    more = f" and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
    text = f"{len(broken)} files under {folder} are no images that can be read: "
    text += "; ".join(broken[:_MOST_NAMED]) + more
    if not skip_broken:
        raise DataError(f"{text}; remove them, or set skip_broken to leave them out")
    _LOG.warning("%s; they are left out", text)
