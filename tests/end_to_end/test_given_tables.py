"""Runs on tables that are told to them: of another device, or published; every result says so."""

import json
import re
from pathlib import Path

import pytest

from edgenas.cli import main
from edgenas.core.errors import TableMismatchError, UsageError
from edgenas.costs.table import passport_path
from edgenas.exporters.manifest import read_manifest
from edgenas.study import api
from edgenas.study.run_folder import RunFolder
from tests.tiny_job import write_job

pytestmark = pytest.mark.slow
OTHER = "f" * 16


@pytest.fixture
def foreign(run: Path, tmp_path: Path) -> Path:
    """The run's own table, as if it were of another device."""
    own, path = run / "tables/onnxruntime-float32.csv", tmp_path / "foreign.csv"
    path.write_bytes(own.read_bytes())
    meta = re.sub("match_key: .*", f"match_key: {OTHER}", passport_path(own).read_text())
    passport_path(path).write_text(meta)
    return path


def test_a_foreign_table_is_refused_and_the_run_stays_as_it_was(run: Path, foreign: Path) -> None:
    before = (run / "job.yaml").read_text()
    with pytest.raises(TableMismatchError, match="--accept-mismatch device"):
        api.pick(run, tables={"": str(foreign)})
    with pytest.raises(UsageError, match="cannot differ in 'colour'"):
        api.pick(run, tables={"": str(foreign)}, accept=["colour"])
    with pytest.raises(UsageError, match="no table 'absent'"):
        api.pick(run, tables={"": "absent"})
    assert (run / "job.yaml").read_text() == before


def test_every_result_of_a_foreign_table_says_so(
    run: Path, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pick", str(run), "--table", str(foreign), "--accept-mismatch", "device"]
    assert main([*command, "-q"]) == 0
    assert f"its device is {OTHER}" in capsys.readouterr().out
    assert RunFolder(run).job().device.tables == {"onnxruntime": str(foreign)}
    result = api.report(run)  # the run remembers the table
    (text,) = result.mismatch["onnxruntime"]
    assert text.startswith(f"device is {OTHER} (")
    assert result.pick is not None
    assert result.pick["predicted"]["onnxruntime"]["mismatch"] == [text]
    assert result.pick["predicted"]["litert"]["mismatch"] == []
    predicted = read_manifest(run / "model.onnx").predicted_latency
    assert predicted is not None
    assert predicted.mismatch == (text,)
    other = read_manifest(run / "model.tflite").predicted_latency
    assert other is not None
    assert other.mismatch == ()
    proof = json.loads((run / "proof.json").read_text())
    assert any(text in caveat for caveat in proof["caveats"]["onnxruntime"])
    report = json.loads((run / "report.json").read_text())
    assert any(text in warning for warning in report["warnings"])
    assert f"its device is {OTHER}" in (run / "report.html").read_text()
    json.dumps(result.as_dict())


def test_a_published_table_gives_no_interval(
    run: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accept = "device,runtime,runtime_version,threads,settings"
    job = write_job(tmp_path)
    command = ["compile", str(job), "-o", str(run), "--table", f"onnxruntime={published}"]
    assert main([*command, "--accept-mismatch", accept, "-q", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    told = found["mismatch"]["onnxruntime"]
    assert len(told) == 6
    assert any("affinity is unknown" in text for text in told)
    assert all("latency_ms_upper" not in member for member in found["front"])
    (file,) = [entry for entry in found["proof"]["files"] if entry["runtime"] == "onnxruntime"]
    assert (file["predicted"]["low_ms"], file["predicted"]["coverage"]) == (None, "published")
    report = (run / "report.html").read_text()
    assert "never held against whole networks" in report
    assert main(["pick", str(run), "--pick", "latency_ms <= 9 @ 90%", "-q"]) == 2
    assert "asks for an interval" in capsys.readouterr().err
    assert main(["pick", str(run), "--pick", "latency_ms <= 9", "-q"]) == 0
    assert "never held against whole networks" in capsys.readouterr().out
