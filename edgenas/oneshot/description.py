"""The description of an imported supernet: what its weights are of and where they come from.

A YAML file beside the weights, ``NAME.meta.yaml`` of ``NAME.safetensors``; see docs/formats.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgenas import spaces
from edgenas.core.errors import StorageError
from edgenas.core.schema import StrictModel, load_yaml
from edgenas.spaces.base import SearchSpace, command_options

SUFFIX = ".safetensors"


class WeightsSpace(StrictModel):
    """The space that the weights are of."""

    name: str
    preset: str
    settings: dict[str, Any]
    weights_fingerprint: str

    @property
    def command_options(self) -> str:
        """The options by which a command line asks for the space."""
        return command_options(self.name, {"preset": self.preset, **self.settings})

    def make(self) -> SearchSpace:
        """Return the space (errors as `edgenas.spaces.get`)."""
        return spaces.get(self.preset, **self.settings)


class Source(StrictModel):
    """The file that the weights were read from."""

    file: str
    sha256: str
    keys: Literal["current", "older"]
    """Whether its names are as the public code writes them today."""


class Description(StrictModel):
    """All of it; `sha256` is that of the weights' file."""

    schema_version: Literal[1]
    kind: Literal["once-for-all supernet"]
    space: WeightsSpace
    source: Source
    sha256: str
    n_params: int = Field(ge=1)
    n_tensors: int = Field(ge=1)
    created: str
    tool_version: str


def description_path(path: Path) -> Path:
    """Return where the description of the weights in `path` is."""
    return path.with_name(f"{path.name.removesuffix(SUFFIX)}.meta.yaml")


def load_description(path: Path) -> Description:
    """Return the description of the weights in the file at `path`.

    Raises:
        SchemaError: it breaks its schema.
        StorageError: there is none.
    """
    beside = description_path(path)
    if not beside.is_file():
        raise StorageError(
            f"no description {beside} of the weights {path}; make both with: "
            f"edgenas ofa import FILE --out {path}"
        )
    return load_yaml(beside, Description)
