"""The index of a bundle is read strictly: versions, names that lead out, what has to be there."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgenas.core.errors import SchemaError, StorageError
from edgenas.exporters.bundle import INDEX, read_index
from tests.exporters.bundle.bundles import reindex


def changed(bundle: Path, **changes: Any) -> Path:
    reindex(bundle, {**json.loads((bundle / INDEX).read_text()), **changes})
    return bundle


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"has no bundle\.json; .*edgenas export RUN"):
        read_index(tmp_path)
    with pytest.raises(StorageError, match="is no folder"):
        read_index(tmp_path / "absent")


@pytest.mark.parametrize("version", [2, "1", None])
def test_unknown_versions_say_who_made_it(bundle: Path, version: object) -> None:
    changed(bundle, schema_version=version, edgenas="9.9.9", unheard_of=1)
    with pytest.raises(SchemaError, match=r"reads 1\. It was made by edgenas 9\.9\.9"):
        read_index(bundle)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_damaged_json(bundle: Path, text: str) -> None:
    (bundle / INDEX).write_text(text, encoding="latin-1")
    with pytest.raises(SchemaError, match="edgenas"):
        read_index(bundle)


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "check/../../secret",
        "/etc/passwd",
        "check//x",
        "./x",
        "..",
        "..\\secret",
        "C:secret",
        "a\0b",
        "a\nb",
        "",
        "bundle.json",
        "SHA256SUMS",
        "a" * 256,
        "check/" + "ä" * 128,
    ],
)
def test_names_that_lead_out_are_refused(bundle: Path, name: str) -> None:
    files = json.loads((bundle / INDEX).read_text())["files"]
    (bundle / INDEX).write_text(
        json.dumps({**json.loads((bundle / INDEX).read_text()), "files": {**files, name: "0" * 64}})
    )
    with pytest.raises(SchemaError, match=r"no name inside|cannot list itself|longer than"):
        read_index(bundle)


def test_the_model_lies_inside_too(bundle: Path) -> None:
    with pytest.raises(SchemaError, match=r"model: .*no name inside"):
        read_index(changed(bundle, model="../model.onnx"))
    with pytest.raises(SchemaError, match=r"does not list other\.onnx"):
        read_index(changed(bundle, model="other.onnx"))


def test_unknown_keys_and_wrong_hashes_are_all_named(bundle: Path) -> None:
    files = {**json.loads((bundle / INDEX).read_text())["files"], "x": "abc"}
    (bundle / INDEX).write_text(
        json.dumps({**json.loads((bundle / INDEX).read_text()), "files": files, "modell": 1})
    )
    with pytest.raises(SchemaError) as caught:
        read_index(bundle)
    assert "modell" in str(caught.value)
    assert "files.x" in str(caught.value)


def test_what_every_bundle_has_is_listed(bundle: Path) -> None:
    index = json.loads((bundle / INDEX).read_text())
    del index["files"]["check/inputs.npy"]
    with pytest.raises(SchemaError, match=r"does not list check/inputs\.npy"):
        read_index(changed(bundle, files=index["files"]))


def test_budgets_can_be_read(bundle: Path) -> None:
    with pytest.raises(SchemaError, match=r"budgets\.0: not a constraint: 'fast'"):
        read_index(changed(bundle, budgets=["fast"]))
