"""A phone without Python: restarted, exchanged, throttled, full, wrong; nothing lost or mixed."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.core.errors import DeviceError, OtherDeviceError
from edgenas.core.files import Journal
from edgenas.costs.samples import read_samples
from edgenas.costs.table import samples_path
from edgenas.hardware.device import load_device
from edgenas.hardware.device_file import device_path, load_description
from edgenas.profiling import retrying
from edgenas.profiling.profile import _plan, profile
from edgenas.profiling.workload import ProfileSettings, Workload
from edgenas.testing.adb import EmulatedPhone
from edgenas.testing.adb.phone import missing_here
from edgenas.testing.peers import Peer, adb_peer
from edgenas.testing.space_contract import width_space

pytestmark = pytest.mark.slow


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    missing_here(pytest.skip)
    monkeypatch.setattr(retrying, "_RETRY_S", (0.0,))
    with adb_peer(tmp_path / "peer") as peer:
        monkeypatch.setenv("EDGENAS_HOME", str(peer.home))
        yield peer


@pytest.fixture
def phone(peer: Peer) -> EmulatedPhone:
    assert peer.phone is not None
    return peer.phone


@pytest.fixture
def least(few: ProfileSettings) -> ProfileSettings:
    return replace(few, n_runs=1, n_sessions=2)


def order_of(settings: ProfileSettings) -> list[str]:
    workload = Workload.of(width_space(32), settings)
    pools = workload.pools(settings, float("inf"))
    return [key for order in _plan(workload, settings, pools) for key in order]


class Striker:
    """Has something happen at given visits."""

    def __init__(self, moments: dict[int, Callable[[], object]]) -> None:
        self.moments = moments

    def __call__(self, what: str, done: int, total: int) -> None:
        due = [moment for moment in self.moments if what.startswith("profiling") and moment <= done]
        for moment in due[:1]:
            self.moments.pop(moment)()


def n_prepared(phone: EmulatedPhone) -> int:
    """Returns how often the setting was made that a restart undoes."""
    told = phone.path("/data/cmd.log").read_text()
    return told.count("set-fixed-performance-mode-enabled true")


def test_a_phone_that_restarts_or_throttles_is_prepared_and_waited_for(
    peer: Peer,
    phone: EmulatedPhone,
    least: ProfileSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It restarts between two visits, unnoticed by any command; and gets hot for two seconds."""
    limits = {"check_every_s": 0, "timeout_s": 60, "pause_above_c": 60, "resume_below_c": 50}
    zone = phone.path("/sys/class/thermal/thermal_zone0/temp")
    counts: list[int] = []

    def restart() -> None:
        phone.reboot(down_s=0.5)
        phone.adb("connect", phone.serial)  # as a cable does by itself
        counts.append(n_prepared(phone))

    def heat() -> None:
        counts.append(n_prepared(phone))
        zone.write_text("88000\n")
        threading.Timer(2.0, zone.write_text, ("41000\n",)).start()

    strike = Striker({20: restart, 60: heat})
    with load_device(peer.device_file(throttling={**limits, "zones": ["BIG"]})) as device:
        table = profile(
            device, "benchmark_model", width_space(32), least, tmp_path, n_retries=1,
            progress=strike,
        )  # fmt: skip
    assert "was restarted while it was measured" in caplog.text
    assert counts == [1, 2]
    assert table.source is not None
    visits = read_samples(samples_path(Path(table.source)))
    assert [visit.artefact for visit in visits] == order_of(least)
    environment = table.passport.environment
    assert environment is not None
    (pause,) = environment.throttle_pauses
    assert "88.0 °C" in pause.reason
    assert 0.5 < pause.duration_s < 60
    assert (peer.unrestored(), peer.locks(), peer.processes()) == ([], [], [])


def test_another_phone_in_its_place_is_refused_and_not_put_back(
    peer: Peer, phone: EmulatedPhone, least: ProfileSettings, tmp_path: Path
) -> None:
    cpuinfo = phone.path("/proc/cpuinfo")
    own = cpuinfo.read_text()

    def exchange() -> None:
        cpuinfo.write_text(own.replace("0xd4e", "0xd4f"))
        phone.reboot()

    with load_device(peer.device_file()) as device:
        with pytest.raises(OtherDeviceError, match="answers in its place") as caught:
            profile(
                device, "benchmark_model", width_space(32), least, tmp_path, n_retries=3,
                progress=Striker({10: exchange}),
            )  # fmt: skip
        assert any("are to be put back" in note for note in caught.value.__notes__)
    (journal,) = tmp_path.glob("*/*/*.journal.jsonl")
    kept = [record["key"] for record in Journal(journal).read() if "k" in record]
    assert len(kept) >= 10
    assert kept == order_of(least)[: len(kept)]
    assert "airplane_mode_on" in " ".join(peer.unrestored())
    with load_device(peer.device_file()) as device:  # still the other one
        with pytest.raises(OtherDeviceError, match="connect the device that was measured"):
            device.restore()
        cpuinfo.write_text(own)
        phone.reboot()
        assert device.restore()
    assert (peer.unrestored(), peer.locks()) == ([], [])


def test_a_wrong_serial_is_told_with_those_there_are(peer: Peer, phone: EmulatedPhone) -> None:
    connector = {**phone.connector, "serial": "R58M12345", "connect_timeout_s": 0.5}
    phone.adb("connect", phone.serial)
    wrong = pytest.raises(DeviceError, match=rf"no device 'R58M12345'.*{phone.serial} \(device\)")
    with load_device(peer.device_file(connector=connector)) as device, wrong, device.claim():
        pass


def test_a_phone_without_room_is_told(
    least: ProfileSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing_here(pytest.skip)
    with adb_peer(tmp_path / "peer", data_kib=64) as small:
        monkeypatch.setenv("EDGENAS_HOME", str(small.home))
        steps = load_description(device_path("pixel-8")).prepare
        path = small.device_file(prepare=dict.fromkeys(steps))
        full = pytest.raises(DeviceError, match="No space left on device")
        with load_device(path) as device, full:
            profile(device, "benchmark_model", width_space(32), least, tmp_path / "tables")
