"""How long an 8-bit export takes with the recipe's 256 calibration images: finding ranges, writing.

python -m benchmarks.exporting.calibration
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.environment import environment
from benchmarks.exporting import families
from edgenas.core.files import write_json
from edgenas.exporters import get

RESULTS = Path(__file__).parent / "results" / "calibration.json"
FAMILIES = (
    "mobilenet_v3_large",
    "proxylessnas_mobile",
    "monas_condensenet",
    "ofa_resnet50",
    "mbv3_tiny",
)
"""As great as phones run, of the most operators, of the most MACs, and a tiny one."""


def main() -> None:
    """Time one export of each family, to ONNX: others begin with the same ranges."""
    rows = []
    for name in FAMILIES:
        request = families.request_of(families.module_of(name, n_steps=1))
        exporter = get("onnx", "int8")
        start = time.perf_counter()
        calibrated = exporter.with_calibration(request)
        found = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
            exporter.export(calibrated, Path(folder) / "model.onnx")
            written = time.perf_counter()
        ranges_s, writing_s = round(found - start, 2), round(written - found, 2)
        rows.append({"family": name, "ranges_s": ranges_s, "writing_s": writing_s})
        print(rows[-1], flush=True)
    write_json(RESULTS, {"rows": rows, "environment": environment()})


if __name__ == "__main__":
    main()
