"""Makes a bundle: a folder that is whole or not there."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import StorageError
from edgenas.core.files import sha256_of
from edgenas.core.schema import StrictModel
from edgenas.core.version import __version__
from edgenas.exporters.base import Exporter, Images
from edgenas.exporters.bundle.card import Accuracy, model_card
from edgenas.exporters.bundle.examples import examples
from edgenas.exporters.bundle.index import (
    INDEX,
    INPUTS,
    LABELS,
    MANIFEST,
    OUTPUTS,
    PREPROCESSING,
    SCHEMA_VERSION,
    SUMS,
    BundleIndex,
    sums_text,
)
from edgenas.exporters.bundle.preprocessing import entry_of, preprocessing_of
from edgenas.exporters.bundle.recorded import as_file_takes
from edgenas.exporters.bundle.texts import program
from edgenas.exporters.manifest import Manifest

CARD = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True, eq=False)
class BundleRequest:
    """What a bundle is made of.

    `model` is a file whose checks all passed, `manifest` its own. `inputs`, normalised, shape (n,
    channels, height, width), and `logits`, shape (n, n_classes), are the trained network's.
    `budgets` are those that were asked of this file.
    """

    model: Path
    manifest: Manifest
    exporter: Exporter
    inputs: Images
    logits: npt.NDArray[np.float32]
    accuracy: Accuracy
    budgets: tuple[str, ...] = ()


def make_bundle(request: BundleRequest, folder: Path) -> list[Path]:
    """Write the bundle to `folder`, in place of an earlier one, and return its files.

    Raises:
        StorageError: the folder cannot be written; an earlier bundle is as it was.
        ExportError: the scales of the file's codes cannot be read.
    """
    contents = _contents(request)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            hashes = _write(request, contents, fresh)
            fresh.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            fresh.replace(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"cannot write the bundle {folder}: {error.strerror or error}; free space or choose "
            "another folder, then run the same command again"
        ) from error
    return [folder / name for name in (*sorted(hashes), SUMS)]


def labels_text(manifest: Manifest) -> str:
    """Return the class names, one a line, in the order of the logits."""
    return "".join(" ".join(name.split()) + "\n" for name in manifest.output.class_names)


def _contents(request: BundleRequest) -> dict[str, bytes]:
    """Return all files but the model, the index and the sums, content by name."""
    manifest = request.manifest
    source, result = request.exporter.codes(request.model)
    how = preprocessing_of(manifest, (entry_of(source), entry_of(result)))
    engine = request.exporter.device_program()
    texts = {
        MANIFEST: _json(manifest),
        LABELS: labels_text(manifest),
        PREPROCESSING: _json(how),
        CARD: model_card(manifest, request.accuracy, request.budgets),
        **examples(manifest, how, engine),
    }
    if engine is not None:
        texts |= {"check/check.py": program("check.py"), "check/engine.py": engine}
    arrays = {
        INPUTS: as_file_takes(request.inputs, how.input),
        OUTPUTS: np.ascontiguousarray(request.logits, np.float32),
    }
    contents = {name: text.encode() for name, text in texts.items()}
    return contents | {name: _npy(array) for name, array in arrays.items()}


def _write(request: BundleRequest, contents: dict[str, bytes], folder: Path) -> dict[str, str]:
    """Write everything into `folder` and return the hashes by name, the index's among them."""
    model = request.manifest.file.name
    shutil.copyfile(request.model, folder / model)
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    files = {name: sha256_of(folder / name) for name in sorted((model, *contents))}
    index = BundleIndex(
        schema_version=SCHEMA_VERSION,
        edgenas=__version__,
        target=request.manifest.target,
        precision=request.manifest.precision,
        model=model,
        budgets=request.budgets,
        files=files,
    )
    (folder / INDEX).write_text(_json(index), encoding="utf-8")
    hashes = {**files, INDEX: sha256_of(folder / INDEX)}
    (folder / SUMS).write_text(sums_text(hashes), encoding="utf-8")
    return hashes


def _json(document: StrictModel) -> str:
    values = document.model_dump(mode="json")
    return json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
