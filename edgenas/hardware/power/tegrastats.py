"""NVIDIA's `tegrastats`: powers and temperatures in its lines, as JetPack 3 to 6 print them.

Powers are ``NAME now/average`` in mW, with the unit since JetPack 4.6; temperatures are
``NAME@41.5C``, where -256 is a part that is switched off; memory is ``RAM used/allMB``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from edgenas.core.errors import DeviceError, choices
from edgenas.hardware.connectors.base import Connector
from edgenas.hardware.power.base import METERS, Meter, PowerTrace, Reading, Source, listed
from edgenas.hardware.power.settings import TegrastatsSettings

_POWER = re.compile(
    r"(?<!\S)(?!I?RAM |SWAP )([A-Z][A-Z0-9_]*) ([0-9]{1,9})(mW)?/([0-9]{1,9})(mW)?(?!\S)"
)
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z][\w.-]*)@(-?[0-9]{1,4}(?:\.[0-9]{1,6})?)C(?!\S)")
_MEMORY = re.compile(r"(?<!\S)RAM ([0-9]{1,9})/([0-9]{1,9})MB(?!\S)")
_OFF_C = -256.0
_FIND = 'command -v "$1" || true'


@dataclass(frozen=True, slots=True)
class Tegrastats:
    """One line: power of the moment by rail, temperature by zone, memory in use."""

    power_mw: dict[str, float]
    temperature_c: dict[str, float]
    memory_mib: int
    memory_total_mib: int


def parse_line(line: str) -> Tegrastats:
    """Return what a line tells.

    Raises:
        DeviceError: it is no line of tegrastats.
    """
    memory = _MEMORY.search(line)
    if memory is None:
        raise DeviceError(f"{line!r:.100} is no line of tegrastats: it has no 'RAM used/allMB'")
    powers = {}
    for name, now, unit, _, unit_after in _POWER.findall(line):
        if unit != unit_after:
            raise DeviceError(f"{line!r:.100}: the rail {name} has two units")
        powers[name] = float(now)
    temperatures = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    return Tegrastats(
        power_mw=powers,
        temperature_c={name: value for name, value in temperatures.items() if value > _OFF_C},
        memory_mib=int(memory[1]),
        memory_total_mib=int(memory[2]),
    )


@METERS.add("tegrastats")
class TegrastatsMeter(Meter):
    """Rails by name; their powers are added. It costs the board a program that runs beside."""

    kind: ClassVar[str] = "tegrastats"

    def __init__(self, settings: TegrastatsSettings) -> None:
        self._settings = settings
        self.refresh_s = settings.refresh_s or settings.interval_s

    @classmethod
    def find(cls, connector: Connector, settings: TegrastatsSettings) -> Self:
        """Return the meter; its rails are known once it prints."""
        if not listed(connector, _FIND, settings.program):
            raise DeviceError(
                f"there is no program {settings.program!r} on {connector.address}; "
                "name its path under power.program"
            )
        return cls(settings)

    @property
    def name(self) -> str:  # noqa: D102
        return f"tegrastats {'+'.join(self._settings.rails)}"

    @property
    def source(self) -> Source:  # noqa: D102
        interval_ms = max(1, round(self._settings.interval_s * 1e3))
        argv = (self._settings.program, "--interval", str(interval_ms))
        return Source("lines", self._settings.interval_s, argv=argv)

    def trace(self, readings: Sequence[Reading]) -> PowerTrace:  # noqa: D102
        rows = self._whole(readings, 1)
        return self._gauge(readings, np.array([self._power_mw(row[0]) for row in rows]))

    def _power_mw(self, line: str) -> float:
        powers = parse_line(line).power_mw
        for rail in self._settings.rails:
            if rail not in powers:
                raise DeviceError(f"tegrastats shows no rail {rail!r}; {choices(rail, powers)}")
        return sum(powers[rail] for rail in self._settings.rails)
