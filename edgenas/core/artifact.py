"""A model file, by content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgenas.core.errors import UsageError
from edgenas.core.files import sha256_of

FORMATS = {".onnx": "onnx", ".tflite": "tflite", ".engine": "tensorrt"}
"""Model format by file suffix."""


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
        if path.suffix not in FORMATS:
            raise UsageError(f"{path}: not a model file; allowed suffixes: {', '.join(FORMATS)}")
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        return cls(path, FORMATS[path.suffix], sha256_of(path))
