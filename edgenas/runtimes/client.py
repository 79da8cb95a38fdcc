"""The host's end of the measuring process: frames out, frames in, and what can go wrong."""

from __future__ import annotations

import json
import logging
import signal
import struct
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field

from edgenas.core.errors import (
    AgentError,
    DeviceError,
    DeviceTimeoutError,
    MissingExtraError,
    RefusedError,
)
from edgenas.hardware.connectors.base import RemoteProcess
from edgenas.hardware.device import Device
from edgenas.runtimes.agent_file import agent_path
from edgenas.runtimes.base import Count, EngineInfo, Reply

log = logging.getLogger(__name__)

PROTOCOL = 2
_MAX_FRAME_BYTES = 1 << 30
_QUIT_S = 2.0
_NO_NUMPY = "No module named 'numpy'"
_SHORTER = {
    "load": "an engine that is built there takes longest: try a smaller model, a higher power mode",
    "build": "allow it more time, or build a smaller network",
    "visit": "measure fewer runs at once",
}
"""What helps against a request that takes too long."""
# A numeric library must not start threads beside those that are measured.
_ENV = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}  # fmt: skip


class BenchInfo(EngineInfo):
    """What the measuring process runs with; `distribution` is the package of its engine."""

    distribution: str
    protocol: int
    python: str
    numpy: str
    pid: Count
    load_average: Annotated[float, Field(ge=0, allow_inf_nan=False)]


R = TypeVar("R", bound=Reply)


class AgentClient:
    """One measuring process on a device. After a timeout or a broken frame it is gone for good."""

    def __init__(
        self,
        device: Device,
        runtime: str,
        remedy: str,
        settings: Mapping[str, Any],
        *,
        module: str | None = None,
    ) -> None:
        self._device, self._runtime, self._settings = device, runtime, settings
        self._remedy, self._module = remedy, module
        self._n_requests = 0
        agent = device.connector.place(agent_path(module))
        self._process: RemoteProcess | None = device.connector.spawn([device.python, agent], _ENV)

    @property
    def alive(self) -> bool:
        """Whether requests can still be made."""
        return self._process is not None and self._process.status() is None

    def hello(self, timeout_s: float) -> BenchInfo:
        """Have the process load its engine, bind itself to its CPUs and tell about both.

        Raises:
            MissingExtraError: the engine is not installed on the device.
            AgentError: another protocol, CPUs that are not there, or no agent at all.
            DeviceTimeoutError: no answer in time.
        """
        return self.call(
            "hello",
            BenchInfo,
            timeout_s=timeout_s,
            protocol=PROTOCOL,
            runtime=self._runtime,
            module=self._module,
            settings=dict(self._settings),
        )

    def call(self, command: str, reply: type[R], *, timeout_s: float, **fields: Any) -> R:
        """Make one request and return its reply, checked against the type `reply`.

        Raises:
            AgentError: the process died, refused, or answered something else.
            DeviceTimeoutError: no answer in time; the process is killed.
            MissingExtraError: the engine is not installed on the device.
        """
        process = self._process
        if process is None:
            raise AgentError(f"{self._where} has ended; open a new bench")
        self._n_requests += 1
        request = {"id": self._n_requests, "command": command, "timeout_s": timeout_s, **fields}
        try:
            process.write(_frame(request), timeout_s)
            (size,) = struct.unpack(">I", process.read(4, timeout_s))
            if size > _MAX_FRAME_BYTES:
                raise AgentError(f"{self._where} sent a frame of {size} bytes, which is garbage")
            answer = json.loads(process.read(size, timeout_s))
            if not isinstance(answer, dict) or answer.pop("id", None) != self._n_requests:
                raise AgentError(f"{self._where} sent what answers no request: {answer!r:.200}")
            if answer.pop("ok", None) is True:
                return reply.model_validate_json(json.dumps(answer))
        except DeviceTimeoutError as error:
            self._end(kill=True)
            raise DeviceTimeoutError(
                f"{self._where} did not finish {command!r} within {timeout_s:g} s and was killed; "
                f"{_SHORTER.get(command, 'see what else runs there: edgenas doctor')}"
            ) from error
        except AgentError:
            self._end(kill=True)
            raise
        except DeviceError as error:
            raise self._death(command, error) from error
        except (ValueError, RecursionError) as error:  # so are pydantic's
            self._end(kill=True)
            raise AgentError(f"{self._where} answered {command!r} with garbage: {error}") from error
        except BaseException:  # interrupted: the reply would be taken for the next request's
            self._end(kill=True)
            raise
        raise self._refusal(command, answer)

    def kill(self) -> None:
        """End the process at once."""
        self._end(kill=True)

    def close(self) -> None:
        """Ask the process to end, and end it if it does not."""
        self._end(kill=False)

    @property
    def _where(self) -> str:
        return f"the measuring process of {self._runtime} on the device {self._device.id!r}"

    def _refusal(self, command: str, answer: Mapping[str, Any]) -> AgentError | MissingExtraError:
        error = answer.get("error")
        if not isinstance(error, dict):
            self._end(kill=True)
            return AgentError(f"{self._where} answered {command!r} with garbage: {answer!r:.200}")
        kind, message = error.get("kind"), error.get("message")
        if kind == "missing_engine":
            return self._missing(message)
        return RefusedError(f"{self._where} refused {command!r} ({kind}): {message}")

    def _missing(self, reason: object) -> MissingExtraError:
        return MissingExtraError(
            f"the runtime {self._runtime} is not installed for {self._device.python} on "
            f"the device {self._device.id!r} ({reason}); {self._remedy}"
        )

    def _death(self, command: str, error: DeviceError) -> AgentError | MissingExtraError:
        process = self._process
        status = process.wait(1.0) if process else None
        tail = process.stderr_tail() if process else ""
        self._end(kill=True)
        if _NO_NUMPY in tail:
            return self._missing(_NO_NUMPY)
        how = f"status {status}" if status is None or status >= 0 else _signal_name(-status)
        return AgentError(
            f"{self._where} died during {command!r} ({how}; {error}); "
            f"its last words: {tail or 'none'}"
        )

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.close_input()
        if not kill and process.wait(_QUIT_S) is None:
            log.info("%s does not end by itself; it is killed", self._where)
        process.kill()


def _frame(request: Mapping[str, Any]) -> bytes:
    body = json.dumps(request, allow_nan=False).encode()
    return struct.pack(">I", len(body)) + body


def _signal_name(number: int) -> str:
    try:
        return f"killed by {signal.Signals(number).name}"
    except ValueError:
        return f"killed by signal {number}"
