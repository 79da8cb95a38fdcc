"""The INA3221 chips of Jetson boards, under the drivers of JetPack 4 (iio) and 5 and 6 (hwmon).

The old driver tells each rail's name and power in mW; the new one its label, mV and mA.

The chip converts the shunt's and the supply's voltage of each channel in turn, and averages over a
number of such rounds as it goes on: a value holds what was in the last rounds, however often it is
read. Conversion times and numbers of samples: Texas Instruments, INA3221 (SBOS576).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from edgenas.core.errors import DeviceError, choices
from edgenas.hardware.connectors.base import Connector
from edgenas.hardware.fingerprint import whole_number
from edgenas.hardware.power.base import METERS, Meter, PowerTrace, Reading, Source, listed
from edgenas.hardware.power.settings import Ina3221Settings

_SAMPLES = (1, 4, 16, 64, 128, 256, 512, 1024)
_CONVERSION_US = (140, 204, 332, 588, 1100, 2116, 4156, 8244)
_CONTINUOUS = 0x7727
"""The old driver's own setting while it converts all the time: 64 samples, 1.1 ms each voltage."""
_REFRESH_S = 0.01
"""A round of three channels by the new driver's own setting, and one on demand by the old one's."""
_LONGEST_ROUND_MS = 3 * 2 * _CONVERSION_US[-1] / 1e3
_FIND = r"""
for name in "$1"/bus/i2c/drivers/ina3221*/*/iio:device*/rail_name_[0-9] \
            "$1"/bus/i2c/drivers/ina3221*/*/iio_device/rail_name_[0-9]; do
  number=${name##*_}; power=${name%/*}/in_power${number}_input; setting=continuous
  mode=$(cat "${name%/*}/running_mode" 2>/dev/null)
  if [ "$mode" = 0 ]; then setting=trigger; fi
  config=$(od -An -tx1 "${name%/iio*}/of_node/ti,$setting-config" 2>/dev/null | tr -d ' \n')
  [ -e "$power" ] && printf '%s\t%s:%s\t%s\n' "$(cat "$name")" "$setting" "$config" "$power"
done
for name in "$1"/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/in[1-3]_label; do
  number=${name##*/in}; number=${number%_label}
  current=${name%/*}/curr${number}_input; voltage=${name%/*}/in${number}_input
  samples=$(cat "${name%/*}/samples" 2>/dev/null)
  interval=$(cat "${name%/*}/update_interval" 2>/dev/null)
  [ -e "$current" ] && printf '%s\thwmon:%s:%s\t%s\t%s\n' \
    "$(cat "$name")" "$samples" "$interval" "$current" "$voltage"
done
exit 0
"""


@METERS.add("ina3221")
class Ina3221(Meter):
    """Rails by name; their powers are added."""

    kind: ClassVar[str] = "ina3221"

    def __init__(
        self,
        settings: Ina3221Settings,
        files: Sequence[tuple[str, ...]],
        refresh_s: float = _REFRESH_S,
    ) -> None:
        self._settings = settings
        self._files = tuple(files)
        self.refresh_s = settings.refresh_s or refresh_s

    @classmethod
    def find(cls, connector: Connector, settings: Ina3221Settings) -> Self:  # noqa: D102
        rows = listed(connector, _FIND, settings.sysfs)
        rails = {row[0]: tuple(row[1:]) for row in rows if len(row) > 2 and row[0]}
        if not rails:
            raise DeviceError(
                f"no INA3221 under {settings.sysfs}/bus/i2c/drivers on {connector.address}; "
                "if tegrastats shows powers there, use the meter tegrastats"
            )
        for rail in settings.rails:
            if rail not in rails:
                raise DeviceError(f"the INA3221 has no rail {rail!r}; {choices(rail, rails)}")
        chosen = [rails[rail] for rail in settings.rails]
        return cls(settings, [row[1:] for row in chosen], max(refresh_s(row[0]) for row in chosen))

    @property
    def name(self) -> str:  # noqa: D102
        return f"ina3221 {'+'.join(self._settings.rails)}"

    @property
    def source(self) -> Source:  # noqa: D102
        paths = tuple(path for files in self._files for path in files)
        return Source("files", self._settings.interval_s, paths=paths)

    def trace(self, readings: Sequence[Reading]) -> PowerTrace:  # noqa: D102
        rows = self._whole(readings, sum(map(len, self._files)))
        return self._gauge(readings, np.array([self._power_mw(row) for row in rows]))

    def _power_mw(self, texts: Sequence[str]) -> float:
        numbers = [self._number(text) for text in texts]
        total, start = 0.0, 0
        for files in self._files:
            part = numbers[start : start + len(files)]
            # One file is the power in mW; two are the current in mA and the voltage in mV.
            total += part[0] if len(part) == 1 else part[0] * part[1] / 1e3
            start += len(files)
        return total


def refresh_s(setting: str) -> float:
    """Return how old what a chip shows may be, by the setting that its driver tells.

    ``continuous:00007727`` and ``trigger:00007003`` are registers in hexadecimal, by the old driver
    (nothing after the colon: not told); ``hwmon:64:422`` are samples and ms, by the new one.
    """
    kind, _, facts = setting.partition(":")
    if kind == "hwmon":
        samples, interval_ms = (whole_number(text) or 0 for text in facts.split(":"))
        # Up to Linux 6.1 the interval holds all samples, later it is that of one round.
        n_rounds = samples if interval_ms <= _LONGEST_ROUND_MS else 1
        return max(n_rounds * interval_ms / 1e3, _REFRESH_S)
    register = int(facts, 16) if re.fullmatch(r"[0-9a-f]{8}", facts) else 0
    if not register >> 12 & 7:  # no channel: it is not told
        register = _CONTINUOUS if kind == "continuous" else 0
    n_channels = (register >> 12 & 7).bit_count()
    round_us = n_channels * (_CONVERSION_US[register >> 6 & 7] + _CONVERSION_US[register >> 3 & 7])
    return max(_SAMPLES[register >> 9 & 7] * round_us / 1e6, _REFRESH_S)
