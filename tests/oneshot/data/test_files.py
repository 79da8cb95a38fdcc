"""Images that stay in files: what a folder becomes, what is noticed, and what is refused."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgenas.core.errors import DataError
from edgenas.oneshot.data import ArrayPart, BatchRequest, FilePart, load_batches, load_dataset
from edgenas.oneshot.data.files import list_files
from edgenas.oneshot.data.imagefolder import read_unlabelled
from tests.oneshot.data.photos import photo, write_photos


def _load(folder: Path, **changes: object):
    settings = {"in_memory": False, "workers": 0, "image_size_px": 32, **changes}
    return load_dataset(f"imagefolder:{folder}", **settings)


def test_a_folder_in_files_is_the_data_set_that_it_is_in_memory(tmp_path: Path) -> None:
    write_photos(tmp_path)
    files, memory = _load(tmp_path), _load(tmp_path, in_memory=True)
    assert isinstance(files.train, FilePart)
    assert isinstance(memory.train, ArrayPart)
    assert files.class_names == memory.class_names == ("cat", "dog")
    for part in ("train", "validation"):
        of_files, of_memory = getattr(files, part), getattr(memory, part)
        np.testing.assert_array_equal(of_files.labels, of_memory.labels)
        assert len(of_files) == len(of_memory)
    assert files.image_shape == memory.image_shape == (3, 32, 32)
    assert files.n_test == memory.n_test == len(files.open_test())
    assert files.n_test_openings == 1
    # The same pictures, one squashed and one cut: their colours are alike.
    np.testing.assert_allclose(files.mean, memory.mean, atol=0.05)
    assert files.preprocessing()["resize"].startswith("short side to the network's input / 0.875")
    assert files.augmentation.crop_scale == (0.08, 1.0)


@pytest.mark.parametrize(("limit_gib", "kind"), [(1e-7, FilePart), (2.0, ArrayPart)])
def test_memory_decides_where_images_stay(tmp_path: Path, limit_gib: float, kind: type) -> None:
    write_photos(tmp_path)
    dataset = _load(tmp_path, in_memory=None, memory_limit_gib=limit_gib)
    assert isinstance(dataset.train, kind)


def test_batches_are_centre_crops_of_the_size_asked_for(tmp_path: Path) -> None:
    write_photos(tmp_path, ending=".png")
    dataset = _load(tmp_path)
    index = np.array([3, 0])
    small, large = (dataset.train.batch(index, size) for size in ((16, 16), (24, 40)))
    assert small.shape == (2, 3, 16, 16)
    assert large.shape == (2, 3, 24, 40)
    assert small.dtype == np.uint8
    moved = dataset.train.take(index)
    np.testing.assert_array_equal(moved.batch(np.array([0, 1]), (16, 16)), small)
    grey = _load(tmp_path, image_channels=1)
    assert grey.train.batch(index, (16, 16)).shape == (2, 1, 16, 16)
    assert len(grey.mean) == 1


def test_official_parts_and_subfolders_are_kept(tmp_path: Path) -> None:
    for part, n in (("train", 5), ("val", 2), ("test", 3)):
        write_photos(tmp_path / part, n=n)
    (tmp_path / "train/cat/more").mkdir()
    photo(7, 40, 40).save(tmp_path / "train/cat/more/z.png")
    (tmp_path / "train/cat/.hidden.txt").write_text("no image")
    dataset = _load(tmp_path)
    assert (len(dataset.train), len(dataset.validation), dataset.n_test) == (11, 4, 6)
    assert "cat/more/z.png" in dataset.train.names


def _touch(folder: Path) -> None:
    status = (folder / "cat/00.jpg").stat()
    os.utime(folder / "cat/00.jpg", ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def _edit(folder: Path) -> None:
    status = (folder / "cat/00.jpg").stat()
    with (folder / "cat/00.jpg").open("ab") as stream:
        stream.write(b"x")
    os.utime(folder / "cat/00.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))


def _rename(folder: Path) -> None:
    (folder / "cat/00.jpg").rename(folder / "cat/000.jpg")


def _move(folder: Path) -> None:
    (folder / "cat/00.jpg").rename(folder / "dog/zz.jpg")


@pytest.mark.parametrize("change", [_touch, _edit, _rename, _move])
def test_changed_folders_have_another_fingerprint(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    write_photos(tmp_path)
    first = _load(tmp_path).fingerprint
    assert _load(tmp_path, workers=2).fingerprint == first
    change(tmp_path)
    assert _load(tmp_path).fingerprint != first


def test_settings_that_decide_results_are_in_the_fingerprint(tmp_path: Path) -> None:
    write_photos(tmp_path)
    (tmp_path / "../calibration").mkdir()
    write_photos(tmp_path / "../calibration", ("any",))
    changes: list[dict[str, object]] = [
        {},
        {"horizontal_flip": True},
        {"crop_scale": (0.3, 1.0)},
        {"crop_ratio": (1.0, 1.0)},
        {"brightness": 0.1},
        {"saturation": 0.1},
        {"mean": (0.5,) * 3, "std": (0.5,) * 3},
        {"image_channels": 1},
        {"seed": 1},
        {"n_calibration_images": 7},
        {"calibration": str(tmp_path / "../calibration")},
    ]
    prints = [_load(tmp_path, **change).fingerprint for change in changes]
    assert len(set(prints)) == len(prints)


def test_normalisation_may_be_given_and_needs_no_image_then(tmp_path: Path) -> None:
    write_photos(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(b"no image, but nobody looks")
    later = _load(tmp_path)
    with pytest.raises(DataError, match="no image that can be read"):
        _ = later.mean
    dataset = _load(tmp_path, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    assert (dataset.mean, dataset.std) == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    with pytest.raises(DataError, match="has 1 channels, mean has 3"):
        load_dataset("digits", mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    assert load_dataset("digits", mean=(0.4,), std=(0.1,)).mean == (0.4,)


def _break(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_broken_files_are_an_error_that_names_them(tmp_path: Path) -> None:
    write_photos(tmp_path)
    dataset = _load(tmp_path, mean=(0.5,) * 3, std=(0.5,) * 3)
    place = tmp_path / str(dataset.train.names[2])
    _break(place)
    dataset = _load(tmp_path, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(DataError, match=rf"{place} .*set skip_broken"):
        dataset.train.batch(np.arange(4), (16, 16))
    assert dataset.train.batch(np.array([0, 1, 3]), (16, 16)).any()


def test_a_broken_file_is_replaced_by_the_next_of_its_class_once_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_photos(tmp_path)
    dataset = _load(tmp_path)
    cats = np.flatnonzero(dataset.train.labels == 0)
    for i in cats[-2:]:
        _break(tmp_path / str(dataset.train.names[i]))
    dataset = _load(tmp_path, skip_broken=True)
    index = np.array([cats[-2], cats[0]])
    with caplog.at_level(logging.WARNING):
        replaced = dataset.train.batch(index, (16, 16))
        dataset.train.take(index).batch(np.array([0]), (16, 16))
    np.testing.assert_array_equal(replaced[0], replaced[1])  # round the end, to the first
    told = [
        r.getMessage()
        for r in caplog.records
        if str(dataset.train.names[index[0]]) in r.msg % r.args
    ]
    assert len(told) == 1
    assert str(dataset.train.names[cats[0]]) in told[0]


def test_classes_without_any_image_that_can_be_read_are_refused(tmp_path: Path) -> None:
    write_photos(tmp_path)
    for path in (tmp_path / "cat").iterdir():
        _break(path)
    settings = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "skip_broken": True}
    dataset = _load(tmp_path, **settings)
    with pytest.raises(DataError, match="none of the next 100 of its class is"):
        dataset.train.batch(np.array([0]), (16, 16))


def test_files_of_other_kinds_are_found_before_anything_is_decoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_photos(tmp_path)
    (tmp_path / "cat/notes.txt").write_text("no image")
    (tmp_path / "dog/empty.jpg").touch()
    (tmp_path / "dog/link.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"3 files under .*notes.txt .*empty.jpg .*set skip_broken"):
        _load(tmp_path)
    with caplog.at_level(logging.WARNING):
        dataset = _load(tmp_path, skip_broken=True)
    assert len(dataset.train) + len(dataset.validation) + dataset.n_test == 16
    assert "notes.txt" in caplog.text
    for path in (tmp_path / "cat").glob("*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match="cat holds no images that can be read"):
        _load(tmp_path, skip_broken=True)


def test_files_without_an_ending_may_be_images(tmp_path: Path) -> None:
    write_photos(tmp_path)
    for name in ("00.jpg", "01.jpg"):
        (tmp_path / "cat" / name).rename(tmp_path / "cat" / name.partition(".")[0])
    (tmp_path / "cat/02.jpg").rename(tmp_path / "cat/1.5.JPEG")
    dataset = _load(tmp_path)
    assert len(dataset.train) + len(dataset.validation) + dataset.n_test == 16


def test_lists_are_sorted_as_paths_are(tmp_path: Path) -> None:
    for name in ("b/1", "b-c/1", "a", "b/.hidden", "b/1-2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "loop").symlink_to(tmp_path)
    names, stamps = list_files(tmp_path)
    everything = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    expected = [str(p.relative_to(tmp_path)) for p in everything if not p.name.startswith(".")]
    assert names == [name for name in expected if not name.startswith("loop")]
    assert stamps[:, 0].tolist() == [len(name) for name in names]
    with pytest.raises(DataError, match="cannot list"):
        list_files(tmp_path / "absent")


def test_settings_of_files_are_refused_in_memory(tmp_path: Path) -> None:
    write_photos(tmp_path)
    with pytest.raises(DataError, match="crop_scale is for folders of images that stay"):
        _load(tmp_path, in_memory=True, crop_scale=(0.5, 1.0))
    with pytest.raises(DataError, match="digits: in_memory, workers is for imagefolder only"):
        load_dataset("digits", in_memory=False, workers=2)
    with pytest.raises(DataError, match=r"called wokers; allowed: .*; nearest: workers"):
        load_dataset("digits", wokers=2)
    with pytest.raises(DataError, match="come together or not at all"):
        load_dataset("digits", mean=(0.5,))
    with pytest.raises(DataError, match="n_calibration_images is 1; batch norms need 2"):
        load_dataset("digits", n_calibration_images=1)
    with pytest.raises(DataError, match="workers -1"):
        _load(tmp_path, workers=-1)
    with pytest.raises(DataError, match="images of 2 channels"):
        _load(tmp_path, image_channels=2)
    with pytest.raises(DataError, match="std above 0"):
        load_dataset("digits", mean=(0.5,), std=(0.0,))


def test_training_images_change_with_the_seed_and_in_the_size_of_the_request(
    tmp_path: Path,
) -> None:
    write_photos(tmp_path)
    dataset = _load(tmp_path, horizontal_flip=True)
    index = np.array([1, 4, 2])
    requests = [BatchRequest(index, (16, 16), 3), BatchRequest(index, (32, 24), 3)]
    requests += [BatchRequest(index, (16, 16), 4), BatchRequest(index, (16, 16), 3)]
    images, labels = zip(*load_batches(dataset, dataset.train, requests, augment=True), strict=True)
    assert [tuple(batch.shape[2:]) for batch in images] == [(16, 16), (32, 24), (16, 16), (16, 16)]
    assert images[0].equal(images[3])
    assert not images[0].equal(images[2])
    np.testing.assert_array_equal(labels[0], dataset.train.labels[index])
    plain = next(load_batches(dataset, dataset.train, requests, augment=False))[0]
    np.testing.assert_array_equal(plain, dataset.train.batch(index, (16, 16)))


def test_images_without_labels_are_read_from_any_subfolders(tmp_path: Path) -> None:
    write_photos(tmp_path / "holiday", ("sea",), n=3)
    photo(9, 50, 50).save(tmp_path / "top.png")
    part = read_unlabelled(tmp_path, 3, skip_broken=False)
    assert len(part) == 4
    assert part.labels.tolist() == [-1] * 4
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images, in no subfolder either"):
        read_unlabelled(tmp_path / "empty", 3, skip_broken=False)
    with pytest.raises(DataError, match="is not a folder"):
        read_unlabelled(tmp_path / "absent", 3, skip_broken=False)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.gif")
    (tmp_path / "b.txt").write_text("no image")
    with pytest.raises(DataError, match=r"b\.txt"):
        read_unlabelled(tmp_path, 3, skip_broken=False)
