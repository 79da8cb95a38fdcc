"""A model file, by content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgenas.core.errors import UsageError
from edgenas.core.files import sha256_of
from edgenas.core.registry import Registry

FORMATS: Registry[str] = Registry("model format")
"""Model formats by name: the suffix of their files."""
FORMATS.add("onnx")(".onnx")
FORMATS.add("tflite")(".tflite")
FORMATS.add("tensorrt")(".engine")


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
        formats = {suffix: name for name, suffix in FORMATS.items()}
        if path.suffix not in formats:
            raise UsageError(f"{path}: not a model file; allowed suffixes: {', '.join(formats)}")
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        return cls(path, formats[path.suffix], sha256_of(path))
