"""Energy out of traces whose truth is known, and every meter that must be refused."""

import logging

import numpy as np
import pytest

from edgenas.core.errors import DeviceError
from edgenas.hardware.energy import EnergyReading, Window, energy_of_run, modelled_energy
from edgenas.hardware.power import Meter, Reading
from edgenas.hardware.power.ina3221 import Ina3221
from edgenas.hardware.power.rapl import Rapl
from edgenas.hardware.power.settings import Ina3221Settings, ModelledSettings, RaplSettings

IDLE, RUN, AFTER = Window(1, 6), Window(7, 17), Window(18, 23)
PERIOD_MS = 20.0


def gauge(refresh_s: float | None = 0.01) -> Meter:
    meter = Ina3221(Ina3221Settings(meter="ina3221", rails=("VDD_IN",)), [("/power",)])
    meter.refresh_s = refresh_s
    return meter


def readings(
    seed: int,
    *,
    interval_s: float = 0.05,
    busy_mw: float = 5000,
    drift_mw: float = 0.0,
    step_mw: int = 1,
    noise_mw: float = 150,
    alike: float = 0.0,
) -> list[Reading]:
    """Return readings of 2 W at rest and `busy_mw` from second 6.5 to 17.5."""
    generator = np.random.default_rng(seed)
    at_s = np.arange(0, 24, interval_s)
    noise = generator.normal(size=len(at_s)) * noise_mw
    for i in range(1, len(noise)):
        noise[i] = alike * noise[i - 1] + (1 - alike**2) ** 0.5 * noise[i]
    truth = np.where((at_s > 6.5) & (at_s < 17.5), busy_mw, 2000) + drift_mw * at_s / 24
    shown = np.round((truth + noise) / step_mw) * step_mw
    return [Reading(float(t), (str(int(value)),)) for t, value in zip(at_s, shown, strict=True)]


def energy(meter: Meter, rows: list[Reading], **changes: object) -> EnergyReading:
    arguments = {"run": RUN, "idle": (IDLE, AFTER), "period_ms": PERIOD_MS, "min_samples": 20}
    return energy_of_run(meter, meter.trace(rows), **{**arguments, **changes})  # type: ignore[arg-type]


def test_what_running_adds_is_found() -> None:
    found = energy(gauge(), readings(0))
    assert found.energy_mj == pytest.approx(60, rel=0.02)  # 3 W for 20 ms
    assert found.low < found.energy_mj < found.high
    assert found.high - found.low < 0.1 * found.energy_mj
    assert found.idle_mw == pytest.approx(2000, rel=0.03)
    assert found.active_mw == pytest.approx(5000, rel=0.02)
    assert found.n_samples == 201
    assert found.provenance == "measured"
    assert found == energy(gauge(), readings(0))  # the same seed, the same interval


@pytest.mark.parametrize("alike", [0.0, 0.8])
def test_nine_intervals_of_ten_hold_the_truth(alike: float) -> None:
    inside = [
        found.low <= 60 <= found.high
        for seed in range(150)
        for found in [energy(gauge(), readings(seed, alike=alike))]
    ]
    assert 0.82 <= np.mean(inside) <= 0.98


def test_an_idle_power_that_drifts_widens_the_interval() -> None:
    steady = energy(gauge(), readings(0))
    drifting = energy(gauge(), readings(0, drift_mw=600))
    assert drifting.high - drifting.low > 2 * (steady.high - steady.low)
    assert drifting.low <= 60 <= drifting.high


def test_a_coarse_meter_widens_the_interval() -> None:
    fine = energy(gauge(), readings(0, noise_mw=10))
    coarse = energy(gauge(), readings(0, noise_mw=10, step_mw=700))
    assert coarse.high - coarse.low > 5 * (fine.high - fine.low)
    assert coarse.low <= 60 <= coarse.high


def test_a_counter_gives_the_same_energy() -> None:
    meter = Rapl(RaplSettings(meter="rapl"), ["package-0"], [("/energy", 50_000_000)])
    at_s = np.arange(0, 24, 0.05)
    total_uj = 2e6 * at_s + 3e6 * np.clip(at_s - 6.5, 0, 11)
    wrapped = total_uj.astype(int) % 50_000_000  # once or twice
    rows = [Reading(float(t), (str(v),)) for t, v in zip(at_s, wrapped, strict=True)]
    found = energy(meter, rows)
    assert found.energy_mj == pytest.approx(60, rel=1e-3)
    assert found.low <= 60 <= found.high


def test_a_meter_that_is_too_slow_says_how_long_it_needs() -> None:
    slow = readings(0, interval_s=1.0)
    with pytest.raises(DeviceError, match=r"too slow: it gave 11 value.* of the busy .* 18 s long"):
        energy(gauge(), slow)
    assert energy(gauge(), slow, min_samples=5).n_samples == 11


def test_a_value_that_is_read_again_and_again_counts_once() -> None:
    fast, held = readings(0), []
    for i, reading in enumerate(fast):  # a gauge that is new once a second, read 20 times
        held.append(Reading(reading.at_s, fast[i - i % 20].values))
    with pytest.raises(DeviceError, match=r"it gave 1\d value"):
        energy(gauge(refresh_s=None), held)
    assert energy(gauge(refresh_s=None), held, min_samples=5).n_samples == 11


def test_a_meter_that_stopped_is_an_error() -> None:
    with pytest.raises(DeviceError, match=r"was read from 0\.00 to 11"):
        energy(gauge(), [one for one in readings(0) if one.at_s < 12])
    for gap, silent_s in (((10, 14), "4.0"), ((2, 5), "3.0")):
        rows = [one for one in readings(0) if not gap[0] < one.at_s < gap[1]]
        with pytest.raises(DeviceError, match=f"was not read for {silent_s} s"):
            energy(gauge(), rows)


def test_power_from_before_a_part_does_not_leak_into_it() -> None:
    rows = [one for one in readings(0, noise_mw=5) if not 6.4 < one.at_s < 7.35]
    found = energy(gauge(), rows, run=Window(7, 9))  # the reading before it is of rest
    assert found.energy_mj == pytest.approx(60, rel=0.005)


def test_a_meter_of_something_else_is_an_error() -> None:
    with pytest.raises(DeviceError, match="does not measure the processor"):
        energy(gauge(), readings(0, busy_mw=1900))


def test_a_run_that_cannot_be_told_from_rest_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        found = energy(gauge(), readings(3, busy_mw=2040, noise_mw=400))
    assert found.low <= 0
    assert "cannot tell the run from rest" in caplog.text


SETTINGS = ModelledSettings(
    meter="modelled", idle_mw=2000, active_mw=(5000, 7000, 1000), relative_error=0.2
)


def test_powers_of_the_device_file_model_an_energy() -> None:
    found = modelled_energy(20.0, SETTINGS, threads=2)
    assert found.energy_mj == pytest.approx(100)
    assert (found.low, found.high) == pytest.approx((80, 120))
    assert (found.meter, found.provenance, found.n_samples) == ("modelled", "modelled", 0)


def test_powers_that_cannot_be_are_refused() -> None:
    with pytest.raises(DeviceError, match="for 1 to 3 threads, not 4"):
        modelled_energy(20.0, SETTINGS, threads=4)
    with pytest.raises(DeviceError, match="is the whole device's"):
        modelled_energy(20.0, SETTINGS, threads=3)
