"""The loop of requests and replies, and what each request does."""

from __future__ import annotations

import gc
import os
import platform
import signal
import time
from array import array
from functools import partial
from pathlib import Path
from typing import BinaryIO, Callable

import numpy as np

from edgenas.runtimes.agent import engines, process
from edgenas.runtimes.agent.frames import (
    PROTOCOL,
    Json,
    RefusalError,
    Requests,
    decoded,
    encoded,
    write_frame,
)
from edgenas.runtimes.agent.model import Model, described
from edgenas.runtimes.agent.sampling import Sampler

GRACE_S = 5.0
"""The host gives up at a request's timeout; this much later the process ends by itself."""
MAX_RUNS_SENT = 1 << 16


class Agent:
    """The state of the process: the engine, the loaded models, the sensors being read."""

    def __init__(self) -> None:
        self._greeted = False
        self._models: dict[str, Model] = {}
        self._sampler: Sampler | None = None
        self._runs = (array("q"), array("q"))

    def answer(self, request: Json) -> Json:
        """Return the reply to one request, without its `id`.

        Raises:
            RefusalError: the request is wrong or the engine refuses.
        """
        commands: dict[str, Callable[[Json], Json]] = {
            "hello": self._hello,
            "load": self._load,
            "unload": self._unload,
            "visit": self._visit,
            "sustain": self._sustain,
            "runs": self._sustained,
            "sample": self._sample,
            "readings": self._readings,
            "infer": self._infer,
            "gpu": lambda request: self._engine.model.gpu(),
            "build": self._build,
            "nodes": lambda request: {"nodes": self._model(request["key"]).nodes()},
            "memory": lambda request: _memory(),
        }
        command = request["command"]
        if command not in commands or (command != "hello" and not self._greeted):
            raise RefusalError("protocol", f"{command!r} is no command, or came before 'hello'")
        return commands[command](request)

    def close(self) -> None:
        """End what runs beside the requests."""
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None

    def _hello(self, request: Json) -> Json:
        if request["protocol"] != PROTOCOL:
            raise RefusalError("protocol", f"protocol {PROTOCOL} here, {request['protocol']} asked")
        settings = request["settings"]
        # The engine may size its pools when it is imported.
        self._allowed = process.allowed_cpus()
        self._affinity = process.pin(settings["affinity"], settings["threads"])
        engine = engines.load(request["runtime"], request.get("module"))
        self._open: Callable[[str], Model] = partial(engine.model, engine.module, settings)
        self._engine, self._settings = engine, settings
        self._greeted = True
        gc.freeze()  # what was imported stays; collecting must not walk over it
        return {
            "protocol": PROTOCOL,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "engine": request["runtime"],
            "engine_version": engine.version,
            "distribution": engine.distribution,
            "pid": os.getpid(),
            "affinity": self._affinity,
            "threads": settings["threads"],
            "timer_resolution_ns": process.timer_resolution_ns(),
            "load_average": os.getloadavg()[0],
        }

    def _load(self, request: Json) -> Json:
        key, path = request["key"], request["path"]
        if key in self._models:
            raise RefusalError("key", f"the key {key!r} is loaded already")
        if not Path(path).is_file():
            raise RefusalError("model", f"no such file on the device: {path}")
        gc.collect()
        known = process.reset_peak()
        before_kib = process.rss_kib()
        try:
            start = time.perf_counter_ns()
            model = self._open(path)
            loaded = time.perf_counter_ns()
            model.fill()
            filled = time.perf_counter_ns()
            model.start()
            ran = time.perf_counter_ns()
            peak_kib = process.peak_kib()
            model.finish()
        except RefusalError:
            raise
        except Exception as error:
            raise RefusalError("model", f"{type(error).__name__}: {error}") from error
        self._models[key] = model
        return {
            "load_ms": (loaded - start) / 1e6 - model.build_ms,
            "build_ms": model.build_ms,
            "first_ms": (ran - filled) / 1e6,
            "rss_before_kib": before_kib,
            "rss_kib": process.rss_kib(),
            "peak_kib": peak_kib if known and peak_kib else None,
            "inputs": model.inputs,
            "outputs": model.outputs,
            "delegated": model.delegated,
            "outside": model.outside,
        }

    def _build(self, request: Json) -> Json:
        """Build an engine file from a model file; nothing is loaded by it."""
        if not Path(request["path"]).is_file():
            raise RefusalError("model", f"no such file on the device: {request['path']}")
        gc.collect()
        settings = {**self._settings, "tf32": request["tf32"]}
        try:
            return self._engine.model.build(self._engine.module, settings, request)
        except RefusalError:
            raise
        except MemoryError as error:
            raise RefusalError("memory", "the device is out of memory") from error
        except Exception as error:
            raise RefusalError("build", f"{type(error).__name__}: {error}") from error

    def _unload(self, request: Json) -> Json:
        self._model(request["key"])
        del self._models[request["key"]]
        gc.collect()
        return _memory()

    def _visit(self, request: Json) -> Json:
        n_warmup, n_runs = request["n_warmup"], request["n_runs"]
        deadline_s = request.get("deadline_s")
        models = [(key, self._model(key)) for key in request["sequence"]]
        visits: list[Json] = []
        start_ns = process.now_ns()
        for key, model in models:
            now_ns = process.now_ns()
            if deadline_s is not None and now_ns - start_ns >= deadline_s * 1e9:
                break
            samples = _time(model.run, n_warmup, n_runs)
            visits.append({"key": key, "at_ns": now_ns, "samples_ns": samples})
        return {"visits": visits}

    def _sustain(self, request: Json) -> Json:
        """Run a model back to back for a time, or, without one, leave the device alone."""
        duration_ns = int(request["duration_s"] * 1e9)
        self._runs = (array("q"), array("q"))
        known = process.reset_peak()
        start_ns = process.now_ns()
        if request["key"] is None:
            time.sleep(duration_ns / 1e9)
        else:
            _time_for(self._model(request["key"]).run, duration_ns, self._runs)
        end_ns = process.now_ns()
        peak_kib = process.peak_kib()
        return {
            "start_ns": start_ns,
            "end_ns": end_ns,
            "n_runs": len(self._runs[0]),
            "peak_kib": peak_kib if known and peak_kib else None,
        }

    def _sustained(self, request: Json) -> Json:
        """Return a part of the last sustained runs: when each began, and how long it took."""
        part = slice(request["offset"], request["offset"] + min(request["count"], MAX_RUNS_SENT))
        return {"at_ns": list(self._runs[0][part]), "samples_ns": list(self._runs[1][part])}

    def _sample(self, request: Json) -> Json:
        """Read these sources from now on, and no others."""
        self.close()
        if request["sources"]:
            self._sampler = Sampler(request["sources"], taken=self._affinity, allowed=self._allowed)
        return {}

    def _readings(self, request: Json) -> Json:
        if self._sampler is None:
            raise RefusalError("sensor", "nothing is being sampled; 'sample' names the sources")
        taken, n_dropped, more = self._sampler.take()
        readings = [
            {"source": name, "at_ns": at_ns, "values": values} for name, at_ns, values in taken
        ]
        return {"readings": readings, "n_dropped": n_dropped, "more": more}

    def _infer(self, request: Json) -> Json:
        model = self._model(request["key"])
        feeds = {name: decoded(text) for name, text in request["inputs"].items()}
        given = [described(name, array) for name, array in feeds.items()]
        if sorted(map(str, given)) != sorted(map(str, model.inputs)):
            raise RefusalError("input", f"the inputs are {model.inputs}, not {given}")
        results = model.infer(feeds)
        return {"outputs": {name: encoded(array) for name, array in results.items()}}

    def _model(self, key: str) -> Model:
        if key not in self._models:
            raise RefusalError("key", f"no model is loaded under the key {key!r}")
        return self._models[key]


def _memory() -> Json:
    return {"rss_kib": process.rss_kib()}


def _time(run: Callable[[], object], n_warmup: int, n_runs: int) -> list[int]:
    clock = time.perf_counter_ns
    for _ in range(n_warmup):
        run()
    samples = [0] * n_runs
    for index in range(n_runs):
        start = clock()
        run()
        samples[index] = clock() - start
    return samples


def _time_for(
    run: Callable[[], object], duration_ns: int, runs: tuple[array[int], array[int]]
) -> None:
    """Run until `duration_ns` are over, at least once; fill in when, and how long each took."""
    clock = process.now_ns
    starts, samples = runs
    end = clock() + duration_ns
    while True:
        start = clock()
        run()
        done = clock()
        starts.append(start)
        samples.append(done - start)
        if done >= end:
            return


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until there are no more."""
    agent = Agent()
    waiting = Requests(requests)
    gc.disable()
    while (request := waiting.next()) is not None:
        if request["command"] == "quit":
            write_frame(replies, {"id": request["id"], "ok": True})
            break
        # The default action of the alarm ends the process even inside a hung engine.
        signal.setitimer(signal.ITIMER_REAL, request["timeout_s"] + GRACE_S)
        try:
            reply = {"ok": True, **agent.answer(request)}
        except RefusalError as error:
            reply = {"ok": False, "error": {"kind": error.kind, "message": str(error)}}
        except Exception as error:  # noqa: BLE001 - the host decides what an engine's error means
            message = f"{type(error).__name__}: {error}"
            reply = {"ok": False, "error": {"kind": "engine", "message": message}}
        signal.setitimer(signal.ITIMER_REAL, 0)
        write_frame(replies, {"id": request["id"], **reply})
    agent.close()


def main() -> None:
    """Keep the standard streams for frames; whatever else is printed goes to the error stream."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    serve(requests, replies)
