"""Finding meters in trees of files, and what their readings mean."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edgenas.core.errors import DeviceError, EdgenasError
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.power import Meter, Reading, find_meter
from edgenas.hardware.power.android import AndroidBattery
from edgenas.hardware.power.ina3221 import Ina3221
from edgenas.hardware.power.nvml import Nvml
from edgenas.hardware.power.rapl import Rapl, unwrapped
from edgenas.hardware.power.settings import (
    AndroidSettings,
    Ina3221Settings,
    NvmlSettings,
    PowerSettings,
    RaplSettings,
)
from tests.hardware.power import trees

SETTINGS: TypeAdapter[Any] = TypeAdapter(PowerSettings)


def found(sysfs: Path, **settings: object) -> Meter:
    parsed = SETTINGS.validate_python({"sysfs": str(sysfs), **settings})
    with LocalConnector() as connector:
        return find_meter(connector, parsed)


def read(meter: Meter, at_s: float) -> Reading:
    return Reading(at_s, tuple(Path(path).read_text().strip() for path in meter.source.paths))


def powers(meter: Meter, *rows: tuple[str, ...]) -> np.ndarray:
    """Return the mean powers between rows of readings a second apart."""
    trace = meter.trace([Reading(float(i), row) for i, row in enumerate(rows)])
    return np.diff(trace.energy_mj)


def test_a_rail_of_jetpack_4_tells_its_power(tmp_path: Path) -> None:
    folder = trees.jetpack_4(tmp_path)
    meter = found(tmp_path, meter="ina3221", rails=["POM_5V_IN"])
    assert meter.source.paths == (str(folder / "in_power0_input"),)
    assert meter.name == "ina3221 POM_5V_IN"
    first = read(meter, 0.0)
    (folder / "in_power0_input").write_text("4545\n")
    trace = meter.trace([first, read(meter, 2.0)])
    assert trace.energy_mj.tolist() == [0.0, 7090.0]  # 2545 to 4545 mW for 2 s
    assert trace.step_mw == 2000


def test_rails_of_jetpack_6_are_current_times_voltage_and_added(tmp_path: Path) -> None:
    folder = trees.jetpack_6(tmp_path)
    meter = found(tmp_path, meter="ina3221", rails=["VDD_CPU_GPU_CV", "VDD_SOC"])
    assert [Path(path).name for path in meter.source.paths] == [
        "curr2_input", "in2_input", "curr3_input", "in3_input",
    ]  # fmt: skip
    first = read(meter, 0.0)
    (folder / "curr3_input").write_text("500\n")
    trace = meter.trace([first, read(meter, 1.0)])
    assert trace.energy_mj[-1] == pytest.approx((2500 + 3500) / 2)


@pytest.mark.parametrize(
    ("mode", "config", "wanted_s"),
    [
        ("1", 0x7727, 0.4224),  # 64 rounds of 3 channels with 2 times 1.1 ms
        ("1", 0x7607, 0.05376),  # 64 rounds of 3 channels with 2 times 0.14 ms
        ("1", 0x5527, 0.0704),  # 16 rounds of 2 channels
        ("1", None, 0.4224),  # not told: as the driver does it
        ("1", 0, 0.4224),
        ("", None, 0.4224),
        ("0", 0x7003, 0.01),  # converted anew whenever it is read
        ("0", None, 0.01),
    ],
)
def test_an_average_of_jetpack_4_is_as_old_as_its_samples(
    tmp_path: Path, mode: str, config: int | None, wanted_s: float
) -> None:
    trees.jetpack_4(tmp_path, mode=mode, config=config)
    meter = found(tmp_path, meter="ina3221", rails=["POM_5V_IN", "POM_5V_CPU"])
    assert meter.refresh_s == pytest.approx(wanted_s)
    chosen = found(tmp_path, meter="ina3221", rails=["POM_5V_IN"], refresh_s=0.3)
    assert chosen.refresh_s == 0.3


@pytest.mark.parametrize(
    ("samples", "update_interval", "wanted_s"),
    [
        (1, 7, 0.01),
        (64, 422, 0.422),  # of all samples, before Linux 6.2
        (64, 7, 0.448),  # of one round
    ],
)
def test_an_average_of_jetpack_6_is_as_old_as_its_samples(
    tmp_path: Path, samples: int, update_interval: int, wanted_s: float
) -> None:
    folder = trees.jetpack_6(tmp_path, samples=samples, update_interval=update_interval)
    meter = found(tmp_path, meter="ina3221", rails=["VDD_IN"])
    assert meter.refresh_s == pytest.approx(wanted_s)
    for name in ("samples", "update_interval"):
        (folder / name).unlink()
    assert found(tmp_path, meter="ina3221", rails=["VDD_IN"]).refresh_s == 0.01


@pytest.mark.parametrize("tree", [trees.jetpack_4, trees.jetpack_6])
def test_a_missing_rail_lists_those_there_are(tmp_path: Path, tree: Any) -> None:
    tree(tmp_path)
    with pytest.raises(DeviceError, match=r"no rail 'VDD_INN'; allowed: .*(POM_5V_IN|VDD_IN)") as e:
        found(tmp_path, meter="ina3221", rails=["VDD_INN"])
    assert "sum of" not in str(e.value)


def test_a_board_without_the_chip_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"no INA3221 under .*use the meter tegrastats"):
        found(tmp_path, meter="ina3221", rails=["VDD_IN"])


def test_counters_of_all_packages_are_added(tmp_path: Path) -> None:
    trees.powercap(tmp_path, packages=2)
    meter = found(tmp_path, meter="rapl")
    assert meter.name == "rapl package-0+package-1"
    result = powers(meter, ("1000", "5000"), ("2001000", "1005000"))
    assert result.tolist() == [3000.0]  # 2 J and 1 J in a second


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    (zone,) = trees.powercap(tmp_path)
    (zone / "max_energy_range_uj").write_text("1000000\n")
    meter = found(tmp_path, meter="rapl")
    result = powers(meter, ("900000",), ("400000",), ("900000",), ("100000",))
    assert result.tolist() == [500.0, 500.0, 200.0]


@given(
    start=st.integers(0, 999),
    steps=st.lists(st.integers(0, 999), min_size=1, max_size=50),
)
def test_any_steps_shorter_than_a_turn_are_found_again(start: int, steps: list[int]) -> None:
    true = np.cumsum([start, *steps])
    counts = (true % 1000).astype(float)[:, None]
    assert np.diff(unwrapped(counts, np.array([1000.0]))[:, 0]).tolist() == steps


def test_a_domain_that_is_not_there(tmp_path: Path) -> None:
    trees.powercap(tmp_path)
    with pytest.raises(DeviceError, match=r"no domain 'dram'; allowed: core, package-0"):
        found(tmp_path, meter="rapl", domains=["dram"])
    with pytest.raises(DeviceError, match="no energy counters"):
        found(tmp_path / "other", meter="rapl")


def test_a_counter_that_may_not_be_read_names_the_remedy(tmp_path: Path) -> None:
    (zone,) = trees.powercap(tmp_path)
    counter = zone / "energy_uj"
    counter.unlink()
    # Root reads every file, but nobody reads a folder as one.
    counter.mkdir()
    with pytest.raises(DeviceError, match=rf"sudo chmod a\+r {counter}"):
        found(tmp_path, meter="rapl")


@pytest.mark.parametrize("current", [-412_000, 412_000, -412, 412])
@pytest.mark.parametrize("voltage", [4_100_000, 4_100])
def test_a_battery_in_any_unit_and_sign(tmp_path: Path, current: int, voltage: int) -> None:
    trees.battery(tmp_path, current=current, voltage=voltage)
    meter = found(tmp_path, meter="android")
    reading = read(meter, 0.0)
    twice = Reading(1.0, ("Discharging", str(2 * current), str(voltage)))
    trace = meter.trace([reading, twice])
    assert trace.energy_mj[-1] == pytest.approx(1.5 * 412 * 4.1)
    assert meter.refresh_s is None


def test_a_unit_that_is_given_is_believed(tmp_path: Path) -> None:
    meter = AndroidBattery(AndroidSettings(meter="android", current_unit="uA"))
    result = powers(meter, ("Discharging", "900", "4000000"), ("Discharging", "1100", "4000000"))
    assert result == pytest.approx([4.0])


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown"])
def test_a_battery_that_is_charged_is_refused(tmp_path: Path, status: str) -> None:
    trees.battery(tmp_path, status=status)
    with pytest.raises(DeviceError, match=f"is '{status}'.*unplug the phone"):
        found(tmp_path, meter="android")
    meter = AndroidBattery(AndroidSettings(meter="android"))
    rows = [("Discharging", "-400000", "4000000"), (status, "-400001", "4000000")]
    with pytest.raises(DeviceError, match="unplug the phone"):  # plugged in meanwhile
        powers(meter, *rows)


def test_a_current_that_changes_its_sign_is_refused() -> None:
    meter = AndroidBattery(AndroidSettings(meter="android"))
    rows = [("Discharging", "-400000", "4000000"), ("Discharging", "300000", "4000000")]
    with pytest.raises(DeviceError, match="changes its sign"):
        powers(meter, *rows)


def test_a_phone_without_a_battery_or_with_a_hidden_one(tmp_path: Path) -> None:
    folder = trees.battery(tmp_path)
    with pytest.raises(DeviceError, match=r"no battery 'bms'.*battery, usb"):
        found(tmp_path, meter="android", supply="bms")
    (folder / "current_now").unlink()
    (folder / "current_now").mkdir()
    with pytest.raises(DeviceError, match="only to root"):
        found(tmp_path, meter="android")


def test_a_gpu_by_its_counter_or_by_its_power() -> None:
    meter = Nvml(NvmlSettings(meter="nvml"))
    assert meter.source.request("power")["index"] == 0
    counted = powers(meter, ("70000", "1000", "40"), ("70000", "81000", "41"))
    assert counted.tolist() == [80_000.0]
    trace = meter.trace([Reading(0.0, ("70000", None, "40")), Reading(1.0, ("90000", None, "41"))])
    assert trace.energy_mj[-1] == 80_000.0
    with pytest.raises(DeviceError, match="neither its energy nor its power"):
        meter.trace([Reading(0.0, (None, None, "40")), Reading(1.0, (None, None, "41"))])


def test_a_driver_for_gpus_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr("edgenas.hardware.power.nvml._DRIVERS", (str(driver),))
    with pytest.raises(DeviceError, match="no NVIDIA driver on local"):
        found(tmp_path, meter="nvml")
    driver.touch()
    assert found(tmp_path, meter="nvml", gpu=1).name == "nvml GPU 1"


GAUGE = Ina3221(Ina3221Settings(meter="ina3221", rails=("VDD_IN",)), [("/power",)])
COUNTER = Rapl(RaplSettings(meter="rapl"), ["package-0"], [("/energy", 10**9)])


@pytest.mark.parametrize(
    ("meter", "values", "message"),
    [
        (GAUGE, [], "answered nothing"),
        (GAUGE, ["5000"], "answered nothing"),
        (GAUGE, ["5000", None], "could not be read"),
        (GAUGE, ["5000", ""], "no whole number"),
        (GAUGE, ["5000", "5 W"], "no whole number"),
        (GAUGE, ["5000", "nan"], "no whole number"),
        (GAUGE, ["5000", "9" * 400], "no whole number"),
        (GAUGE, ["5000", "-1"], "negative power"),
        (GAUGE, ["0", "0", "0"], "nothing but 0 mW"),
        (GAUGE, ["5000"] * 30, "frozen: 30 readings over 29.0 s"),
        (COUNTER, ["7", "7", "7"], "frozen: its counter stood still"),
        (COUNTER, ["7", None], "could not be read"),
        (COUNTER, ["", "7"], "no whole number"),
    ],
)
def test_a_meter_that_does_not_measure_is_an_error(
    meter: Meter, values: list[str | None], message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        meter.trace([Reading(float(i), (value,)) for i, value in enumerate(values)])


@pytest.mark.parametrize("times", [(0.0, 0.0), (1.0, 0.0)])
def test_readings_out_of_order_are_refused(times: tuple[float, float]) -> None:
    with pytest.raises(DeviceError, match="not in order of time"):
        GAUGE.trace([Reading(at_s, ("5000",)) for at_s in times])


@given(st.lists(st.lists(st.none() | st.text(max_size=8), max_size=4), max_size=5))
def test_no_garbage_is_taken_for_power(rows: list[list[str | None]]) -> None:
    meters = [GAUGE, COUNTER, AndroidBattery(AndroidSettings(meter="android")),
              Nvml(NvmlSettings(meter="nvml"))]  # fmt: skip
    for meter in meters:
        try:
            trace = meter.trace([Reading(float(i), tuple(row)) for i, row in enumerate(rows)])
        except EdgenasError:
            continue
        assert np.isfinite(trace.energy_mj).all()
        assert (np.diff(trace.energy_mj) >= 0).all()


def test_a_hostile_folder_reaches_no_shell(tmp_path: Path) -> None:
    sysfs = tmp_path / "$(touch owned) ; 'x'\n"
    trees.jetpack_6(sysfs)
    before = set(Path.cwd().iterdir())
    with pytest.raises(DeviceError, match="no rail 'other'"):
        found(sysfs, meter="ina3221", rails=["other"])
    assert set(Path.cwd().iterdir()) == before
