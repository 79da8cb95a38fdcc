"""In the place of NVIDIA's `trtexec`: builds, runs, prints and exports as versions 8 to 11 do.

Started as a program it takes the tool's options; the first argument is the version it plays, the
second a fault. A run takes a time that follows from the engine's content alone.
"""

# ruff: noqa: T201 - it is a program

import json
import sys
import time
from pathlib import Path

KNOWN = {"onnx", "saveEngine", "loadEngine", "warmUp", "duration", "iterations", "avgRuns",
         "useSpinWait", "exportTimes", "exportProfile", "separateProfileRun", "noTF32", "fp16",
         "int8", "stronglyTyped", "help"}  # fmt: skip


IN_MS, OUT_MS = 0.11, 0.02


def times(version: int, n_runs: int, compute_ms: float) -> list[dict[str, float]]:
    """Return the export of times; early versions have other names.

    The computing of a run follows that of the one before; the copies are made beside it.
    """
    into, out_of = ("In", "Out") if version < 8200 else ("H2d", "D2h")
    found = []
    at_ms = 100.0
    for i in range(n_runs):
        compute = compute_ms * (1 + 0.01 * (i % 3))
        end_ms = at_ms + compute
        latency = IN_MS + compute + OUT_MS
        entry = {
            f"start{into}Ms": at_ms - IN_MS,
            f"end{into}Ms": at_ms,
            "startComputeMs": at_ms,
            "endComputeMs": end_ms,
            f"start{out_of}Ms": end_ms,
            f"end{out_of}Ms": end_ms + OUT_MS,
            f"{into.lower()}Ms": IN_MS,
            "computeMs": round(compute, 6),
            f"{out_of.lower()}Ms": OUT_MS,
            "latencyMs": round(latency, 6),
        }
        if version < 8200:
            entry["endToEndMs"] = round(latency + 0.3, 6)
        found.append(entry)
        at_ms = end_ms
    return found


def known(version: int) -> set[str]:
    """Return the options of a version: types are the file's if asked for, later always."""
    if version < 10000:
        return KNOWN - {"stronglyTyped"}
    return KNOWN - {"fp16", "int8"} if version >= 110000 else KNOWN


def main(version: int, fault: str, arguments: list[str]) -> int:
    options = dict(one.removeprefix("--").partition("=")[::2] for one in arguments)
    command = " ".join(["trtexec", *arguments])
    print(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # {command}")
    if "help" in options:
        print("=== Model Options ===")
        return 0

    def failed(problem: str) -> int:
        print(f"[11/22/2025-08:00:00] [E] {problem}")
        print(f"&&&& FAILED TensorRT.trtexec [TensorRT v{version}] # {command}")
        return 1

    if unknown := set(options) - known(version):
        return failed(f"Unknown option: {sorted(unknown)}")
    if "onnx" in options:
        content = Path(options["onnx"]).read_bytes()
        if not content.startswith(b"\x08"):
            return failed("ModelImporter.cpp: Failed to parse ONNX model from file")
        Path(options["saveEngine"]).write_bytes(b"engine of " + content)
        print("[11/22/2025-08:00:00] [I] Engine built in 12.5 sec.")
    else:
        content = Path(options["loadEngine"]).read_bytes()
        if not content.startswith(b"engine of "):
            return failed("Error[1]: [stdArchiveReader.cpp] Serialization assertion failed")
        verb = "loaded" if version < 8500 else "deserialized"
        print(f"[11/22/2025-08:00:00] [I] Engine {verb} in 0.0125 sec.")
    compute_ms = 1 + len(content) / 1e4
    duration_s = float(options["duration"])
    n_runs = max(int(options["iterations"]), round(duration_s * 1e3 / compute_ms))
    time.sleep(duration_s)
    if fault == "hang":
        time.sleep(600)
    if fault == "crash":
        return 139
    runs = times(version, n_runs - (fault == "short"), compute_ms)
    text = json.dumps(runs)
    Path(options["exportTimes"]).write_text(text[: len(text) // 2] if fault == "torn" else text)
    if "exportProfile" in options:
        layers = [{"name": name, "timeMs": 30.0, "averageMs": 0.3, "percentage": 50.0}
                  for name in ("Conv_0 + Relu_1", "Gemm_2")]  # fmt: skip
        Path(options["exportProfile"]).write_text(json.dumps([{"count": 100}, *layers]))
    print(f"&&&& PASSED TensorRT.trtexec [TensorRT v{version}] # {command}")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
