"""Exported picks against what other exporters make of the same torch module, timed in one run.

The same network as ``torch.onnx.export`` writes it, as ``litert_torch`` converts it (channels first, and last as it offers),
and as ``onnx2tf`` makes TFLite of torch's ONNX and of ours. All files of a runtime are timed together: visits in random
order, several processes. Peers need environments of their own, whose pins contradict each other:

    python -m benchmarks.exporting.peers write RUN --litert-torch PYTHON --onnx2tf PYTHON
    python -m benchmarks.exporting.peers time RUN
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import environment
from edgenas.core.files import sha256_of, write_json
from edgenas.core.measurement import MeasurementPlan
from edgenas.hardware.device import load_device
from edgenas.profiling.measure import measure_files
from edgenas.study.context import Run
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps.quantise import load_model

RESULTS = Path(__file__).parent / "results"
PLAN = MeasurementPlan(n_visits=120, n_runs=5, n_warmup=2, spread_s=120.0, n_processes=8, seed=3)
RUNTIMES = {".onnx": "onnxruntime", ".tflite": "litert"}
_WRITER = Path(__file__).parent / "peers_write.py"


def main() -> None:
    """Write the peers' files of a run's pick, or time all files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("write", "time"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--litert-torch", type=Path, help="Python that has it")
    parser.add_argument("--onnx2tf", type=Path, help="Python that has it")
    given = parser.parse_args()
    folder = given.run / "peers"
    if given.step == "write":
        pythons = {"litert_torch": given.litert_torch, "onnx2tf": given.onnx2tf}
        write(given.run, folder, {k: v for k, v in pythons.items() if v is not None})
    else:
        write_json(RESULTS / f"peers-{given.run.name}.json", timed(given.run, folder))


def write(run_folder: Path, folder: Path, pythons: Mapping[str, Path]) -> None:
    """Write the pick as a torch program, and have each peer make its file of it."""
    folder.mkdir(exist_ok=True)
    opened = RunFolder(run_folder)
    module = load_model(Run(opened, opened.job()))
    sample = torch.zeros(1, *module.graph.in_shape)
    program = torch.export.export(module.eval(), (sample,))
    torch.export.save(program, folder / "pick.pt2")
    torch.onnx.export(module, (sample,), str(folder / "torch.onnx"), dynamo=True)
    for peer, python in pythons.items():
        subprocess.run([str(python), str(_WRITER), peer, str(folder)], check=True, timeout=1800)


def timed(run_folder: Path, folder: Path) -> dict[str, Any]:
    """Return the latency of every file, by runtime, and its share of ours."""
    device = load_device("local")
    found: dict[str, Any] = {"run": run_folder.name, "environment": environment()}
    for suffix, runtime in RUNTIMES.items():
        files = {"edgenas": run_folder / f"model{suffix}"}
        files |= {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}
        measured = measure_files(device, runtime, files, PLAN)
        own = measured["edgenas"].latency_ms
        found[runtime] = {
            name: {
                "latency_ms": one.latency_ms,
                "median_ms": one.percentile_ms(50),
                "share_of_ours": one.latency_ms / own,
                "kib": files[name].stat().st_size / 1024,
                "sha256": sha256_of(files[name]),
            }
            for name, one in measured.items()
        }
        print(json.dumps(found[runtime], indent=1))
    return found


if __name__ == "__main__":
    main()
