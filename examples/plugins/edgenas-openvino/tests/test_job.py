"""The whole chain with OpenVINO's latency as the objective and its file as the result."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgenas.costs.table import CostTable
from edgenas.exporters.manifest import read_manifest
from edgenas.study.api import compile_job
from edgenas.study.verify import verify

JOB = """\
schema_version: 1
name: openvino
data: {source: digits}
device: {runtime: openvino}
space:
  preset: mbv3_tiny
  settings:
    resolutions: [16]
    kernels: [3]
    expansions: [2, 3]
    stages:
      - {width: 16, stride: 2, depths: [1, 2], squeeze_excite: false, activation: relu}
      - {width: 24, stride: 2, depths: [1, 2], squeeze_excite: true, activation: h_swish}
    final_width: 64
    mix_width: 96
profile:
  {n_networks: 20, n_operator_visits: 2, n_network_visits: 2, n_pools: 1, n_sessions: 2,
    n_session_networks: 10, least_session_s: 0, n_runs: 1}
training: {epochs: 1, batch_size: 128}
search: {n_evaluations: 6, population: 4}
finetune: {epochs: 0}
export: {targets: [openvino]}
measure: {n_front_networks: 2, n_visits: 2, n_runs: 1, spread_s: 0, n_processes: 2}
"""


@pytest.mark.filterwarnings("default")
def test_a_job_ends_in_a_file_that_was_timed(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    result = compile_job(job, tmp_path / "run")
    (path,) = result.files
    assert path.name == "model.ovz"
    manifest = read_manifest(path)
    assert (manifest.target, manifest.precision) == ("openvino", "float32")
    assert {"openvino", "edgenas-openvino"} <= set(manifest.versions)
    assert manifest.predicted_latency is not None
    assert manifest.measured_latency is not None
    assert manifest.measured_latency.runtime == "openvino"
    assert "values" in {check.name for check in manifest.checks if check.passed}
    assert result.proof is not None
    assert {entry["runtime"] for entry in result.proof["front"]} == {"openvino"}
    bundle = tmp_path / "run/bundle/openvino"
    for program in ("check/check.py", "examples/python/classify.py"):
        assert (bundle / program).is_file()
    check = [sys.executable, str(bundle / "check/check.py"), "--json"]
    done = subprocess.run(check, capture_output=True, timeout=120, check=True, cwd=tmp_path)
    assert json.loads(done.stdout)["agrees"] is True
    assert verify(bundle).exit_code == 0
    table = CostTable.load(tmp_path / "run/tables/openvino-float32.csv")
    assert table.passport.runtime.name == "openvino"
    assert table.passport.runtime.version == manifest.measured_latency.runtime_version
    assert table.passport.runtime.settings["bf16"] is False
