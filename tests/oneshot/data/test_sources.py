"""Reading data sets: what is there, what is refused and how it is said."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgenas.core import extras
from edgenas.core.errors import DataError, MissingExtraError
from edgenas.oneshot.data import load_dataset
from edgenas.oneshot.data.fashion_mnist import read_idx


def _idx(values: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">i4").tobytes()
    return header + values.astype(np.uint8).tobytes()


def _write_fashion(folder: Path, *, packed: bool) -> None:
    rng = np.random.default_rng(0)
    for prefix, n in (("train", 60), ("t10k", 20)):
        files = {
            f"{prefix}-images-idx3-ubyte": _idx(rng.integers(0, 256, (n, 28, 28))),
            f"{prefix}-labels-idx1-ubyte": _idx(np.arange(n) % 10),
        }
        for name, content in files.items():
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)


def _write_images(folder: Path, classes: tuple[str, ...], n: int = 6, size: int = 10) -> None:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 256, (size, size + 2, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def test_digits_are_split_and_described() -> None:
    dataset = load_dataset("digits")
    sizes = [len(dataset.train), len(dataset.validation), dataset.n_test]
    assert sum(sizes) == 1797
    assert dataset.image_shape == (1, 8, 8)
    assert dataset.n_classes == 10
    assert dataset.train.images.max() == 255
    assert dataset.mean[0] == pytest.approx(dataset.train.images.mean() / 255, abs=1e-6)
    assert dataset.std[0] == pytest.approx(dataset.train.images.std() / 255, abs=1e-6)
    assert not dataset.augmentation.horizontal_flip
    recorded = dataset.preprocessing()
    assert recorded["mean"] == list(dataset.mean)
    assert recorded["stored_shape"] == [1, 8, 8]


def test_splits_are_stratified_disjoint_and_decided_by_the_seed() -> None:
    first, again, other = (
        load_dataset("digits"),
        load_dataset("digits"),
        load_dataset("digits", seed=1),
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint
    for part in (first.train, first.validation, first.open_test()):
        share = np.bincount(part.labels) / len(part)
        assert share.min() > 0.08
        assert share.max() < 0.12
    rows = [
        image.tobytes()
        for part in (first.train, first.validation, first.open_test())
        for image in part.images
    ]
    assert len(rows) == 1797
    assert len(set(rows)) > 1790  # the source itself may repeat an image


def test_the_test_part_counts_its_openings() -> None:
    dataset = load_dataset("digits")
    assert dataset.n_test_openings == 0
    assert len(dataset.open_test()) == dataset.n_test
    assert dataset.n_test_openings == 1


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_from_a_folder(tmp_path: Path, packed: bool) -> None:
    _write_fashion(tmp_path, packed=packed)
    dataset = load_dataset(f"fashion-mnist:{tmp_path}", validation_fraction=0.2)
    assert (len(dataset.train), len(dataset.validation), dataset.n_test) == (50, 10, 20)
    assert dataset.class_names[9] == "ankle boot"
    assert dataset.image_shape == (1, 28, 28)
    assert dataset.augmentation.horizontal_flip
    assert not load_dataset(
        f"fashion-mnist:{tmp_path}", horizontal_flip=False
    ).augmentation.horizontal_flip


def test_broken_fashion_mnist_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        load_dataset(f"fashion-mnist:{tmp_path}")
    _write_fashion(tmp_path, packed=False)
    images = tmp_path / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"its header asks for shape \(60, 28, 28\)"):
        load_dataset(f"fashion-mnist:{tmp_path}")
    images.write_bytes(b"\x00\x00\x08\x01")
    with pytest.raises(DataError, match="no IDX file of bytes with 3 dimensions"):
        read_idx(images, n_dims=3)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(5000))[:20])
    with pytest.raises(DataError, match="fetch the file again"):
        load_dataset(f"fashion-mnist:{tmp_path}")
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    _write_fashion(tmp_path, packed=False)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(_idx(np.full(20, 10)))
    with pytest.raises(DataError, match="labels 0 to 9"):
        load_dataset(f"fashion-mnist:{tmp_path}")


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels")])
@pytest.mark.parametrize("shape", [(12, 12), (12, 12, 3), (1, 12, 12)])
def test_npz_files_are_read(tmp_path: Path, names: tuple[str, str], shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, *shape), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", **{names[0]: images, names[1]: np.arange(30) % 3})
    dataset = load_dataset(f"npz:{tmp_path / 'a.npz'}")
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.image_shape == (3 if shape[-1] == 3 else 1, 12, 12)
    assert len(dataset.train) + len(dataset.validation) + dataset.n_test == 30


def test_official_parts_of_an_npz_file_are_kept(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    labels = np.arange(30) % 3
    arrays = {"x": images, "y": labels, "x_test": images[:6], "y_test": labels[:6]}
    arrays |= {"x_val": images[:9], "y_val": labels[:9]}
    np.savez(tmp_path / "a.npz", class_names=np.array(["a", "b", "c"]), **arrays)
    dataset = load_dataset(f"npz:{tmp_path / 'a.npz'}")
    assert (len(dataset.train), len(dataset.validation), dataset.n_test) == (30, 9, 6)
    assert dataset.class_names == ("a", "b", "c")


_X, _Y = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8), np.arange(30) % 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": _X}, "needed: x and y, or images and labels"),
        ({"x": _X.astype(np.float32), "y": _Y}, "are float32; allowed: uint8"),
        ({"x": _X, "y": _Y[:-1]}, "needed: 30 integers"),
        ({"x": _X, "y": _Y / 2}, "needed: 30 integers"),
        ({"x": _X, "y": _Y * 2}, "allowed: 0 to 2"),
        ({"x": _X, "y": _Y * 0}, "at least 2 classes"),
        ({"x": _X[:, None, None], "y": _Y}, "images have shape"),
        ({"x": _X[:, :1].repeat(8, 1) * 0, "y": _Y}, "is constant"),
        ({"x": _X, "y": _Y, "x_val": _X[:, :4], "y_val": _Y}, "another shape"),
        ({"x": _X, "y": _Y, "class_names": np.array(["a"])}, "1 class_names for 3 classes"),
        ({"x": _X[:4], "y": _Y[:4]}, "class 0 has 2 images; needed: at least 3"),
        ({"x": _X, "y": np.array([{}] * 30)}, "Object arrays cannot be loaded"),
    ],
)
def test_bad_npz_files_are_refused(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        load_dataset(f"npz:{tmp_path / 'a.npz'}")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"no archive"])
def test_files_that_are_no_npz_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"is no \.npz file but a file of"):
        load_dataset(f"npz:{tmp_path / 'a.npz'}")


def test_a_single_array_is_no_npz_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", _X)
    with pytest.raises(DataError, match=r"no zip archive; write it with numpy\.savez"):
        load_dataset(f"npz:{tmp_path / 'a.npy'}")


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_folder_is_split(tmp_path: Path, channels: int) -> None:
    _write_images(tmp_path, ("cat", "dog"))
    dataset = load_dataset(f"imagefolder:{tmp_path}", image_size_px=8, image_channels=channels)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_shape == (channels, 8, 8)
    assert (len(dataset.train), len(dataset.validation), dataset.n_test) == (8, 2, 2)
    assert "8 x 8" in dataset.preprocessing()["decoding"]


def test_official_folders_are_kept(tmp_path: Path) -> None:
    for part, n in (("train", 5), ("val", 2), ("test", 3)):
        _write_images(tmp_path / part, ("cat", "dog"), n)
    dataset = load_dataset(f"imagefolder:{tmp_path}")
    assert (len(dataset.train), len(dataset.validation), dataset.n_test) == (10, 4, 6)
    assert dataset.image_shape == (3, 64, 64)


def _one_class(folder: Path) -> None:
    _write_images(folder, ("cat",))


def _empty_class(folder: Path) -> None:
    _write_images(folder, ("cat", "dog"))
    (folder / "eel").mkdir()


def _other_classes(folder: Path) -> None:
    _write_images(folder / "train", ("cat", "dog"))
    _write_images(folder / "test", ("cat", "eel"))


def _broken_file(folder: Path) -> None:
    _write_images(folder, ("cat", "dog"))
    (folder / "cat" / "0.png").write_bytes((folder / "cat" / "1.png").read_bytes()[:60])
    (folder / "dog" / "notes.txt").write_text("no image")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_one_class, r"has 1 class folders \(cat\); needed: at least 2"),
        (_empty_class, "eel holds no images"),
        (_other_classes, "differ in classes: dog, eel"),
        (_broken_file, r"2 files under .*cat/0.png .*dog/notes.txt .*set skip_broken"),
        (lambda folder: None, "has 0 class folders"),
    ],
)
def test_bad_image_folders_are_refused(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        load_dataset(f"imagefolder:{tmp_path}", image_size_px=8)


def test_broken_files_are_left_out_on_demand_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _broken_file(tmp_path)
    with caplog.at_level(logging.WARNING):
        dataset = load_dataset(f"imagefolder:{tmp_path}", image_size_px=8, skip_broken=True)
    assert len(dataset.train) + len(dataset.validation) + dataset.n_test == 11
    assert "notes.txt" in caplog.text


def test_a_class_with_only_broken_files_is_refused_even_when_skipping(tmp_path: Path) -> None:
    _write_images(tmp_path, ("cat", "dog"))
    for path in (tmp_path / "dog").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="dog holds no images that can be read; broken: "):
        load_dataset(f"imagefolder:{tmp_path}", image_size_px=8, skip_broken=True)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        load_dataset(f"imagefolder:{tmp_path / 'absent'}")


def test_pillow_is_asked_for_by_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    _write_images(tmp_path, ("cat", "dog"))
    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"edgenas\[image\]"):
        load_dataset(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize("name", ["digit", "imagefolder", "npz:", "imagefolder:", "digits:x"])
def test_unknown_names_list_the_known_ones(name: str) -> None:
    with pytest.raises(DataError, match="allowed: digits, fashion-mnist"):
        load_dataset(name)


def test_settings_of_image_folders_are_refused_elsewhere() -> None:
    with pytest.raises(DataError, match="for imagefolder only"):
        load_dataset("digits", image_size_px=8)


@pytest.mark.parametrize("fractions", [(0.0, 0.1), (0.5, 0.5), (-0.1, 0.1)])
def test_fractions_out_of_range_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="each fraction must be above 0"):
        load_dataset("digits", validation_fraction=fractions[0], test_fraction=fractions[1])
