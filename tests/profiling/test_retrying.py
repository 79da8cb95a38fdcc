"""New starts of a measurement: how often, after which waits, and after which errors."""

from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from edgenas.core.errors import (
    AgentError,
    DeviceError,
    DeviceTimeoutError,
    OtherDeviceError,
    RefusedError,
    StorageError,
)
from edgenas.hardware.device import Device, load_device
from edgenas.profiling import retrying
from edgenas.profiling.retrying import with_retries


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds waited before new starts, without waiting; other modules sleep as ever."""
    slept: list[float] = []
    monkeypatch.setattr(retrying, "time", SimpleNamespace(sleep=slept.append))
    return slept


@pytest.fixture
def renewed(monkeypatch: pytest.MonkeyPatch) -> list[Exception | None]:
    """What becomes of each renewal of a device, one of them after the other; all are fine first."""
    script: list[Exception | None] = []

    def renew(device: Device) -> None:
        error = script.pop(0) if script else None
        if error is not None:
            raise error

    monkeypatch.setattr(Device, "renew", renew)
    return script


class Attempts:
    """Gets so much further each time, and then fails as told; None succeeds."""

    def __init__(self, *script: tuple[int, Exception | None]) -> None:
        self.script = list(script)
        self.n_done = 0

    def __call__(self) -> None:
        n_more, error = self.script.pop(0)
        self.n_done += n_more
        if error is not None:
            raise error


def run(attempts: Attempts, *, n_retries: int) -> None:
    with_retries(load_device("local"), attempts, lambda: attempts.n_done, n_retries=n_retries)


def failures(gains: Iterable[int]) -> list[tuple[int, Exception | None]]:
    return [(gain, AgentError("lost")) for gain in gains]


@pytest.mark.usefixtures("renewed")
def test_waits_grow_until_it_gets_further(waits: list[float]) -> None:
    attempts = Attempts(*failures([3, 0, 0, 2, 0]), (1, None))
    run(attempts, n_retries=3)
    assert attempts.n_done == 6
    assert waits == [1.0, 5.0, 20.0, 1.0, 5.0]


@pytest.mark.usefixtures("renewed")
@pytest.mark.parametrize("n_retries", [0, 1, 6])
def test_it_is_given_up_after_so_many_in_a_row(waits: list[float], n_retries: int) -> None:
    attempts = Attempts(*failures([5] + [0] * 10))
    with pytest.raises(AgentError, match="lost"):
        run(attempts, n_retries=n_retries)
    assert len(waits) == n_retries
    assert waits == [1.0, 5.0, 20.0, 60.0, 60.0, 60.0][:n_retries]


@pytest.mark.usefixtures("renewed")
@pytest.mark.parametrize(
    "error", [OtherDeviceError("x"), RefusedError("x"), StorageError("x"), KeyError("x")]
)
def test_what_a_new_start_cannot_mend_is_told_at_once(waits: list[float], error: Exception) -> None:
    with pytest.raises(type(error)):
        run(Attempts((1, error)), n_retries=5)
    assert waits == []


def test_a_device_that_is_not_back_yet_counts_as_a_failure(
    waits: list[float], renewed: list[Exception | None]
) -> None:
    renewed += [DeviceTimeoutError("off"), DeviceError("still off")]
    attempts = Attempts(*failures([1]), (1, None))
    run(attempts, n_retries=3)
    assert (attempts.n_done, waits) == (2, [1.0, 5.0, 20.0])
    renewed.append(OtherDeviceError("another one"))
    with pytest.raises(OtherDeviceError):
        run(Attempts(*failures([1])), n_retries=3)
