"""Predictors in files: arrays as safetensors, all else as JSON in the header; no code, no pickle.

See docs/formats.md. What was fitted here is read without scikit-learn, and without torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from edgenas import spaces
from edgenas.core.errors import SpaceError, StorageError, UsageError
from edgenas.core.files import atomic_path
from edgenas.core.schema import StrictModel
from edgenas.core.version import __version__
from edgenas.evaluators.predictors.base import AccuracyPredictor
from edgenas.evaluators.predictors.features import COUNTED, Features
from edgenas.evaluators.predictors.fitted import FittedPredictor
from edgenas.evaluators.predictors.kinds import kind_named
from edgenas.evaluators.predictors.published import load_published
from edgenas.evaluators.predictors.report import PredictorReport
from edgenas.spaces.base import SearchSpace, command_options

SUFFIX = ".safetensors"
SCHEMA_VERSION: Literal[1] = 1
_KEY = "edgenas_predictor"  # of the header's one entry
_PART = "regression/"


class SpaceRecord(StrictModel):
    """The space that a predictor is of."""

    name: str
    fingerprint: str
    parameters: dict[str, Any]


class Header(StrictModel):
    """What a predictor's file says about its arrays."""

    schema_version: Literal[1]
    edgenas: str
    """The version that wrote the file."""
    space: SpaceRecord
    counts: list[str]
    """Which counts are features, after the options."""
    level: float
    spread: Annotated[float, Field(gt=0)]
    report: PredictorReport


def check_name(path: Path) -> None:
    """Refuse a name that `load_predictor` would take for something else.

    Raises:
        UsageError: it does not end in `SUFFIX`.
    """
    if path.suffix != SUFFIX:
        raise UsageError(f"a predictor's file ends in {SUFFIX}, not {path.name!r}")


def save_predictor(predictor: FittedPredictor, path: Path) -> None:
    """Write a predictor to one file, whole or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
        UsageError: the name does not end in `SUFFIX`.
    """
    check_name(path)
    space = predictor.space
    header = Header(
        schema_version=SCHEMA_VERSION,
        edgenas=__version__,
        space=SpaceRecord(
            name=space.name, fingerprint=space.fingerprint, parameters=space.parameters
        ),
        counts=list(COUNTED),
        level=predictor.level,
        spread=predictor.spread,
        report=predictor.report,
    )
    arrays = {
        "centre": predictor.features.centre,
        "scale": predictor.features.scale,
        "errors": predictor.errors,
        **{_PART + name: value for name, value in predictor.regression.arrays().items()},
    }
    whole = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(whole, temporary, {_KEY: header.model_dump_json()})
        except SafetensorError as error:  # it wraps the system's error
            raise OSError(str(error)) from error


def load_predictor(path: Path, space: SearchSpace | None = None) -> AccuracyPredictor:
    """Return the predictor in a file: one of ours, or the published one (``.npz``, ``.pth``).

    Args:
        path: of the file.
        space: what it is to predict; None: the space that the file names (ours only).

    Raises:
        StorageError: the file cannot be read or holds something else.
        SpaceError: the predictor is of another space.
        UsageError: the published predictor without a space.
        MissingExtraError: a ``.pth`` file and no torch.
    """
    if path.suffix == SUFFIX:
        return load_fitted(path, space)
    if space is None:
        raise UsageError(
            f"{path.name} does not say which space it is of; name it, e.g. --space ofa_mbv3_w1.2"
        )
    return load_published(path, space)


def load_fitted(path: Path, space: SearchSpace | None = None) -> FittedPredictor:
    """Return a predictor that `save_predictor` wrote (see `load_predictor`)."""
    header, arrays = _read(path)
    own = _space_of(header, path) if space is None else space
    if own.fingerprint != header.space.fingerprint:
        recorded = header.space
        raise SpaceError(
            f"{path} predicts {recorded.name} ({recorded.fingerprint}), asked was {own.name} "
            f"({own.fingerprint}); ask for "
            f"'{command_options(recorded.name, recorded.parameters)}', or fit one for this "
            "space with 'edgenas ofa predictor fit'"
        )
    try:
        features = Features(own, arrays.pop("centre"), arrays.pop("scale"))
        errors = arrays.pop("errors")
        parts = {name.removeprefix(_PART): value for name, value in arrays.items()}
        regression = kind_named(header.report.kind).from_arrays(parts)
        predictor = FittedPredictor(
            features,
            regression,
            level=header.level,
            spread=header.spread,
            errors=errors,
            report=header.report,
        )
        check = predictor(np.stack([own.smallest(), own.largest()]))
    except (KeyError, ValueError, IndexError, UsageError) as error:
        raise StorageError(f"{path} is damaged: its arrays do not fit together: {error}") from error
    if not np.isfinite(check).all() or not np.isfinite(errors).all() or len(errors) == 0:
        raise StorageError(f"{path} is damaged: its predictions are not finite")
    return predictor


def read_header(path: Path) -> Header:
    """Return what a predictor's file says of itself.

    Raises:
        StorageError: the file cannot be read or is no predictor.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Header, dict[str, Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_KEY)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise StorageError(f"cannot read the predictor {path}: {error}") from error
    if text is None:
        raise StorageError(f"{path} holds no predictor; 'edgenas ofa predictor fit' writes one")
    try:
        version = json.loads(text).get("schema_version")
        if version != SCHEMA_VERSION:
            raise StorageError(
                f"{path} is a predictor of format {version}, known is {SCHEMA_VERSION}; "
                "use the version of edgenas that wrote it, or fit it again"
            )
        return Header.model_validate_json(text, strict=True), arrays
    except (ValueError, AttributeError, pydantic.ValidationError) as error:
        raise StorageError(f"the header of {path} cannot be read: {error}") from error


def _space_of(header: Header, path: Path) -> SearchSpace:
    try:
        return spaces.from_parameters(header.space.parameters)
    except (KeyError, TypeError) as error:
        raise StorageError(f"the header of {path} names no space: {error}") from error
