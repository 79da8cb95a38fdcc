"""A run whose budgets are of memory, loading and energy: tables, search, files, proof, report."""

import json
from pathlib import Path

import pytest

from edgenas.cli import main
from edgenas.core.errors import InfeasibleError
from edgenas.costs.lint import lint
from edgenas.costs.table import CostTable
from edgenas.exporters.manifest import read_manifest
from edgenas.hardware.device import load_device
from edgenas.study import api
from edgenas.study.job import Job
from edgenas.study.run_folder import RunFolder

pytestmark = pytest.mark.slow

BUDGETS = ("peak_memory_mib <= 900 @ 90%", "load_ms <= 5000", "energy_mj <= 4000 @ 90%")
NETWORKS = {"n_networks": 20, "n_sessions": 1, "n_processes": 1, "run_s": 1.0, "idle_s": 1.0}


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """This machine, with powers in the place of a meter."""
    path = tmp_path / "modelled.yaml"
    path.write_text(
        "schema_version: 1\nid: modelled\nextends: local\ndescription: powers are given\n"
        "power: {meter: modelled, idle_mw: 1000, active_mw: [5000, 8000]}\n"
    )
    return path


@pytest.fixture
def job(run: Path, device: Path) -> Job:
    before = RunFolder(run).job()
    return before.changed(
        device=before.device.model_dump() | {"id": str(device)},
        profile=before.profile.model_dump() | {"networks": NETWORKS},
        objectives=("accuracy", "latency_ms", "peak_memory_mib"),
        pick=", ".join(BUDGETS),
    )


def test_every_step_knows_the_other_costs(
    run: Path, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    result = api.compile_job(job, run)
    names = ("energy", "load", "peak_memory")
    for name in names:
        path = run / f"tables/onnxruntime-float32.{name}.csv"
        own = CostTable.load(path).passport
        assert (own.kind, own.network_plan is not None) == (name, True)
        assert own.provenance == ("modelled" if name == "energy" else "fitted")
        assert not [f for f in lint(path) if f.severity == "error"]
    member = result.front[0]
    assert {"peak_memory_mib", "peak_memory_mib_upper", "latency_ms_upper"} <= set(member)
    assert "energy_mj" not in member  # limited by the pick only
    assert result.pick is not None
    predicted = result.pick["predicted_costs"]
    assert set(predicted) == {"energy_mj", "load_ms", "peak_memory_mib"}
    assert predicted["energy_mj"]["provenance"] == "modelled"
    assert predicted["peak_memory_mib"]["high"] > predicted["peak_memory_mib"]["value"] > 1
    assert result.budget_kept is True
    assert result.proof is not None
    own_file, other = result.proof["files"]
    assert (own_file["runtime"], other["runtime"]) == ("onnxruntime", "litert")
    for name in ("energy_mj", "load_ms", "peak_memory_mib"):
        cost = own_file["costs"][name]
        assert cost["budget_kept"] is True
        assert cost["measured"]["value"] > 0
        assert cost["predicted"]["value"] == predicted[name]["value"]
        assert other["costs"][name]["predicted"] is None  # its tables are the job's runtime's
        assert other["costs"][name]["measured"]["value"] > 0
    assert own_file["costs"]["energy_mj"]["measured"]["provenance"] == "modelled"
    assert result.proof["limits"] == []
    assert any("modelled from powers" in text for text in result.caveats)
    manifest = read_manifest(run / "model.onnx")
    assert {cost.objective for cost in manifest.predicted_costs} == set(predicted)
    assert {cost.unit for cost in manifest.measured_costs} == {"mJ", "ms", "MiB"}
    report = json.loads((run / "report.json").read_text())
    assert any("modelled" in warning for warning in report["warnings"])
    page = (run / "report.html").read_text()
    assert "Other costs of the files" in page
    assert "energy_mj, mJ (modelled)" in page
    assert main(["compile", str(run / "job.yaml"), "-o", str(run), "-q"]) == 0
    printed = capsys.readouterr().out
    assert "peak_memory_mib" in printed
    assert "energy_mj (modelled)" in printed

    # Nothing is measured twice, and a budget that nothing keeps names the least there is.
    before = (run / "measured/onnxruntime-costs.json").read_bytes()
    tight = job.changed(pick="peak_memory_mib <= 0.01 @ 90%")
    with pytest.raises(InfeasibleError, match=r"the least peak_memory_mib @ 90%"):
        api.compile_job(tight, run)
    api.compile_job(job, run)
    assert (run / "measured/onnxruntime-costs.json").read_bytes() == before


def test_a_budget_that_a_file_breaks_is_told(run: Path, job: Job) -> None:
    """The prediction is made to promise what no file can keep."""
    single = job.changed(objectives=("accuracy", "latency_ms"), pick="load_ms <= 5000")
    api.compile_job(single, run, until="profile")
    table = CostTable.load(run / "tables/onnxruntime-float32.load.csv")
    slug = load_device(single.device.id).fingerprint.slug
    assert table.passport.device.slug == slug
    for row in list(table.rows.values()):
        fields = {name: getattr(row, name) for name in row.__slots__}
        table.rows[row.operator] = type(row)(**fields | {"cost": 1e-6, "std": 1e-7})
    fit = table.passport.network_fit
    assert fit is not None
    changed = fit.model_copy(update={"overhead_cost": 0.001})
    table.passport = table.passport.model_copy(update={"network_fit": changed})
    promising = run.parent / "promising.csv"
    table.save(promising)
    tables = {"onnxruntime.load": str(promising)}
    wrong = api.with_tables(single.changed(pick="load_ms <= 0.01"), tables)
    result = api.compile_job(wrong, run)
    assert result.budget_kept is False
    assert result.proof is not None
    assert result.proof["files"][0]["costs"]["load_ms"]["budget_kept"] is False
    assert result.proof["files"][0]["budget_kept"] is False


def test_profile_and_predict_another_kind(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = api.pick(run)
    lines = tmp_path / "lines.jsonl"
    lines.write_text(json.dumps({"genes": result.front[0]["genes"]}))
    settings = [
        f"--set={key}={json.dumps(value)}" for key, value in result.job.space.settings.items()
    ]
    command = ["--space", "mbv3_tiny", *settings, "--kind", "cold_start"]
    assert main(["predict", str(lines), *command]) == 4
    assert "there is no cold_start table" in capsys.readouterr().err
    made = ["--networks", "20", "--sessions", "1", "--processes", "1"]
    assert main(["profile", *command, *made, "-q", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["passport"]["network_fit"]["n_networks"] == 20
    assert len(table["passport"]["parents"]) == 1  # the latencies that it starts from
    assert main(["predict", str(lines), *command]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["low_ms"] < found["cold_start_ms"] < found["high_ms"]
    assert main(["profile", *command, "-q"]) == 0  # it is there already
    assert "20 whole networks, 1 session(s)" in capsys.readouterr().out
