"""Power meters read by the doctor: what is judged, by a shell and by the measuring process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from edgenas.core.errors import AgentError
from edgenas.hardware import noise
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.device import load_device
from edgenas.hardware.power import Meter, Reading, find_meter
from edgenas.hardware.power.settings import Ina3221Settings
from edgenas.runtimes import open_bench
from edgenas.runtimes.agent_bench import AgentBench
from edgenas.study import meter_check
from edgenas.study.device_check import check_device
from tests.hardware.power import trees


@pytest.fixture(autouse=True)
def _short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(meter_check, "_READ_S", 0.6)


@pytest.fixture
def meter(tmp_path: Path) -> Meter:
    trees.jetpack_4(tmp_path / "sys")
    settings = Ina3221Settings(
        meter="ina3221",
        rails=("POM_5V_IN",),
        sysfs=str(tmp_path / "sys"),
        interval_s=0.02,
        refresh_s=0.02,
    )
    with LocalConnector() as connector:
        return find_meter(connector, settings)


def readings(*texts: str | None) -> list[Reading]:
    return [Reading(float(at_s), (text,)) for at_s, text in enumerate(texts)]


@contextmanager
def changing(meter: Meter) -> Iterator[None]:
    """Have the meter show one value after the other."""
    (path,) = map(Path, meter.source.paths)
    done = threading.Event()

    def change() -> None:
        for value in cycle(["2000", "2100"]):
            fresh = path.with_suffix(".fresh")
            fresh.write_text(f"{value}\n")
            fresh.replace(path)
            if done.wait(0.03):
                return

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_the_power_at_rest_is_told(meter: Meter) -> None:
    found = meter_check.judged(meter, readings("2000", "2100", "2000"))
    assert (found.name, found.severity, found.remedy) == ("power meter", "ok", "")
    assert found.measured.startswith("ina3221 POM_5V_IN: 2050 mW at rest, 3 readings")
    assert found.measured.endswith("a new value every 0.02 s")


@pytest.mark.parametrize(
    ("texts", "severity", "told"),
    [
        (("2545",) * 4, "note", "4 readings within 0.6 s are all 2545"),
        ((), "warning", "answered nothing"),
        (("2545",), "warning", "answered nothing"),
        ((None, None), "warning", "could not be read"),
        (("2545", "watts"), "warning", "no whole number"),
        (("-5", "20"), "warning", "negative power"),
        (("9000000000", "9000000001"), "warning", "which no device draws"),
    ],
)
def test_what_cannot_be_believed_is_told_with_a_remedy(
    meter: Meter, texts: tuple[str | None, ...], severity: str, told: str
) -> None:
    found = meter_check.judged(meter, readings(*texts))
    assert found.severity == severity
    assert told in found.measured
    assert found.remedy


def test_a_meter_of_files_is_read_by_a_shell(meter: Meter) -> None:
    with LocalConnector() as connector, changing(meter):
        found = meter_check.by_shell(connector, meter)
    assert found.severity == "ok"
    mean_mw = float(found.measured.partition(": ")[2].partition(" mW")[0])
    assert 2000 <= mean_mw <= 2100


def test_any_meter_is_read_by_the_measuring_process(meter: Meter) -> None:
    with load_device("local") as device, open_bench(device, "litert") as bench, changing(meter):
        assert isinstance(bench, AgentBench)
        assert meter_check.by_agent(bench, meter).severity == "ok"
        with pytest.raises(AgentError, match="nothing is being sampled"):
            bench.readings()


def test_the_doctor_has_the_measuring_process_read_what_no_shell_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(
        "#!/bin/sh\nn=2000\nwhile sleep 0.05; do n=$((n + 10)); "
        'echo "RAM 10/3956MB (lfb 1x4MB) VDD_IN ${n}mW/2000mW"; done\n'
    )
    program.chmod(0o755)
    (tmp_path / "board.yaml").write_text(
        "schema_version: 1\nid: board\ndescription: a test\nconnector: {kind: local}\n"
        f"power: {{meter: tegrastats, rails: [VDD_IN], program: {program}, interval_s: 0.05}}\n"
    )
    monkeypatch.setattr(noise, "DEADLINE_S", 0.2)
    with load_device(tmp_path / "board.yaml") as device:
        observations = check_device(device).observations
    (found,) = [one for one in observations if one.name == "power meter"]
    assert (found.severity, found.measured[:18]) == ("ok", "tegrastats VDD_IN:")


def test_a_meter_that_has_gone_is_told(meter: Meter) -> None:
    (path,) = map(Path, meter.source.paths)
    path.unlink()
    with LocalConnector() as connector:
        found = meter_check.by_shell(connector, meter)
    assert (found.severity, "could not be read" in found.measured) == ("warning", True)
