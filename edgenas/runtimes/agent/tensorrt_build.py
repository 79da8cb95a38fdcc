"""Builds TensorRT engines from ONNX files, with the timings of kernels that earlier builds kept."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path
from typing import Any, Callable

from edgenas.runtimes.agent import cuda
from edgenas.runtimes.agent.frames import Json, RefusalError
from edgenas.runtimes.agent.tensorrt_log import log_of, refusal

_ALLOWED = {"float16": ("FP16",), "int8": ("INT8",)}
"""What a builder without strong typing must be allowed for a file of a precision."""
_FAST = {"float16": "platform_has_fast_fp16", "int8": "platform_has_fast_int8"}
"""What a builder says of a GPU, as long as its version does: without it another type is taken."""
_TIMES_NOTHING = "tensorrt_rtx"
"""The package that tries no kernels when it builds; its timing cache is deprecated and empty."""
_HASH_DIGITS = 16


def build_file(trt: Any, settings: Json, request: Json) -> Json:
    """Build the ONNX file `path` into the engine file `target`, which is whole or absent.

    `folder` keeps timings between builds, for this engine (`key`) and GPU alone; None keeps none.

    Raises:
        RefusalError: of the kinds ``gpu``, ``precision``, ``operator``, ``build`` and ``disk``.
    """
    found = cuda.gpu(cuda.open_library())
    wanted = request["compute_capability"]
    if wanted not in (None, found["compute_capability"]):
        raise RefusalError("gpu", f"an engine for compute capability {wanted} is asked for, and "
                           f"{found['name']} has {found['compute_capability']}")  # fmt: skip
    timings = None
    if request["folder"] is not None:
        timings = Timings(Path(request["folder"]), timings_key(request["key"], found))
    start = time.perf_counter_ns()
    content = built(trt, settings, Path(request["path"]).read_bytes(), timings=timings)
    build_ms = (time.perf_counter_ns() - start) / 1e6
    try:
        _write(Path(request["target"]), content)
    except OSError as error:
        raise RefusalError("disk", f"the engine of {len(content)} bytes cannot be written: "
                           f"{error.strerror}: {request['target']}") from error  # fmt: skip
    return {"build_ms": build_ms, **found, "timings": None if timings is None else timings.told()}


def built(trt: Any, settings: Json, content: bytes, *, timings: Timings | None = None) -> bytes:
    """Return the engine of an ONNX file.

    Types are those of the file. A version without strong typing (before 10) would take others if
    it were allowed them; it is allowed what the precision needs, and float32 needs nothing.
    """
    log = log_of(trt)
    log.lines.clear()
    try:
        builder = trt.Builder(log)
    except Exception as error:  # the bindings' own; why, is in the log
        raise refusal("build", f"TensorRT cannot begin to build ({error})", log) from error
    fast = _FAST.get(settings["precision"])
    if fast is not None and getattr(builder, fast, True) is False:
        raise RefusalError("precision", f"this GPU has no {settings['precision']} of its own: "
                           f"TensorRT would take another precision ({fast} is False)")  # fmt: skip
    network, typed = _parsed(trt, builder, log, content)
    config = builder.create_builder_config()
    if not typed:
        for name in _ALLOWED.get(settings["precision"], ()):
            config.set_flag(getattr(trt.BuilderFlag, name))
    if not settings["tf32"]:
        config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if str(getattr(trt, "__name__", "")).startswith(_TIMES_NOTHING):
        timings = None

    def serialised() -> Any:
        return builder.build_serialized_network(network, config)

    engine = serialised() if timings is None else timings.around(serialised, config, log)
    if engine is None:
        raise refusal("build", "TensorRT cannot build the engine", log)
    return bytes(engine)


def _parsed(trt: Any, builder: Any, log: Any, content: bytes) -> tuple[Any, bool]:
    """Return the network of an ONNX file, and whether its types are the file's."""
    creation = trt.NetworkDefinitionCreationFlag
    typed = hasattr(creation, "STRONGLY_TYPED")  # where not, shapes are asked to hold the batch
    flag = creation.STRONGLY_TYPED if typed else creation.EXPLICIT_BATCH
    network = builder.create_network(1 << int(flag))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(content):
        errors = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        raise refusal("operator", "TensorRT cannot parse the ONNX file", log, errors)
    return network, typed


def timings_key(engine: str, gpu: Json) -> str:
    """Return what names the timings of an engine's version on a kind of GPU."""
    text = f"{engine}-{gpu['name']}-{gpu['compute_capability']}".lower()
    return re.sub(r"[^a-z0-9.]+", "-", text).strip("-.")


class Timings:
    """TensorRT's timing cache in a file whose name ends with the hash of its content.

    What is damaged, or of another version, is left out and told as `problem`; no build fails
    for it.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self.used_bytes = self.kept_bytes = 0
        self.problem = ""

    def told(self) -> Json:
        """Return what came of it."""
        return {
            "used_bytes": self.used_bytes,
            "kept_bytes": self.kept_bytes,
            "problem": self.problem,
        }

    def around(self, build: Callable[[], Any], config: Any, log: Any) -> Any:
        """Return what `build` makes with what is kept, or without; keep what it has found out."""
        self.attach(config, log)
        engine = build()
        if engine is None and self.used_bytes and self._attached(config, log, b""):
            engine = build()
            if engine is not None:
                self.used_bytes = 0
                self.problem = "TensorRT could not build with what was kept"
        if engine is not None:
            self.keep(config)
        return engine

    def attach(self, config: Any, log: Any) -> None:
        """Have a build begin with what is kept, or with nothing."""
        content = self._read()
        if content and not self._attached(config, log, content):
            self.problem = "what was kept is of another version of TensorRT, or damaged"
            self._remove(keep=None)
            content = b""
        if not content and not self._attached(config, log, b""):
            self.problem = "this TensorRT takes no timing cache"
        self.used_bytes = len(content)

    def keep(self, config: Any) -> None:
        """Keep what the build has found out."""
        try:
            cache = config.get_timing_cache()
            content = b"" if cache is None else bytes(cache.serialize())
            if not content:
                return
            name = f"{self._key}.{_hash(content)}.cache"
            _write(self._folder / name, content)
            self._remove(keep=name)
            self.kept_bytes = len(content)
        except Exception as error:  # noqa: BLE001 - the engine is there; the next build takes longer
            self.problem = f"timings could not be kept: {error}"

    def _attached(self, config: Any, log: Any, content: bytes) -> bool:
        before = len(log.lines)
        try:
            cache = config.create_timing_cache(content)
            taken = cache is not None and config.set_timing_cache(cache, ignore_mismatch=False)
        except Exception:  # noqa: BLE001 - whatever it is, there are no timings then
            return False
        # Over a damaged one TensorRT may return an empty one, and say so.
        said = " ".join(log.lines[before:]).lower()
        del log.lines[before:]  # it is no reason why a build fails later
        return bool(taken) and "timing cache" not in said

    def _read(self) -> bytes:
        for path in self._paths():
            try:
                content = path.read_bytes()
            except OSError as error:
                self.problem = f"what was kept cannot be read: {error.strerror}"
                continue
            if path.name == f"{self._key}.{_hash(content)}.cache":
                return content
            self.problem = f"{path.name} is damaged"
            self._remove(keep=None)
        return b""

    def _remove(self, *, keep: str | None) -> None:
        for path in self._paths():
            if path.name != keep:
                try:
                    path.unlink()
                except OSError:
                    continue  # it stays, and is told of again

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._key}.{'?' * _HASH_DIGITS}.cache"))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]


def _write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        if part.exists():
            part.unlink()
