"""A model file, by content."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from edgenas.core.errors import UsageError
from edgenas.core.files import sha256_of
from edgenas.core.registry import Registry

log = logging.getLogger(__name__)

FORMATS: Registry[str] = Registry("model format")
"""Model formats by name: the suffix of their files."""
_OWN = {"onnx": ".onnx", "tflite": ".tflite", "tensorrt": ".engine"}
for _name, _suffix in _OWN.items():
    FORMATS.add(_name)(_suffix)


def failed_path(path: Path) -> Path:
    """Return what a model file is called that failed its checks: ``model.onnx.failed``."""
    return path.with_name(f"{path.name}.failed")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model file on this machine: where it is, its format and its content's hash."""

    path: Path
    format: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Artifact:
        """Describe the file at `path`.

        Raises:
            UsageError: there is no such file or its suffix is not a model's.
        """
        formats = formats_by_suffix()
        if path.suffix not in formats:
            raise UsageError(f"{path}: not a model file; allowed suffixes: {', '.join(formats)}")
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        return cls(path, formats[path.suffix], sha256_of(path))


def formats_by_suffix() -> dict[str, str]:
    """Return the model formats by the suffix of their files.

    A suffix stays with whom it belongs to first, and those of edgenas are its own: a plug-in that
    brings a format with the same one is warned of.
    """
    found = {suffix: name for name, suffix in _OWN.items()}
    for name, suffix in FORMATS.items():
        if found.setdefault(suffix, name) != name:
            log.warning(
                "the suffix %s of the model format %r is that of %r; such files are taken to be "
                "the latter",
                suffix,
                name,
                found[suffix],
            )
    return found
