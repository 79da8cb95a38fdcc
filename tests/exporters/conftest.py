"""One small exported network for all tests here."""

from pathlib import Path

import pytest

from edgenas.core.artifact import Artifact
from edgenas.exporters import ExportRequest, get
from edgenas.testing.exporter import small_request


@pytest.fixture(scope="session")
def request_small() -> ExportRequest:
    return small_request()


@pytest.fixture
def onnx_artifact(request_small: ExportRequest, tmp_path: Path) -> Artifact:
    return get("onnx").export(request_small, tmp_path / "model.onnx")
