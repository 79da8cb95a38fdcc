"""Is a bundle what was written? Its files, their hashes, and whether its documents agree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydantic

from edgenas.core.errors import SchemaError
from edgenas.core.files import sha256_of
from edgenas.exporters.bundle.index import (
    AGAIN,
    INDEX,
    INPUTS,
    LABELS,
    MANIFEST,
    OUTPUTS,
    PREPROCESSING,
    SUMS,
    BundleIndex,
    sums_text,
)
from edgenas.exporters.bundle.make import labels_text
from edgenas.exporters.bundle.preprocessing import Preprocessing, preprocessing_of
from edgenas.exporters.bundle.recorded import fits
from edgenas.exporters.manifest import Manifest, load_manifest

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `passed` is None where it is told and not judged.

    Attributes:
        name: of the check.
        passed: what came of it.
        asked: what it should be.
        found: what it is.
        remedy: what to run or do next where it failed; empty elsewhere.
    """

    name: str
    passed: bool | None
    asked: str
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a sound bundle holds for trying its file."""

    manifest: Manifest
    how: Preprocessing
    inputs: npt.NDArray[np.generic]
    logits: npt.NDArray[np.float32]


def check_files(folder: Path, index: BundleIndex) -> list[Finding]:
    """Return whether every file is there, as it was written, and no other one."""
    # A link could lead out of the bundle, or to what is changed behind its back.
    missing = [name for name in (INDEX, SUMS) if _is_linked(folder, name)]
    changed = []
    for name, digest in index.files.items():
        path = folder / name
        if _is_linked(folder, name) or not path.is_file():
            missing.append(name)
        elif (what := _change(path, digest)) is not None:
            changed.append(f"{name} ({what})")
    listed = {*index.files, INDEX, SUMS}
    extra = sorted(name for name in _names(folder) if name not in listed)
    n = len(index.files)
    return [
        _finding("files", not missing, f"{n} files, none a link", "missing or a link", missing),
        _finding("hashes", not changed, "SHA-256 as listed", "truncated or changed", changed),
        _finding("unlisted", not extra, f"only what {INDEX} lists", "not listed", extra),
        _sums(folder, index),
    ]


def _change(path: Path, digest: str) -> str | None:
    """Return in a word what is wrong with a file's content, None if nothing is."""
    try:
        return None if sha256_of(path) == digest else f"{path.stat().st_size} bytes"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def check_documents(folder: Path, index: BundleIndex) -> tuple[Contents | None, list[Finding]]:
    """Return what the bundle holds, None if its documents do not agree, and the findings."""
    try:
        manifest = load_manifest(folder / MANIFEST)
    except SchemaError as error:
        return None, [Finding("manifest", False, "a manifest of this version", str(error), AGAIN)]
    findings = [_manifest(folder, index, manifest)]
    findings.append(_labels(folder, manifest))
    how = _preprocessing(folder, manifest, findings)
    if how is None:
        return None, findings
    arrays = _arrays(folder, manifest, how, findings)
    if arrays is None or not all(finding.passed for finding in findings):
        return None, findings
    return Contents(manifest, how, *arrays), findings


def _finding(name: str, passed: bool, asked: str, word: str, wrong: list[str]) -> Finding:
    if passed:
        return Finding(name, True, asked, "as asked")
    more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
    found = f"{word}: {', '.join(wrong[:_MOST_NAMED])}{more}"
    remedy = "remove it, or " + AGAIN if name == "unlisted" else AGAIN
    return Finding(name, False, asked, found, remedy)


def _is_linked(folder: Path, name: str) -> bool:
    path = folder
    for part in Path(name).parts:
        path = path / part
        if path.is_symlink():
            return True
    return False


def _names(folder: Path) -> Iterator[str]:
    """Yield every file under a folder by name; links are files and are not followed."""
    for place, folders, files in os.walk(folder):
        root = Path(place)
        links = [name for name in folders if (root / name).is_symlink()]
        for name in (*files, *links):
            yield (root / name).relative_to(folder).as_posix()


def _sums(folder: Path, index: BundleIndex) -> Finding:
    asked = f"the hashes of {INDEX} and its own"
    try:
        found = (folder / SUMS).read_bytes()
    except OSError as error:
        return Finding("sums", False, asked, f"{SUMS} cannot be read: {error}", AGAIN)
    wanted = sums_text({**index.files, INDEX: sha256_of(folder / INDEX)})
    if found == wanted.encode():
        return Finding("sums", True, asked, "as asked")
    return Finding("sums", False, asked, f"{SUMS} or {INDEX} was changed", AGAIN)


def _manifest(folder: Path, index: BundleIndex, manifest: Manifest) -> Finding:
    size = (folder / index.model).stat().st_size
    pairs = {
        "file": (index.model, manifest.file.name),
        "SHA-256": (index.files[index.model], manifest.file.sha256),
        "bytes": (str(size), str(manifest.file.n_bytes)),
        "target": (index.target, manifest.target),
        "precision": (index.precision, manifest.precision),
        "status": ("passed", manifest.status),
    }
    asked = f"that of {index.model}, {index.target}, {index.precision}"
    wrong = [f"{name} {got}, not {want}" for name, (want, got) in pairs.items() if got != want]
    unknown = [text for text in index.budgets if text not in manifest.source.budget]
    if unknown:
        wrong.append(f"no budget {', '.join(unknown)}")
    if wrong:
        return Finding("manifest", False, asked, f"of another file: {'; '.join(wrong)}", AGAIN)
    return Finding("manifest", True, asked, "as asked")


def _labels(folder: Path, manifest: Manifest) -> Finding:
    asked = f"the {len(manifest.output.class_names)} classes of the manifest"
    content = (folder / LABELS).read_bytes()
    if content == labels_text(manifest).encode():
        return Finding("labels", True, asked, "the same, in the same order")
    found = f"{len(content.splitlines())} lines: others, or in disorder"
    return Finding("labels", False, asked, found, AGAIN)


def _preprocessing(
    folder: Path, manifest: Manifest, findings: list[Finding]
) -> Preprocessing | None:
    asked = "what the manifest says of the input"
    try:
        how = Preprocessing.model_validate_json((folder / PREPROCESSING).read_bytes())
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "document"
        text = f"{PREPROCESSING}: {place}: {first['msg']}"
        findings.append(Finding("preprocessing", False, asked, text, AGAIN))
        return None
    if how != preprocessing_of(manifest, (how.input.codes, how.output.codes)):
        findings.append(Finding("preprocessing", False, asked, "something else", AGAIN))
        return None
    findings.append(Finding("preprocessing", True, asked, "the same"))
    return how


def _arrays(
    folder: Path, manifest: Manifest, how: Preprocessing, findings: list[Finding]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float32]] | None:
    n_classes = len(manifest.output.class_names)
    asked = f"inputs of the file and the network's logits, {n_classes} each"
    try:
        inputs = np.load(folder / INPUTS, allow_pickle=False)
        logits = np.load(folder / OUTPUTS, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        findings.append(Finding("recorded", False, asked, f"no arrays: {error}", AGAIN))
        return None
    if not all(isinstance(array, np.ndarray) for array in (inputs, logits)):
        findings.append(Finding("recorded", False, asked, "archives, not arrays", AGAIN))
        return None
    sound = fits(inputs, how.input) and logits.shape == (len(inputs), n_classes)
    sound = sound and logits.dtype == np.float32
    text = f"{inputs.dtype} {inputs.shape} and {logits.dtype} {logits.shape}"
    if sound and not all(np.isfinite(array).all() for array in (inputs, logits)):
        sound, text = False, f"{text}, NaN or infinite values among them"
    findings.append(Finding("recorded", sound, asked, text, "" if sound else AGAIN))
    return inputs, logits
