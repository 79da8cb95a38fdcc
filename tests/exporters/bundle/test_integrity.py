"""Every way in which a bundle is not what was made is found and named."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.files import sha256_of
from edgenas.exporters.bundle import INDEX, SUMS, Finding, check_files, integrity, read_index
from edgenas.exporters.bundle.integrity import check_documents
from tests.exporters.bundle.bundles import reindex, rewrite


def failed(findings: list[Finding]) -> dict[str, Finding]:
    found = {finding.name: finding for finding in findings if finding.passed is False}
    assert all(one.asked and one.found and one.remedy for one in found.values())
    return found


def files(bundle: Path) -> dict[str, Finding]:
    return failed(check_files(bundle, read_index(bundle)))


def documents(bundle: Path) -> dict[str, Finding]:
    index = read_index(bundle)
    assert files(bundle) == {}
    contents, findings = check_documents(bundle, index)
    found = failed(findings)
    assert (contents is None) == bool(found)
    return found


def test_a_sound_bundle(bundle: Path) -> None:
    assert files(bundle) == {}
    assert documents(bundle) == {}


def test_a_truncated_file(bundle: Path) -> None:
    content = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(content[:100])
    found = files(bundle)
    assert set(found) == {"hashes"}
    assert found["hashes"].found == "truncated or changed: model.onnx (100 bytes)"


def test_a_missing_file(bundle: Path) -> None:
    (bundle / "labels.txt").unlink()
    assert files(bundle)["files"].found == "missing or a link: labels.txt"


def test_a_link_in_place_of_a_file(bundle: Path, tmp_path: Path) -> None:
    """It could lead anywhere."""
    (bundle / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (bundle / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    assert files(bundle)["files"].found == "missing or a link: model.onnx"


def test_a_link_in_place_of_a_folder(bundle: Path, tmp_path: Path) -> None:
    (bundle / "check").rename(tmp_path / "elsewhere")
    (bundle / "check").symlink_to(tmp_path / "elsewhere")
    found = files(bundle)
    assert "check/inputs.npy" in found["files"].found
    assert found["unlisted"].found == "not listed: check"


def test_files_that_are_not_listed(bundle: Path) -> None:
    for i in range(7):
        (bundle / "check" / f"more{i}.py").touch()
    found = files(bundle)
    assert set(found) == {"unlisted"}
    assert found["unlisted"].found.endswith("check/more4.py and 2 more")


def test_sums_that_do_not_agree(bundle: Path) -> None:
    (bundle / SUMS).write_text((bundle / SUMS).read_text().replace("a", "b"))
    assert set(files(bundle)) == {"sums"}
    (bundle / SUMS).unlink()
    assert "cannot be read" in files(bundle)["sums"].found


def test_a_changed_index(bundle: Path) -> None:
    index = json.loads((bundle / INDEX).read_text())
    (bundle / INDEX).write_text(json.dumps({**index, "budgets": []}))
    assert set(files(bundle)) == {"sums"}


def test_a_manifest_of_another_file(bundle: Path) -> None:
    rewrite(bundle, "model.onnx", b"another model")
    found = documents(bundle)
    assert set(found) == {"manifest"}
    assert found["manifest"].found.startswith("of another file: SHA-256 ")
    assert "bytes" in found["manifest"].found


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("target", "tflite", "target onnx, not tflite"),
        ("precision", "int8", "precision float32, not int8"),
        ("budgets", ["latency_ms <= 7"], "no budget latency_ms <= 7"),
    ],
)
def test_an_index_that_says_something_else(
    bundle: Path, key: str, value: object, words: str
) -> None:
    reindex(bundle, {**json.loads((bundle / INDEX).read_text()), key: value})
    assert words in documents(bundle)["manifest"].found


def test_a_manifest_of_a_file_that_failed(bundle: Path) -> None:
    document = json.loads((bundle / "manifest.json").read_text())
    rewrite(bundle, "manifest.json", json.dumps({**document, "status": "failed"}).encode())
    assert "status failed, not passed" in documents(bundle)["manifest"].found


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{", "document"), (b'{"schema_version": 2}', "schema_version"), (b"\xff", "document")],
)
def test_an_unreadable_manifest(bundle: Path, content: bytes, words: str) -> None:
    rewrite(bundle, "manifest.json", content)
    assert words in documents(bundle)["manifest"].found


def test_labels_in_another_order(bundle: Path) -> None:
    lines = (bundle / "labels.txt").read_bytes().splitlines(keepends=True)
    rewrite(bundle, "labels.txt", b"".join(reversed(lines)))
    assert set(documents(bundle)) == {"labels"}


@pytest.mark.parametrize(
    "change",
    [
        lambda how: how.update(mean=[0.0, 0.0, 0.0]),
        lambda how: how["resize"].update(height=17),
        lambda how: how["input"].update(dtype="int7"),
        lambda how: how.update(unknown=1),
    ],
)
def test_preprocessing_of_something_else(bundle: Path, change: Callable[[dict], None]) -> None:
    how = json.loads((bundle / "preprocessing.json").read_text())
    change(how)
    rewrite(bundle, "preprocessing.json", json.dumps(how).encode())
    assert set(documents(bundle)) == {"preprocessing"}


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("check/inputs.npy", np.zeros((12, 3, 16, 15), np.float32)),
        ("check/inputs.npy", np.zeros((12, 3, 16, 14), np.float64)),
        ("check/inputs.npy", np.zeros((0, 3, 16, 14), np.float32)),
        ("check/inputs.npy", np.zeros(3, np.float32)),
        ("check/outputs.npy", np.zeros((11, 5), np.float32)),
        ("check/outputs.npy", np.zeros((12, 4), np.float32)),
        ("check/outputs.npy", np.zeros((12, 5), np.float64)),
        ("check/outputs.npy", np.zeros((12, 5), np.complex64)),
        ("check/outputs.npy", np.full((12, 5), "a")),
        ("check/outputs.npy", np.full((12, 5), np.nan, np.float32)),
    ],
)
def test_recorded_arrays_that_do_not_fit(
    bundle: Path, tmp_path: Path, name: str, array: np.ndarray
) -> None:
    np.save(tmp_path / "array.npy", array)
    rewrite(bundle, name, (tmp_path / "array.npy").read_bytes())
    assert set(documents(bundle)) == {"recorded"}


def test_arrays_with_code_in_them_are_not_loaded(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.array([{}]), allow_pickle=True)
    rewrite(bundle, "check/outputs.npy", (tmp_path / "array.npy").read_bytes())
    assert "no arrays" in documents(bundle)["recorded"].found
    assert sha256_of(bundle / "check/outputs.npy")


def test_an_archive_is_no_array(bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", inputs=np.load(bundle / "check/inputs.npy"))
    rewrite(bundle, "check/inputs.npy", (tmp_path / "arrays.npz").read_bytes())
    assert documents(bundle)["recorded"].found == "archives, not arrays"


@pytest.mark.parametrize("name", [INDEX, SUMS])
def test_the_lists_themselves_are_no_links(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    assert files(bundle)["files"].found == f"missing or a link: {name}"


def test_a_file_that_cannot_be_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        if path.name == "labels.txt":
            raise PermissionError(errno.EACCES, "Permission denied")
        return sha256_of(path)

    monkeypatch.setattr(integrity, "sha256_of", refuse)
    found = files(bundle)["hashes"].found
    assert found == "truncated or changed: labels.txt (cannot be read: Permission denied)"


def test_too_few_labels_are_counted(bundle: Path) -> None:
    lines = (bundle / "labels.txt").read_text().splitlines()
    rewrite(bundle, "labels.txt", "\n".join([*lines[:-1], ""]).encode())
    found = documents(bundle)["labels"]
    assert found.asked == f"the {len(lines)} classes of the manifest"
    assert found.found.startswith(f"{len(lines) - 1} lines")
