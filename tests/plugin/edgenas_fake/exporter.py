"""ONNX in files of another suffix."""

from pathlib import Path
from typing import ClassVar

from edgenas.exporters.onnx import OnnxExporter
from edgenas_fake import SUFFIX


class FakeExporter(OnnxExporter):
    """Its recipes lie beside it."""

    name: ClassVar[str] = "fake"
    suffix: ClassVar[str] = SUFFIX
    recipe_folders: ClassVar[tuple[Path, ...]] = (Path(__file__).parent / "recipes",)
    distributions: ClassVar[tuple[str, ...]] = ("edgenas-fake",)
