"""One finished run of the tiny job, made once; tests work on copies of it."""

import shutil
from pathlib import Path

import pytest

from edgenas.costs.importers import ColumnsImporter, Published, import_table
from edgenas.costs.importers.columns import ColumnMapping
from edgenas.costs.table import CostTable
from edgenas.spaces import from_parameters
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


@pytest.fixture
def published(run: Path, tmp_path: Path) -> Path:
    """The run's own costs, as if somebody had published them."""
    table = CostTable.load(run / "tables/onnxruntime-float32.csv")
    lines = [f'"{row.operator}",{row.cost}' for row in table.rows.values()]
    (tmp_path / "lab.csv").write_text("\n".join(["key,ms", *lines]))
    importer = ColumnsImporter(
        ColumnMapping(schema_version=1, cost="ms", unit="ms", operator="key")
    )
    space = from_parameters(table.passport.space.parameters)
    path = tmp_path / "published.csv"
    found = import_table(importer, [tmp_path / "lab.csv"], space, Published("Lab board"))
    found.table.save(path)
    return path
