"""Whether a device slows itself down: temperatures, clocks, flags, and waiting until it cools."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgenas.core.errors import DeviceError, DeviceTimeoutError
from edgenas.hardware.connectors.base import Connector
from edgenas.hardware.description import ThrottlingLimits
from edgenas.hardware.fingerprint import MARK, SHOW, sections, whole_number

log = logging.getLogger(__name__)

_TIMEOUT_S = 30.0
_POLL_S = 5.0
_SLOW_CLOCK = 0.9
"""A clock that a fixed governor keeps below this share of its limit is held down by the chip."""
_PLAUSIBLE_C = (-40.0, 150.0)
"""A zone that is switched off, as a Jetson's unused GPU is, tells -256 °C."""
_WARNS_ONLY = re.compile(r"(?<!throttle)-alert$")
"""Ways to cool of Jetson boards that tell their surface to be hot, and slow nothing down."""
_READ_THERMAL = f"""{SHOW}
for file in /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp \
  /sys/class/thermal/cooling_device*/type /sys/class/thermal/cooling_device*/cur_state \
  /sys/devices/system/cpu/cpufreq/policy*/related_cpus \
  /sys/devices/system/cpu/cpufreq/policy*/scaling_governor \
  /sys/devices/system/cpu/cpufreq/policy*/scaling_driver \
  /sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq \
  /sys/devices/system/cpu/cpufreq/policy*/scaling_max_freq \
  /sys/devices/system/cpu/cpufreq/policy*/cpuinfo_max_freq \
  /sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count \
  /sys/class/hwmon/hwmon*/oc*_event_cnt; do show "$file"; done
if command -v vcgencmd >/dev/null 2>&1; then echo "{MARK} vcgencmd"; vcgencmd get_throttled; fi
if [ -x /system/bin/dumpsys ]; then
  echo "{MARK} thermalservice"; dumpsys thermalservice | grep -m 1 'Thermal Status'
fi
exit 0
"""
"""One command for one round trip; what a device does not have is left out."""

_PI_FLAGS = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of a Raspberry Pi's firmware; 16 bits higher: has happened since it was booted."""
_ANDROID_STATUS = (
    "none", "light", "moderate", "severe", "critical", "emergency", "shutdown",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clock:
    """CPUs that share a clock, in kHz; None where the device does not tell.

    `limit_khz` is what the system allows at the moment, `max_khz` what the chip can do.
    """

    cpus: str
    driver: str | None
    governor: str | None
    current_khz: int | None
    limit_khz: int | None
    max_khz: int | None

    @property
    def held_down(self) -> bool:
        """Whether it is below its limit though its governor asks for the limit.

        Chips that choose their clock themselves (P-states) tell low clocks while they rest.
        """
        if self.governor != "performance" or "pstate" in (self.driver or ""):
            return False
        return (self.current_khz or 0) < _SLOW_CLOCK * (self.limit_khz or 0) and bool(
            self.current_khz
        )


@dataclass(frozen=True, slots=True)
class ThermalState:
    """How warm a device is and what it does about it, at one moment.

    `cooling` is how far each passive way to cool (fans excepted) is in use, `active` what the
    firmware says limits it now, `counters` how often it was limited since it was booted. `zones`
    are all zones that it has; those that tell no temperature now are not in `temperatures_c`.
    """

    temperatures_c: Mapping[str, float]
    clocks: tuple[Clock, ...]
    cooling: Mapping[str, int]
    active: tuple[str, ...]
    counters: Mapping[str, int]
    zones: tuple[str, ...] = ()

    def hottest_c(self, zones: tuple[str, ...] = ()) -> float | None:
        """Return the highest temperature of these zones, of all if none are named."""
        named = {name for zone in zones for name in zone.split("|")}
        return max(
            (one for zone, one in self.temperatures_c.items() if not zones or zone in named),
            default=None,
        )

    def missing(self, zones: tuple[str, ...]) -> list[str]:
        """Return those of the zones, as a description names them, that the device does not have."""
        return [zone for zone in zones if not set(zone.split("|")) & set(self.zones)]


@dataclass(frozen=True, slots=True)
class Pause:
    """One time that a device was found throttled, as data for a table's passport.

    `since_s` is how long before it was found the last look was that found nothing: what was timed
    in between may be slow. `waited_s` is 0 where it was over when it was found.
    """

    reasons: tuple[str, ...]
    hottest_c: float | None
    since_s: float
    waited_s: float
    resumed_c: float | None


def read_thermal(connector: Connector) -> ThermalState:
    """Return the present state of the device behind `connector`.

    Raises:
        DeviceError: the device cannot be asked.
    """
    done = connector.run(["sh", "-c", _READ_THERMAL], timeout_s=_TIMEOUT_S)
    return parse_thermal(done.stdout.decode(errors="replace"))


def parse_thermal(text: str) -> ThermalState:
    """Return the state in what the reading command printed."""
    files = sections(text)
    flags = int(match[1], 16) if (match := _found(r"throttled=0x([0-9a-fA-F]+)", files)) else 0
    active = [what for bit, what in _PI_FLAGS.items() if flags >> bit & 1]
    status = int(match[1]) if (match := _found(r"Thermal Status: ([0-9]{1,9})", files)) else 0
    if status:
        word = _ANDROID_STATUS[min(status, len(_ANDROID_STATUS) - 1)]
        active.append(f"thermal status {status} ({word})")
    counters = {
        path: count
        for path, body in files.items()
        if path.endswith(("_throttle_count", "_event_cnt"))
        and (count := whole_number(body)) is not None
    }
    if flags >> 16:
        counters["vcgencmd"] = flags >> 16
    temperatures_c = dict(_temperatures(files))
    types = {text for path, text in files.items() if re.search(r"/thermal_zone\d+/type$", path)}
    return ThermalState(
        temperatures_c=temperatures_c,
        clocks=tuple(_clocks(files)),
        cooling=dict(_cooling(files)),
        active=tuple(active),
        counters=counters,
        zones=tuple(sorted(types - {""} | set(temperatures_c))),
    )


def throttled(
    state: ThermalState,
    limits: ThrottlingLimits,
    *,
    reference: ThermalState | None = None,
    cooling_down: bool = False,
) -> tuple[str, ...]:
    """Return why the device is slower than it could be, nothing if it is not.

    Args:
        state: now.
        limits: of the device's description.
        reference: the device when it was ready for measuring; what it allows itself less now
            than then is throttling. Without it only what the device itself reports counts.
        cooling_down: whether the lower limit counts, under which timing goes on.
    """
    limit = limits.resume_below_c if cooling_down else limits.pause_above_c
    hottest = state.hottest_c(limits.zones)
    reasons = list(state.active)
    if limit is not None and hottest is not None and hottest > limit:
        reasons.append(f"{hottest:.1f} °C, allowed {limit:g} °C")
    reasons += [
        f"CPUs {clock.cpus} run at {(clock.current_khz or 0) // 1000} of "
        f"{(clock.limit_khz or 0) // 1000} MHz"
        for clock in state.clocks
        if clock.held_down
    ]
    if reference is not None:
        reasons += _less_than_then(state, reference)
    return tuple(reasons)


def wait_until_cool(  # noqa: PLR0913
    connector: Connector,
    limits: ThrottlingLimits,
    *,
    reference: ThermalState | None = None,
    timeout_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[ThermalState, float]:
    """Wait until the device is not throttled and below the lower limit.

    Returns:
        Its state then, and how many seconds that took.

    Raises:
        DeviceTimeoutError: it did not cool in time; by default that of the limits.
        DeviceError: the device cannot be asked.
    """
    timeout_s = limits.timeout_s if timeout_s is None else timeout_s
    began = clock()
    while True:
        state = read_thermal(connector)
        reasons = throttled(state, limits, reference=reference, cooling_down=True)
        waited_s = clock() - began
        if not reasons:
            return state, waited_s
        if waited_s >= timeout_s:
            raise DeviceTimeoutError(
                f"{connector.address} is still throttled after {timeout_s:g} s: "
                f"{'; '.join(reasons)}; what was measured is kept: cool the device (fan, power "
                "supply, shade), or set other limits under throttling: in its description, and "
                "run the same command again"
            )
        sleep(min(_POLL_S, timeout_s - waited_s))


class ThrottlingWatch:
    """Looks from time to time whether a device that is being measured is throttled, and waits.

    It begins by waiting until the device is cool; its state then is the reference.

    Raises:
        DeviceTimeoutError: it does not cool in time.
        DeviceError: the device cannot be asked, or lacks a zone that its description names.
    """

    def __init__(
        self,
        connector: Connector,
        limits: ThrottlingLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connector, self._limits = connector, limits
        self._clock, self._sleep = clock, sleep
        self._reference: ThermalState | None = None
        self.pauses: list[Pause] = []
        """Every time that it was found throttled."""
        state = read_thermal(connector)
        _check_zones(state, limits, connector.address)
        reasons = throttled(state, limits)
        if reasons:
            state = self._wait(state, reasons, since_s=0.0)
        self.reference = self._reference = self._last = state
        """The device when it was ready for measuring."""
        self._looked_s = clock()

    def look(self) -> Pause | None:
        """Look, unless that was a moment ago; wait if the device is throttled, and say so.

        Raises:
            DeviceTimeoutError: it does not cool in time.
            DeviceError: the device cannot be asked.
        """
        since_s = self._clock() - self._looked_s
        if since_s < self._limits.check_every_s:
            return None
        state = read_thermal(self._connector)
        reasons = throttled(state, self._limits, reference=self.reference)
        happened = tuple(_grown(state, self._last))
        n_pauses = len(self.pauses)
        if reasons:
            state = self._wait(state, reasons + happened, since_s=since_s)
        elif happened:
            hottest_c = state.hottest_c(self._limits.zones)
            self.pauses.append(Pause(happened, hottest_c, round(since_s, 3), 0.0, hottest_c))
        self._last, self._looked_s = state, self._clock()
        return self.pauses[-1] if len(self.pauses) > n_pauses else None

    def _wait(
        self, state: ThermalState, reasons: tuple[str, ...], *, since_s: float
    ) -> ThermalState:
        """Wait until the device is cool, record that, and return its state then."""
        log.warning("the device is throttled, timing waits: %s", "; ".join(reasons))
        cool, waited_s = wait_until_cool(
            self._connector,
            self._limits,
            reference=self._reference,
            clock=self._clock,
            sleep=self._sleep,
        )
        zones = self._limits.zones
        self.pauses.append(
            Pause(
                reasons,
                state.hottest_c(zones),
                round(since_s, 3),
                round(waited_s, 3),
                cool.hottest_c(zones),
            )
        )
        return cool


def _check_zones(state: ThermalState, limits: ThrottlingLimits, address: str) -> None:
    missing = state.missing(limits.zones)
    if missing:
        raise DeviceError(
            f"{address} has no thermal zones {', '.join(missing)}; it has "
            f"{', '.join(state.zones) or 'none'}; correct throttling.zones in its description"
        )


def _less_than_then(state: ThermalState, reference: ThermalState) -> Iterator[str]:
    """Yield what the device allows itself less than when it was ready."""
    then = {clock.cpus: clock.limit_khz for clock in reference.clocks}
    for clock in state.clocks:
        before = then.get(clock.cpus)
        if before and clock.limit_khz and clock.limit_khz < before:
            yield (
                f"CPUs {clock.cpus} are limited to {clock.limit_khz // 1000} MHz, "
                f"{before // 1000} MHz before"
            )
    for name, level in state.cooling.items():
        if level > reference.cooling.get(name, 0):
            yield f"{name} cools at level {level}, {reference.cooling.get(name, 0)} before"


def _grown(state: ThermalState, last: ThermalState) -> Iterator[str]:
    for name, count in state.counters.items():
        if count > last.counters.get(name, 0):
            yield f"throttled since the last look ({name})"


def _temperatures(files: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    seen: set[str] = set()
    for path, text in files.items():
        if not re.search(r"/thermal_zone\d+/temp$", path) or not re.fullmatch(r"-?\d+", text):
            continue
        folder = path.rpartition("/")[0]
        zone = files.get(f"{folder}/type") or folder.rpartition("/")[2]
        if zone in seen:
            zone = f"{zone}:{folder.rpartition('thermal_zone')[2]}"
        seen.add(zone)
        value = float(text)
        # The kernel tells thousandths; some vendors' zones tell tenths or degrees.
        value /= 1000 if abs(value) >= 1000 else 10 if abs(value) >= 200 else 1
        if _PLAUSIBLE_C[0] < value < _PLAUSIBLE_C[1]:
            yield zone, value


def _clocks(files: Mapping[str, str]) -> Iterator[Clock]:
    folders = sorted({path.rpartition("/")[0] for path in files if "/cpufreq/policy" in path})
    for folder in folders:

        def khz(name: str, folder: str = folder) -> int | None:
            return whole_number(files.get(f"{folder}/{name}", ""))

        yield Clock(
            cpus=files.get(f"{folder}/related_cpus") or folder.rpartition("policy")[2],
            driver=files.get(f"{folder}/scaling_driver"),
            governor=files.get(f"{folder}/scaling_governor"),
            current_khz=khz("scaling_cur_freq"),
            limit_khz=khz("scaling_max_freq"),
            max_khz=khz("cpuinfo_max_freq"),
        )


def _cooling(files: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    for path, text in files.items():
        match = re.search(r"/(cooling_device\d+)/cur_state$", path)
        level = whole_number(text)
        if match and level is not None:
            kind = files.get(path.removesuffix("cur_state") + "type", "")
            if "fan" not in kind.lower() and not _WARNS_ONLY.search(kind):
                yield f"{kind or 'unnamed'} ({match[1]})", level


def _found(pattern: str, files: Mapping[str, str]) -> re.Match[str] | None:
    text = files.get("vcgencmd", "") + "\n" + files.get("thermalservice", "")
    return re.search(pattern, text)
