"""bundle.json and SHA256SUMS: what a bundle holds, by name and hash."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import AfterValidator, Field, model_validator

from edgenas.core.errors import SchemaError, StorageError, UsageError
from edgenas.core.objective import Constraint
from edgenas.core.schema import StrictModel
from edgenas.core.version import __version__

SCHEMA_VERSION: Literal[1] = 1
INDEX, SUMS = "bundle.json", "SHA256SUMS"
"""The index lists all other files but the sums, which list all other files and the index."""
_LONGEST = 255  # bytes of a part of a name, on the usual file systems


def _inside(name: str) -> str:
    """Refuse a name that could lead out of the bundle, on whatever system it is read."""
    path = PurePosixPath(name)
    odd = any(one in name for one in ("\\", ":", "\0", "\n"))
    if odd or path.is_absolute() or path.as_posix() != name or {"..", "."} & set(path.parts):
        raise ValueError(
            f"{name!r} is no name inside a bundle; names are relative, with '/' and without '..'"
        )
    if any(len(part.encode(errors="replace")) > _LONGEST for part in path.parts):
        raise ValueError(f"{name[:20]}... is longer than the {_LONGEST} bytes that a name may have")
    if name in (INDEX, SUMS):
        raise ValueError(f"{name} cannot list itself")
    return name


def _budget(text: str) -> str:
    try:
        Constraint.parse(text)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return text


InsideName = Annotated[str, AfterValidator(_inside)]
BudgetText = Annotated[str, AfterValidator(_budget)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleIndex(StrictModel):
    """What a bundle holds.

    Attributes:
        edgenas: the version that made it.
        target: of the model file.
        precision: of the model file.
        model: the model file's name.
        budgets: those that were asked of this file, as text.
        files: SHA-256 by name of every file but the index itself and the sums.
    """

    schema_version: Literal[1]
    edgenas: str
    target: str
    precision: str
    model: InsideName
    budgets: tuple[BudgetText, ...]
    files: dict[InsideName, Sha256]

    @model_validator(mode="after")
    def _lists_what_it_needs(self) -> Self:
        missing = [name for name in (self.model, *NEEDED) if name not in self.files]
        if missing:
            raise ValueError(f"files does not list {', '.join(missing)}")
        return self


MANIFEST, LABELS, PREPROCESSING = "manifest.json", "labels.txt", "preprocessing.json"
INPUTS, OUTPUTS = "check/inputs.npy", "check/outputs.npy"
NEEDED = (MANIFEST, LABELS, PREPROCESSING, INPUTS, OUTPUTS)
"""What every bundle has beside its model file, and `edgenas verify` reads."""


def read_index(folder: Path) -> BundleIndex:
    """Return the index of the bundle in `folder`.

    Raises:
        StorageError: there is no bundle.
        SchemaError: the index is damaged, of another version, or names files outside the bundle.
    """
    path = folder / INDEX
    if not path.is_file():
        what = "is no folder" if not folder.is_dir() else f"has no {INDEX}"
        raise StorageError(
            f"{folder} {what}; a bundle is made by 'edgenas export RUN' and lies in "
            "RUN/bundle/TARGET"
        )
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SchemaError(f"{path}: no JSON ({error}); {AGAIN}") from error
    _check_version(path, content)
    try:
        return BundleIndex.model_validate_json(path.read_bytes())
    except pydantic.ValidationError as error:
        lines = "\n".join(f"{path}: {_problem(one)}" for one in error.errors(include_url=False))
        raise SchemaError(f"{lines}\n{AGAIN}") from error


AGAIN = "copy the bundle again from where it was made, or make it anew: edgenas export RUN"
"""What mends a bundle."""


def sums_text(hashes: dict[str, str]) -> str:
    """Return what `sha256sum --check` reads: a line a file, sorted by name."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def _check_version(path: Path, content: Any) -> None:
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found == SCHEMA_VERSION:
        return
    maker = content.get("edgenas", "unknown") if isinstance(content, dict) else "unknown"
    raise SchemaError(
        f"{path}: schema_version is {found!r}; edgenas {__version__} reads {SCHEMA_VERSION}. It "
        f"was made by edgenas {maker}: verify it with that version, or {AGAIN}"
    )


def _problem(error: Any) -> str:
    place = ".".join(map(str, error["loc"])) or "document"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"
