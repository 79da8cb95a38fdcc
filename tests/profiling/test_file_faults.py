"""A file that takes its measuring process with it is at fault; a device that is lost is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError, RefusedError
from edgenas.exporters import get
from edgenas.hardware.device import Device, load_device
from edgenas.profiling import file_checks, file_faults, retrying
from edgenas.profiling.file_checks import IN_DEVICE, OPENS, check_on_device
from edgenas.profiling.file_faults import Blaming, Fault, run_or_blame
from edgenas.runtimes.base import Bench
from edgenas.runtimes.bench import open_bench
from edgenas.testing.exporter import small_request
from edgenas.testing.peers import Peer, check_clean, local_peer

LOST = AgentError("the measuring process died")
N_ATTEMPTS = 3


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A device with a lock of its own and something to prepare."""
    found = local_peer(tmp_path / "peer")
    monkeypatch.setenv("EDGENAS_HOME", str(found.home))
    monkeypatch.setattr(retrying, "_RETRY_S", (0.0,))
    monkeypatch.setattr(file_faults, "_PAUSE_S", 0.0)
    return found


@pytest.fixture
def device(peer: Peer) -> Device:
    return load_device(peer.device_file(lock={"folder": str(peer.folder / "lock")}))


@pytest.fixture(autouse=True)
def _clean(peer: Peer) -> Iterator[None]:
    """Whatever came of it, nothing is held, changed or still running."""
    yield
    check_clean(peer)


def failing(
    device: Device, error: DeviceError, times: int
) -> tuple[Callable[[Blaming], int], list[int]]:
    """Return an attempt that claims as a bench does and fails some times, and all of them."""
    made: list[int] = []

    def attempt(blaming: Blaming) -> int:
        with device.claim(), blaming():
            made.append(len(made))
            if len(made) <= times:
                raise error
        return len(made)

    return attempt, made


@pytest.mark.parametrize("error", [LOST, DeviceTimeoutError("no answer within 60 s")])
@pytest.mark.parametrize("times", range(N_ATTEMPTS + 1))
def test_what_is_lost_every_time_is_the_files_fault(
    device: Device, error: DeviceError, times: int
) -> None:
    attempt, made = failing(device, error, times)
    found = run_or_blame(device, attempt)
    assert found == (Fault(str(error)) if times == N_ATTEMPTS else times + 1)
    assert len(made) == min(times + 1, N_ATTEMPTS)


def test_a_refusal_is_the_files_fault_at_once(device: Device) -> None:
    attempt, made = failing(device, RefusedError("refused 'load': no such operator"), 9)
    assert run_or_blame(device, attempt) == Fault("refused 'load': no such operator")
    assert len(made) == 1


def test_what_fails_before_the_file_is_the_devices_fault(device: Device) -> None:
    def attempt(blaming: Blaming) -> None:
        raise AgentError("the measuring process does not come up")

    with pytest.raises(AgentError, match="does not come up"):
        run_or_blame(device, attempt)


def test_a_device_that_is_gone_between_two_attempts_is_no_fault_of_the_file(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renew(_: Device) -> None:
        raise DeviceTimeoutError("the board does not answer")

    attempt, made = failing(device, LOST, 9)
    monkeypatch.setattr(Device, "renew", renew)
    with pytest.raises(DeviceTimeoutError, match="the board"):
        run_or_blame(device, attempt)
    assert len(made) == 1


def test_what_the_device_loses_between_counts_for_the_file(device: Device) -> None:
    """A link that comes and goes: so many in a row, or none."""
    fates = iter(["file", "file", "device", "file", "file", "device", "file", "file", ""])

    def attempt(blaming: Blaming) -> None:
        fate = next(fates)
        if fate == "device":
            raise DeviceTimeoutError("the board does not answer")
        with device.claim(), blaming():
            if fate == "file":
                raise LOST

    assert run_or_blame(device, attempt) is None
    assert next(fates, None) is None


@pytest.mark.parametrize("n_killed", [1, N_ATTEMPTS])
def test_a_killed_process_of_a_real_engine(
    peer: Peer, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_killed: int
) -> None:
    request, path = small_request(), tmp_path / "model.onnx"
    exporter = get("onnx")
    exporter.export(request, path)
    opened: list[int] = []

    @contextmanager
    def killing(*args: object, **more: object) -> Iterator[Bench]:
        with open_bench(*args, **more) as bench:  # type: ignore[arg-type]
            opened.append(len(opened))
            if len(opened) <= n_killed:
                (pid,) = peer.processes()
                os.kill(pid, signal.SIGKILL)
            yield bench

    monkeypatch.setattr(file_checks, "open_bench", killing)
    found = check_on_device(
        device,
        "onnxruntime",
        exporter,
        path,
        inputs=request.reference_inputs,
        reference=request.reference_logits,
    )
    assert [check.name for check in found] == [OPENS, *IN_DEVICE]
    if n_killed < N_ATTEMPTS:
        assert all(check.passed for check in found)
        assert len(opened) == n_killed + 1
    else:
        assert (found[0].passed, {check.passed for check in found[1:]}) == (False, {None})
        assert "died during 'load'" in found[0].detail
        assert len(opened) == N_ATTEMPTS
