"""In the place of NVIDIA's `trtexec`: builds, runs, prints and exports as versions 8 to 11 do.

Started as a program it takes the tool's options; the first argument is the version it plays, the
second a fault, or ``gpu=NAME`` for another GPU than an Orin. A run takes a time that follows from
the engine's content alone; what it answers is computed by ONNX Runtime where it is asked for.
"""

# ruff: noqa: T201 - it is a program

import hashlib
import json
import os
import signal
import sys
import time
from math import prod
from pathlib import Path
from typing import Any

KNOWN = {"onnx", "saveEngine", "loadEngine", "warmUp", "duration", "iterations", "avgRuns",
         "useSpinWait", "exportTimes", "exportProfile", "separateProfileRun", "noTF32", "fp16",
         "int8", "stronglyTyped", "help", "timingCacheFile", "buildOnly", "skipInference",
         "loadInputs", "exportOutput"}  # fmt: skip


IN_MS, OUT_MS = 0.11, 0.02
ENGINE, TIMINGS = b"engine of ", b"timings of "
CAPABILITIES = {"Orin": "8.7", "Xavier": "7.2"}
MAGIC = (
    "Error[1]: [stdArchiveReader.cpp::StdArchiveReader::32] Error Code 1: Serialization "
    "(Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match)"
)
PROBLEMS = {
    "operator": [
        '[TRT] ModelImporter.cpp:773: While parsing node number 1 [HardSwish -> "act"]:',
        "[TRT] ModelImporter.cpp:779: ERROR: ModelImporter.cpp:180 In function parseGraph: [6] "
        "Invalid Node - act. No importer registered for op: HardSwish",
        "Failed to parse onnx file",
    ],
    "memory": [
        "Error[1]: [defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "Error[10]: IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not "
        "find any implementation for node {ForeignNode[conv...Gemm]}.)",
        "Engine could not be created from network",
    ],
    "full": ["Saving engine to file failed."],
}


class FailedError(Exception):
    """The tool says why, and that it failed."""


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
    options = KNOWN - ({"skipInference"} if version < 8600 else set())
    if version < 10000:
        return options - {"stronglyTyped"}
    return options - {"fp16", "int8", "buildOnly"} if version >= 110000 else options


def say(level: str, text: str) -> None:
    print(f"[11/22/2025-08:00:00] [{level}] {text}")


def ends_of(model: bytes) -> dict[str, list[tuple[str, list[int]]]]:
    """Return the names and dimensions of an ONNX file's inputs and outputs."""
    import site

    site.main()  # it was left out, as it takes time
    import onnx

    graph = onnx.load_from_string(model).graph
    weights = {one.name for one in graph.initializer}
    return {
        end: [
            (one.name, [size.dim_value or 1 for size in one.type.tensor_type.shape.dim])
            for one in tensors
            if one.name not in weights
        ]
        for end, tensors in (("input", graph.input), ("output", graph.output))
    }


def timings(version: int, path: Path) -> set[str]:
    """Return the networks that a timing cache knows; over a wrong one early versions give up."""
    if not path.is_file():
        say("W", f"[TRT] Could not read timing cache from: {path}. A new timing cache will be "
            "generated and written.")  # fmt: skip
        return set()
    head, _, rest = path.read_bytes().partition(b"\n")
    say("I", f"[TRT] Loaded {path.stat().st_size} bytes of timing cache from {path}")
    if head == TIMINGS + str(version).encode():  # of which GPU it is it does not look at
        return set(rest.decode().split())
    say("E", MAGIC)
    if version < 8600:
        raise FailedError("TimingCache creation failed")
    say("E", "Error[4]: The timing cache will not be used!")
    return set()


def build(version: int, gpu: str, fault: str, options: dict[str, str]) -> None:
    model = Path(options["onnx"]).read_bytes()
    if not model.startswith(b"\x08"):
        raise FailedError("ModelImporter.cpp: Failed to parse ONNX model from file")
    if fault == "hang":
        time.sleep(600)
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    cache = Path(options["timingCacheFile"]) if "timingCacheFile" in options else None
    names = timings(version, cache) if cache else set()
    if fault == "native":
        say("W", "[TRT] Half2 support requested on hardware without native FP16 support, "
            "performance will be negatively affected.")  # fmt: skip
    for problem in PROBLEMS.get(fault, [])[:-1]:
        say("E", problem)
    if fault in PROBLEMS:
        raise FailedError(PROBLEMS[fault][-1])
    head = {"version": version, "gpu": gpu, **ends_of(model)}
    Path(options["saveEngine"]).write_bytes(ENGINE + json.dumps(head).encode() + b"\n" + model)
    name = hashlib.sha256(model).hexdigest()
    say("I", f"Engine built in {0.5 if name in names else 12.5} sec.")
    if cache:
        known_now = "\n".join(sorted({*names, name})).encode()
        cache.write_bytes(TIMINGS + str(version).encode() + b"\n" + known_now)
        cache.with_name(f"{cache.name}.lock").touch()


def load(version: int, gpu: str, path: Path) -> tuple[dict[str, Any], bytes]:
    if not path.is_file():
        raise FailedError(f"Error opening engine file: {path}")
    content = path.read_bytes()
    if not content.startswith(ENGINE) or b"\n" not in content:
        raise FailedError("Error[1]: [stdArchiveReader.cpp] Serialization assertion failed")
    line, _, model = content[len(ENGINE) :].partition(b"\n")
    head = json.loads(line)
    if head["version"] != version:
        raise FailedError("Error[6]: The engine plan file is not compatible with this version of "
                          f"TensorRT, expecting library version {version} got {head['version']}, "
                          "please rebuild.")  # fmt: skip
    if head["gpu"] != gpu:
        raise FailedError("Error[6]: The engine plan file is generated on an incompatible device, "
                          f"expecting compute {CAPABILITIES[gpu]} got compute "
                          f"{CAPABILITIES[head['gpu']]}, please rebuild.")  # fmt: skip
    say("I", f"Engine {'loaded' if version < 8500 else 'deserialized'} in 0.0125 sec.")
    for end in ("input", "output"):
        for name, shape in head[end]:
            size = "x".join(map(str, shape))
            text = f"binding for {name} with dimensions {size}"
            say("I", f"Created {end} {text}" if version < 8500
                else f"{end.title()} {text} is created.")  # fmt: skip
    return head, model


def answer(head: dict[str, Any], model: bytes, fault: str, options: dict[str, str]) -> None:
    """Compute the outputs for the inputs of files, and export them as the tool does."""
    import site

    site.main()
    import numpy as np
    import onnxruntime

    files = dict(one.rsplit(":", 1) for one in options["loadInputs"].split(","))
    feeds = {}
    for name, shape in head["input"]:
        content = Path(files[name]).read_bytes()
        if len(content) != 4 * prod(shape):
            raise FailedError(f"Unexpected file size for input file: {files[name]}.")
        feeds[name] = np.frombuffer(content, np.float32).reshape(shape)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    lines = []
    for (name, shape), array in zip(head["output"], session.run(None, feeds), strict=True):
        values = array.reshape(-1)
        if fault == "nan":
            values = values * np.float32("nan")
        lines.append(
            f'{{ "name" : "{name}"\n  , "dimensions" : "{"x".join(map(str, shape))}"\n'
            f'  , "values" : [ {", ".join(f"{float(one):g}" for one in values)} ]\n  }}\n'
        )
    text = "[\n  " + ", ".join(lines) + "]\n"
    torn = text[: len(text) // 2] if fault == "torn_output" else text
    Path(options["exportOutput"]).write_text(torn)


def run(version: int, fault: str, options: dict[str, str]) -> int:
    gpu = fault.removeprefix("gpu=") if fault.startswith("gpu=") else "Orin"
    say("I", "=== Device Information ===")
    if fault == "no_gpu":
        raise FailedError("Cuda failure: no CUDA-capable device is detected")
    say("I", f"Selected Device: {gpu}")
    say("I", f"Compute Capability: {CAPABILITIES[gpu]}")
    if "onnx" in options:
        build(version, gpu, fault, options)
        if options.keys() & {"buildOnly", "skipInference"}:
            say("I", "Skipped inference phase since --skipInference is added.")
            return 0
        content = Path(options["saveEngine"]).read_bytes()
    else:
        path = Path(options["loadEngine"])
        head, model = load(version, gpu, path)
        content = path.read_bytes()
        if "exportOutput" in options:
            answer(head, model, fault, options)
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
    return 0


def main(version: int, fault: str, arguments: list[str]) -> int:
    options = dict(one.removeprefix("--").partition("=")[::2] for one in arguments)
    command = " ".join(["trtexec", *arguments])
    print(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # {command}")
    if "help" in options:
        print("=== Model Options ===")
        return 0
    try:
        if unknown := set(options) - known(version):
            raise FailedError(f"Unknown option: {sorted(unknown)}")
        status = run(version, fault, options)
    except FailedError as error:
        say("E", str(error))
        print(f"&&&& FAILED TensorRT.trtexec [TensorRT v{version}] # {command}")
        return 1
    if status == 0:
        print(f"&&&& PASSED TensorRT.trtexec [TensorRT v{version}] # {command}")
    return status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
