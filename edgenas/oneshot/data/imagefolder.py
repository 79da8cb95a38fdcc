"""Images from folders, one a class, alone or under train/, val/ and test/; in memory or not."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgenas.core.errors import DataError
from edgenas.core.extras import require
from edgenas.oneshot.data.base import (
    ArrayPart,
    Augmentation,
    Int64,
    Part,
    RawDataset,
    UInt8,
)
from edgenas.oneshot.data.decoding import damage, open_image
from edgenas.oneshot.data.files import FilePart, list_files
from edgenas.oneshot.data.settings import DataSettings

_LOG = logging.getLogger(__name__)
_PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_MOST_NAMED = 10
DEFAULT_SIZE_PX = 64
DEFAULT_SAMPLE_PX = 224
DECODING = "{channels} channels (1 is grey by ITU-R 601, 3 is RGB), decoded anew for each network"
RESIZING = (
    "short side to the network's input / 0.875, rounded up (Pillow, bilinear with antialiasing), "
    "then the middle of it"
)
"""How images in files become network inputs, in words."""
_CROP_SCALE = (0.08, 1.0)  # what networks for ImageNet are commonly trained with


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """The files of one part, sorted by class, then by name; names begin after `root`."""

    root: Path
    names: list[str]
    stamps: Int64
    labels: Int64

    def kept(self, keep: list[bool]) -> _Listed:
        names = [name for name, is_kept in zip(self.names, keep, strict=True) if is_kept]
        return _Listed(self.root, names, self.stamps[keep], self.labels[keep])


def read_imagefolder(folder: Path, settings: DataSettings) -> RawDataset:
    """Return the images under `folder`.

    Few images are decoded into memory as squares; many stay in their files and are decoded as
    crops that keep their shape (see `DataSettings`).

    Args:
        folder: has train/ and optionally val/ and test/ with a folder for each class, or has
            the folders of the classes itself.
        settings: in memory, images of another size are resized (bilinear with antialiasing).

    Raises:
        DataError: no such folder, fewer than two classes, an empty class, classes that differ
            between the parts, or files that are not images.
        MissingExtraError: Pillow is not installed.
    """
    require("PIL.Image")
    channels = settings.image_channels or 3
    class_names, parts = _list_parts(folder)
    n_images = sum(len(part.names) for part in parts.values())
    size_px = settings.image_size_px or DEFAULT_SIZE_PX
    n_bytes = n_images * channels * size_px**2
    if settings.fits_in_memory(n_bytes):
        colour = "grey (ITU-R 601)" if channels == 1 else "RGB"
        return RawDataset(
            f"imagefolder:{folder}",
            class_names,
            _in_memory(folder, parts, size_px, channels, skip_broken=settings.skip_broken),
            Augmentation(max_shift_px=max(1, size_px // 14), horizontal_flip=False),
            f"{colour}, resized to {size_px} x {size_px} (Pillow, bilinear with antialiasing)",
        )
    if settings.in_memory is None:
        _LOG.info("%s: %d images stay in their files and are decoded as needed", folder, n_images)
    sample_px = settings.image_size_px or DEFAULT_SAMPLE_PX
    return RawDataset(
        f"imagefolder:{folder}",
        class_names,
        _in_files(folder, parts, sample_px, channels, skip_broken=settings.skip_broken),
        Augmentation(max_shift_px=0, horizontal_flip=False, crop_scale=_CROP_SCALE),
        DECODING.format(channels=channels),
        RESIZING,
    )


def read_unlabelled(folder: Path, channels: int, skip_broken: bool) -> FilePart:
    """Return all images under `folder`, in whatever folders, as files without labels.

    Raises:
        DataError: no such folder, no images there, or files that are not images.
        MissingExtraError: Pillow is not installed.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name one with images, in any subfolders")
    names, stamps = list_files(folder)
    listed = _Listed(folder, names, stamps, np.full(len(names), -1, np.int64))
    listed = _images_only(folder, {"": listed}, skip_broken=skip_broken)[""]
    if not listed.names:
        raise DataError(f"{folder} holds no images, in no subfolder either")
    return _file_part(listed, channels, DEFAULT_SAMPLE_PX, skip_broken=skip_broken)


def _list_parts(folder: Path) -> tuple[tuple[str, ...], dict[str, _Listed]]:
    """Return the names of the classes, and the files of each part."""
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
        parts[part] = _list_part(root, class_names)
    return class_names, parts


def _part_roots(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give imagefolder:PATH with a folder a class")
    roots = {_PARTS[path.name]: path for path in _folders(folder) if path.name in _PARTS}
    return roots if "train" in roots else {"train": folder}


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _list_part(root: Path, class_names: tuple[str, ...]) -> _Listed:
    names: list[str] = []
    stamps, labels = [], []
    for label, class_name in enumerate(class_names):
        found, found_stamps = list_files(root / class_name)
        names += [f"{class_name}/{name}" for name in found]
        stamps.append(found_stamps)
        labels.append(np.full(len(found), label, np.int64))
    listed = _Listed(root, names, np.concatenate(stamps), np.concatenate(labels))
    _check_classes(listed, class_names, [])
    return listed


def _check_classes(listed: _Listed, class_names: tuple[str, ...], broken: list[str]) -> None:
    counts = np.bincount(listed.labels, minlength=len(class_names))
    for name, count in zip(class_names, counts, strict=True):
        if not count:
            failed = [text for text in broken if text.startswith(f"{listed.root / name}/")]
            raise DataError(
                f"class folder {listed.root / name} holds no images that can be read; broken: "
                f"{'; '.join(failed[:_MOST_NAMED]) or 'none'}"
            )


def _in_memory(
    folder: Path, parts: dict[str, _Listed], size_px: int, channels: int, *, skip_broken: bool
) -> dict[str, Part]:
    broken: list[str] = []
    result: dict[str, Part] = {}
    for name, listed in parts.items():
        class_names = tuple(dict.fromkeys(path.partition("/")[0] for path in listed.names))
        images = [_decode(listed.root / path, size_px, channels, broken) for path in listed.names]
        readable = listed.kept([image is not None for image in images])
        _check_classes(readable, class_names, broken)
        stacked = np.stack([image for image in images if image is not None])
        result[name] = ArrayPart(stacked, readable.labels)
    if broken:
        _report(folder, broken, skip_broken)
    return result


def _decode(path: Path, size_px: int, channels: int, broken: list[str]) -> UInt8 | None:
    image_module = require("PIL.Image")
    try:
        with image_module.open(path) as opened:
            image = open_image(opened, channels)
            if image.size != (size_px, size_px):
                image = image.resize((size_px, size_px), image_module.Resampling.BILINEAR)
            pixels = np.asarray(image, dtype=np.uint8)
    except damage() as error:
        broken.append(f"{path} ({error})")
        return None
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _in_files(
    folder: Path, parts: dict[str, _Listed], sample_px: int, channels: int, *, skip_broken: bool
) -> dict[str, Part]:
    result: dict[str, Part] = {}
    for name, listed in _images_only(folder, parts, skip_broken=skip_broken).items():
        class_names = tuple(dict.fromkeys(path.partition("/")[0] for path in parts[name].names))
        _check_classes(listed, class_names, [])
        result[name] = _file_part(listed, channels, sample_px, skip_broken=skip_broken)
    return result


def _images_only(
    folder: Path, parts: dict[str, _Listed], *, skip_broken: bool
) -> dict[str, _Listed]:
    """Return the files that may be images: not empty, and no ending that is known as another's."""
    image_module = require("PIL.Image")
    endings = set(image_module.registered_extensions())
    broken: list[str] = []
    result = {}
    for name, listed in parts.items():
        keep = []
        for path, (n_bytes, _) in zip(listed.names, listed.stamps.tolist(), strict=True):
            ending = _ending(path)
            keep.append(n_bytes > 0 and (not ending or ending in endings))
            if not keep[-1]:
                broken.append(f"{listed.root / path} ({n_bytes} bytes)")
        result[name] = listed.kept(keep)
    if broken:
        _report(folder, broken, skip_broken)
    return result


def _ending(path: str) -> str:
    """Return ``.jpg`` of ``a/b.JPG``, "" where there is none; a million `Path` would take long."""
    stem, dot, ending = path.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if stem and dot else ""


def _file_part(listed: _Listed, channels: int, sample_px: int, *, skip_broken: bool) -> FilePart:
    return FilePart(
        listed.root,
        np.array(listed.names, np.object_),
        listed.stamps,
        listed.labels,
        channels,
        sample_px,
        skip_broken,
    )


def _report(folder: Path, broken: list[str], skip_broken: bool) -> None:
    more = f" and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
    text = f"{len(broken)} files under {folder} are no images that can be read: "
    text += "; ".join(broken[:_MOST_NAMED]) + more
    if not skip_broken:
        raise DataError(f"{text}; remove them, or set skip_broken to leave them out")
    _LOG.warning("%s; they are left out", text)
