"""Exported picks against what other exporters make of the same torch module, timed in one run.

The same network as ``torch.onnx.export`` writes it, as ``litert_torch`` converts it (channels first, and last as it offers),
and as ``onnx2tf`` makes TFLite of torch's ONNX and of ours. All files of a runtime are timed together: visits in random
order, several processes. Peers need environments of their own, whose pins contradict each other:

    python -m benchmarks.exporting.peers write RUN --torch PYTHON --litert-torch PYTHON --onnx2tf PYTHON
    python -m benchmarks.exporting.peers time RUN

With ``--family SPACE`` RUN is a folder to be made, for a network of a space as great as phones run: its weights say nothing.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.environment import environment
from benchmarks.exporting.families import module_of, request_of
from benchmarks.exporting.picks import opened, pick_of
from edgenas.core.files import sha256_of, write_json
from edgenas.core.measurement import Measurement, MeasurementPlan
from edgenas.exporters import get
from edgenas.hardware.device import load_device
from edgenas.lowering.torch import GraphModule, run_graph
from edgenas.profiling.measure import measure_files

RESULTS = Path(__file__).parent / "results"
PLAN = MeasurementPlan(n_visits=80, n_runs=5, n_warmup=2, spread_s=30.0, n_processes=8, seed=3)
RUNTIMES = {".onnx": "onnxruntime", ".tflite": "litert"}
AGAIN = "edgenas_again"
"""A copy of ours: what two timings of one file differ by."""
_WRITER = Path(__file__).parent / "peers_write.py"


def main() -> None:
    """Write the peers' files of a run's pick, or time all files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("write", "time"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--family", help="in place of a pick: a space, hardly trained")
    parser.add_argument("--torch", type=Path, help="Python that has torch and onnxscript")
    parser.add_argument("--litert-torch", type=Path, help="Python that has it")
    parser.add_argument("--onnx2tf", type=Path, help="Python that has it; reads what torch writes")
    given = parser.parse_args()
    folder = given.run / "peers"  # kept with the run: nothing of it belongs into the repository
    if given.step == "write":
        pythons = {
            "torch": given.torch,
            "litert_torch": given.litert_torch,
            "onnx2tf": given.onnx2tf,
        }
        pythons = {name: python for name, python in pythons.items() if python is not None}
        write(given.run, folder, pythons, given.family)
    else:
        write_json(RESULTS / f"peers-{given.run.name}.json", timed(given.run, folder))


def write(
    run_folder: Path, folder: Path, pythons: Mapping[str, Path], family: str | None = None
) -> None:
    """Write the pick as a torch program, and have each peer make its file of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if family is None:
        module, request = pick_of(opened(run_folder))
    else:
        module = module_of(family, n_steps=1)
        request = request_of(module)
    for target in ("onnx", "tflite"):
        exporter = get(target)
        exporter.export(request, folder / f"edgenas{exporter.suffix}")
    sample = torch.zeros(1, *module.graph.in_shape)
    program = torch.export.export(_Plain(module).eval(), (sample,))
    torch.export.save(program, folder / "pick.pt2")
    for peer, python in pythons.items():
        subprocess.run([str(python), str(_WRITER), peer, str(folder)], check=True, timeout=1800)


class _Plain(nn.Module):
    """The network without what only training on CPUs wants, which no peer can express."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, shape (n, n_classes)."""
        return run_graph(self.module.graph, self.module.tensors(), images, training=False)


def timed(run_folder: Path, folder: Path) -> dict[str, Any]:
    """Return the latency of every file, by runtime, and its share of ours."""
    device = load_device("local")
    found: dict[str, Any] = {"run": run_folder.name, "environment": environment(), "peers": {}}
    for path in sorted(folder.glob("*.versions.json")):
        found["peers"] |= json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="edgenas-") as scratch:
        for suffix, runtime in RUNTIMES.items():
            files = {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}
            files[AGAIN] = Path(scratch) / f"{AGAIN}{suffix}"
            shutil.copy(files["edgenas"], files[AGAIN])
            measured = measure_files(device, runtime, files, PLAN)
            own = measured["edgenas"]
            found[runtime] = {
                name: {
                    "latency_ms": one.latency_ms,
                    "median_ms": one.percentile_ms(50),
                    "share_of_ours": shares(one, own),
                    "kib": round(files[name].stat().st_size / 1024, 1),
                    "sha256": sha256_of(files[name]),
                }
                for name, one in measured.items()
            }
            print(json.dumps(found[runtime], indent=1))
    return found


def shares(one: Measurement, own: Measurement) -> list[float]:
    """Return the share of ours in each measuring process, which all files were opened in."""
    return [round(a / b, 4) for a, b in zip(one.process_ms, own.process_ms, strict=True)]


if __name__ == "__main__":
    main()
