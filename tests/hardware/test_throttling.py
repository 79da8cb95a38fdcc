"""Throttling: what boards, PCs and phones tell, what counts, and waiting until it is over."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from edgenas.core.errors import DeviceError, DeviceTimeoutError
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.description import ThrottlingLimits
from edgenas.hardware.throttling import (
    Clock,
    ThrottlingWatch,
    parse_thermal,
    read_thermal,
    throttled,
    wait_until_cool,
)
from edgenas.testing.fake_connector import FakeConnector

ROOT = Path(__file__).resolve().parents[2]
THERMAL, FREQ = "/sys/class/thermal", "/sys/devices/system/cpu/cpufreq"
LIMITS = ThrottlingLimits(
    zones=("cpu-thermal",), pause_above_c=80, resume_below_c=60, check_every_s=5
)


def pi(temp: int = 50_000, flags: str = "0x0", now: int = 2_400_000, most: int = 2_400_000) -> str:
    return (
        f"#=# {THERMAL}/thermal_zone0/type\ncpu-thermal\n"
        f"#=# {THERMAL}/thermal_zone0/temp\n{temp}\n"
        f"#=# {THERMAL}/cooling_device0/type\npwm-fan\n"
        f"#=# {THERMAL}/cooling_device0/cur_state\n4\n"
        f"#=# {FREQ}/policy0/related_cpus\n0 1 2 3\n"
        f"#=# {FREQ}/policy0/scaling_driver\ncpufreq-dt\n"
        f"#=# {FREQ}/policy0/scaling_governor\nperformance\n"
        f"#=# {FREQ}/policy0/scaling_cur_freq\n{now}\n"
        f"#=# {FREQ}/policy0/scaling_max_freq\n{most}\n"
        f"#=# {FREQ}/policy0/cpuinfo_max_freq\n2400000\n"
        f"#=# vcgencmd\nthrottled={flags}\n"
    )


def test_a_raspberry_pi() -> None:
    state = parse_thermal(pi(flags="0x50005"))
    assert state.temperatures_c == {"cpu-thermal": 50.0}
    assert state.clocks == (
        Clock("0 1 2 3", "cpufreq-dt", "performance", 2_400_000, 2_400_000, 2_400_000),
    )
    assert state.active == ("under-voltage", "throttled")
    assert state.counters == {"vcgencmd": 5}
    assert state.cooling == {}  # a fan slows nothing down


def test_a_jetson() -> None:
    state = parse_thermal(
        f"#=# {THERMAL}/thermal_zone0/type\nCPU-therm\n#=# {THERMAL}/thermal_zone0/temp\n41500\n"
        f"#=# {THERMAL}/thermal_zone1/type\nCPU-therm\n#=# {THERMAL}/thermal_zone1/temp\n43000\n"
        f"#=# {THERMAL}/thermal_zone2/type\ncv-thermal\n#=# {THERMAL}/thermal_zone2/temp\n\n"
        f"#=# {THERMAL}/thermal_zone3/type\nodd\n#=# {THERMAL}/thermal_zone3/temp\n-256000\n"
        f"#=# {THERMAL}/thermal_zone4/type\nbattery\n#=# {THERMAL}/thermal_zone4/temp\n285\n"
        f"#=# {THERMAL}/cooling_device1/type\nthermal-cpufreq-0\n"
        f"#=# {THERMAL}/cooling_device1/cur_state\n3\n"
        "#=# /sys/class/hwmon/hwmon2/oc1_event_cnt\n7\n"
    )
    assert state.temperatures_c == {"CPU-therm": 41.5, "CPU-therm:1": 43.0, "battery": 28.5}
    assert state.hottest_c() == 43.0
    assert state.hottest_c(("battery",)) == 28.5
    assert state.cooling == {"thermal-cpufreq-0 (cooling_device1)": 3}
    assert state.counters == {"/sys/class/hwmon/hwmon2/oc1_event_cnt": 7}


def orin(*, gpu: str = "-256000", names: str = "{}-thermal", alert: int = 0, down: int = 0) -> str:
    """A Jetson Orin Nano whose GPU is off; `names` is how its JetPack calls zones."""
    if names != "{}-thermal":
        cpu, gpu_zone = names.format("CPU"), names.format("GPU")
    else:
        cpu, gpu_zone = "cpu-thermal", "gpu-thermal"
    return (
        f"#=# {THERMAL}/thermal_zone0/type\n{cpu}\n#=# {THERMAL}/thermal_zone0/temp\n72000\n"
        f"#=# {THERMAL}/thermal_zone1/type\n{gpu_zone}\n#=# {THERMAL}/thermal_zone1/temp\n{gpu}\n"
        f"#=# {THERMAL}/thermal_zone2/type\ncv0-thermal\n"
        f"#=# {THERMAL}/cooling_device0/type\nhot-surface-alert\n"
        f"#=# {THERMAL}/cooling_device0/cur_state\n{alert}\n"
        f"#=# {THERMAL}/cooling_device1/type\ncpu-throttle-alert\n"
        f"#=# {THERMAL}/cooling_device1/cur_state\n{down}\n"
    )


@pytest.mark.parametrize("names", ["{}-thermal", "{}-therm"], ids=["JetPack 6", "JetPack 5"])
@pytest.mark.parametrize("gpu", ["-256000", "", "61000"], ids=["off", "unreadable", "on"])
def test_an_orin_is_watched_as_its_file_says(names: str, gpu: str) -> None:
    document = yaml.safe_load((ROOT / "devices/jetson-orin-nano.yaml").read_text())
    limits = ThrottlingLimits.model_validate_json(json.dumps(document["throttling"]))
    connector, _ = board(orin(names=names, gpu=gpu))
    watch = ThrottlingWatch(connector, limits)
    assert watch.pauses == []
    assert watch.reference.hottest_c(limits.zones) == 72.0
    assert len(watch.reference.zones) == 3
    hot = orin(names=names, gpu="85500")
    assert throttled(parse_thermal(hot), limits) == ("85.5 °C, allowed 85 °C",)


def test_a_surface_that_is_hot_to_touch_slows_nothing_down() -> None:
    """From 70 °C on an Orin says so; it throttles from 99 °C on, and says that too."""
    ready = parse_thermal(orin())
    assert throttled(parse_thermal(orin(alert=1)), ThrottlingLimits(), reference=ready) == ()
    (found,) = throttled(parse_thermal(orin(down=1)), ThrottlingLimits(), reference=ready)
    assert found == "cpu-throttle-alert (cooling_device1) cools at level 1, 0 before"


def test_a_phone() -> None:
    assert parse_thermal("#=# thermalservice\nThermal Status: 0\n").active == ()
    found = parse_thermal("#=# thermalservice\nThermal Status: 3\n").active
    assert found == ("thermal status 3 (severe)",)
    assert parse_thermal("#=# thermalservice\nThermal Status: 9\n").active == (
        "thermal status 9 (shutdown)",
    )


def test_a_device_that_tells_nothing() -> None:
    state = parse_thermal("")
    assert state.hottest_c() is None
    assert throttled(state, LIMITS, reference=state) == ()


def test_of_this_machine() -> None:
    assert throttled(read_thermal(LocalConnector()), ThrottlingLimits()) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (pi(temp=80_100), "80.1 °C, allowed 80 °C"),
        (pi(flags="0x4"), "throttled"),
        (pi(now=1_500_000), "CPUs 0 1 2 3 run at 1500 of 2400 MHz"),
        (pi(now=1_500_000, most=1_500_000), "limited to 1500 MHz, 2400 MHz before"),
        (
            pi() + f"#=# {THERMAL}/cooling_device7/type\ncpufreq\n"
            f"#=# {THERMAL}/cooling_device7/cur_state\n2\n",
            r"cpufreq \(cooling_device7\) cools at level 2, 0 before",
        ),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    (found,) = throttled(parse_thermal(text), LIMITS, reference=parse_thermal(pi()))
    assert found == reason.replace("\\", "") or reason in found


def test_chips_that_choose_their_clock_are_not_judged_by_it() -> None:
    clock = parse_thermal(pi(now=800_000)).clocks[0]
    assert clock.held_down
    assert not replace(clock, driver="intel_pstate").held_down
    assert not replace(clock, governor="schedutil").held_down
    assert not replace(clock, current_khz=None).held_down


def test_cooling_down_has_a_limit_of_its_own() -> None:
    state = parse_thermal(pi(temp=70_000))
    assert throttled(state, LIMITS) == ()
    assert throttled(state, LIMITS, cooling_down=True) == ("70.0 °C, allowed 60 °C",)


class Time:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def board(*texts: str) -> tuple[FakeConnector, Callable[[], int]]:
    """A board that shows one text after the other and stays at the last."""
    left = list(texts)

    def show(_: tuple[str, ...]) -> str:
        return left.pop(0) if len(left) > 1 else left[0]

    connector = FakeConnector({("sh",): show})
    return connector, lambda: len(connector.ran)


def test_waiting_ends_when_it_is_cool() -> None:
    time = Time()
    connector, n_looks = board(pi(temp=85_000), pi(temp=70_000), pi(temp=59_000))
    state, waited_s = wait_until_cool(connector, LIMITS, clock=time.clock, sleep=time.sleep)
    assert (state.hottest_c(), waited_s, n_looks()) == (59.0, 10.0, 3)


def test_waiting_ends_with_an_error_when_it_stays_hot() -> None:
    time = Time()
    connector, _ = board(pi(temp=85_000))
    with pytest.raises(DeviceTimeoutError, match=r"still throttled after 12 s: 85\.0 °C.*cool"):
        wait_until_cool(connector, LIMITS, timeout_s=12, clock=time.clock, sleep=time.sleep)
    assert time.now_s == 12


def test_a_watch_pauses_and_records() -> None:
    time = Time()
    connector, n_looks = board(
        pi(), pi(temp=60_000), pi(temp=81_000), pi(temp=81_000), pi(temp=55_000), pi()
    )
    watch = ThrottlingWatch(connector, LIMITS, clock=time.clock, sleep=time.sleep)
    assert watch.look() is None
    assert n_looks() == 1  # it was looked at a moment ago
    time.sleep(6)
    assert watch.look() is None
    time.sleep(7)
    pause = watch.look()
    assert pause is not None
    assert pause.reasons == ("81.0 °C, allowed 80 °C",)
    assert (pause.hottest_c, pause.since_s, pause.waited_s, pause.resumed_c) == (81, 7, 5, 55)
    time.sleep(6)
    assert watch.look() is None
    assert watch.pauses == [pause]


def test_a_watch_begins_with_a_cool_device() -> None:
    time = Time()
    hot = pi(temp=81_000, most=1_500_000, now=1_500_000)
    connector, _ = board(hot, hot, pi(temp=59_000))
    watch = ThrottlingWatch(connector, LIMITS, clock=time.clock, sleep=time.sleep)
    assert watch.reference.clocks[0].limit_khz == 2_400_000
    assert [(pause.hottest_c, pause.waited_s) for pause in watch.pauses] == [(81, 5)]


def test_throttling_between_two_looks_is_recorded_without_waiting() -> None:
    time = Time()
    connector, _ = board(pi(), pi(flags="0x40000"))
    watch = ThrottlingWatch(connector, LIMITS, clock=time.clock, sleep=time.sleep)
    time.sleep(6)
    pause = watch.look()
    assert pause is not None
    assert pause.reasons == ("throttled since the last look (vcgencmd)",)
    assert pause.waited_s == 0
    time.sleep(6)
    assert watch.look() is None


def test_a_zone_that_is_not_there_is_refused() -> None:
    connector, _ = board(pi())
    with pytest.raises(DeviceError, match=r"no thermal zones gpu; it has cpu-thermal"):
        ThrottlingWatch(connector, ThrottlingLimits(zones=("gpu",)))
    with pytest.raises(DeviceError, match=r"no thermal zones gpu\|GPU; it has cpu-thermal"):
        ThrottlingWatch(connector, ThrottlingLimits(zones=("cpu-thermal|CPU", "gpu|GPU")))


@pytest.mark.parametrize(
    "text", ["#=# \n", "#=# /x/thermal_zone/temp\n1", "\0\n#=# a\n\n", "x" * 99]
)
def test_garbage_is_nothing(text: str) -> None:
    assert parse_thermal(text).temperatures_c == {}
