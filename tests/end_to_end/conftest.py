"""One finished run of the tiny job, made once; tests work on copies of it."""

import shutil
from pathlib import Path

import pytest

from edgenas.study.api import CompileResult, compile_job
from tests.tiny_job import write_job


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> CompileResult:
    """The whole chain, done."""
    folder = tmp_path_factory.mktemp("finished")
    return compile_job(write_job(folder), folder / "run")


@pytest.fixture
def run(finished: CompileResult, tmp_path: Path) -> Path:
    """A copy of the finished run, free to be changed."""
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))
