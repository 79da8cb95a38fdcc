"""One bundle that tests copy and change."""

import shutil
from pathlib import Path

import pytest

from tests.exporters.bundle.bundles import tiny_bundle


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy of a sound ONNX bundle, free to be changed."""
    return Path(shutil.copytree(made, tmp_path / "bundle"))
