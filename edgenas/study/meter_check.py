"""Reads the power meter of a device at rest for a moment, and judges what it shows."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.base import Connector
from edgenas.hardware.noise import Observation
from edgenas.hardware.power import Meter, Reading
from edgenas.hardware.power.shell_sampler import ShellSampler
from edgenas.runtimes.agent_bench import AgentBench

NAME = "power meter"
_READ_S = 2.0
_SOURCE = "power"
_PLAUSIBLE_MW = (1.0, 2e6)
"""From a sleeping microcontroller to a server with its GPUs."""


def by_shell(connector: Connector, meter: Meter) -> Observation:
    """Read the meter's files by a loop of the device's shell.

    Raises:
        DeviceError: the device cannot be asked.
        UsageError: the meter shows itself in no files.
    """
    with ShellSampler(connector, meter.source) as sampler:
        time.sleep(_READ_S)
        readings = sampler.readings()
    return judged(meter, readings)


def by_agent(bench: AgentBench, meter: Meter) -> Observation:
    """Read the meter by the measuring process.

    Raises:
        AgentError: what it reads is not there.
    """
    bench.sample({_SOURCE: meter.source})
    time.sleep(_READ_S)
    readings = bench.readings().get(_SOURCE, [])
    bench.sample({})
    return judged(meter, readings)


def judged(meter: Meter, readings: Sequence[Reading]) -> Observation:
    """Return what is to be thought of a meter that showed this while the device was at rest."""
    shown = {reading.values for reading in readings}
    if len(readings) > 1 and len(shown) == 1 and None not in readings[0].values:
        return Observation(
            NAME, "note",
            f"{meter.name}: found; {len(readings)} readings within {_READ_S:g} s are all "
            f"{', '.join(map(str, readings[0].values))}",
            "slow gauges do so at rest; if it stands still under load, energy is refused",
        )  # fmt: skip
    try:
        trace = meter.trace(readings)
    except DeviceError as error:
        return Observation(
            NAME, "warning", str(error), "correct power: in the description, or name another meter"
        )
    mean_mw = float(trace.energy_mj[-1] / (trace.at_s[-1] - trace.at_s[0]))
    least_mw, most_mw = _PLAUSIBLE_MW
    text = f"{meter.name}: {mean_mw:.0f} mW at rest, {len(readings)} readings in {_READ_S:g} s"
    if meter.refresh_s is not None:
        text += f", a new value every {meter.refresh_s:g} s"
    if least_mw <= mean_mw <= most_mw:
        return Observation(NAME, "ok", text)
    return Observation(
        NAME, "warning", f"{text}, which no device draws",
        "see that power: in the description names the right rails or units",
    )  # fmt: skip
