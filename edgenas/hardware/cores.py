"""Which of a device's CPUs are fast and which are slow, and those that an affinity means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.base import Connector
from edgenas.hardware.description import EngineSettings
from edgenas.hardware.fingerprint import MARK, SHOW, cpus_of, sections, whole_number

_TIMEOUT_S = 30.0
_SAME_KIND = 0.9
"""Cores whose speeds differ by less are of one kind: some of them only boost a little higher."""
_READ_CORES = f"""{SHOW}
show /sys/devices/system/cpu/online; show /sys/devices/system/cpu/present
echo "{MARK} allowed"; grep Cpus_allowed_list /proc/self/status 2>/dev/null
for file in /sys/devices/system/cpu/cpu[0-9]*/cpu_capacity \
  /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do show "$file"; done
exit 0
"""


@dataclass(frozen=True, slots=True)
class Core:
    """One CPU as the system numbers it; None where it does not tell."""

    cpu: int
    capacity: int | None
    max_khz: int | None


@dataclass(frozen=True, slots=True)
class Cores:
    """The CPUs of a device that its processes may use, in their order."""

    every: tuple[Core, ...]

    @property
    def kinds(self) -> tuple[tuple[int, ...], ...]:
        """The CPUs by kind of core, the slowest kind first; one kind if speeds are not told."""
        speeds = self._speeds()
        kinds: list[list[int]] = []
        least = 0.0
        for core in sorted(self.every, key=lambda core: (speeds[core.cpu], core.cpu)):
            if not kinds or least < _SAME_KIND * speeds[core.cpu]:
                kinds.append([])
                least = speeds[core.cpu]
            kinds[-1].append(core.cpu)
        return tuple(tuple(sorted(kind)) for kind in kinds)

    @property
    def speeds_told(self) -> bool:
        """Whether the device tells how fast its cores are."""
        return any(self._speeds().values())

    def chosen(self, affinity: str, threads: int) -> tuple[int, ...]:
        """Return the CPUs for `threads` threads: ``big``, ``little`` or ``all``.

        Where the fastest (slowest) kind has too few cores, the next kinds are added.

        Raises:
            DeviceError: the device does not tell which cores are which, or has too few.
        """
        cpus = [core.cpu for core in self.every]
        if threads > len(cpus):
            raise DeviceError(
                f"{threads} threads are asked for and the device has the CPUs {cpus}; "
                "set fewer threads in its description"
            )
        if affinity == "all":
            return tuple(cpus)
        if not self.speeds_told:
            raise DeviceError(
                f"the affinity {affinity!r} is asked for and the device tells neither capacity "
                f"nor frequency of its CPUs {cpus}; list the CPUs themselves in its description"
            )
        chosen: list[int] = []
        for kind in self.kinds[::-1] if affinity == "big" else self.kinds:
            chosen += kind[-(threads - len(chosen)) :] if threads > len(chosen) else ()
        return tuple(sorted(chosen))

    def _speeds(self) -> dict[int, float]:
        """Return a number that grows with each core's speed: all capacities, else all clocks."""
        for name in ("capacity", "max_khz"):
            values = {core.cpu: getattr(core, name) for core in self.every}
            if values and all(values.values()):
                return {cpu: float(value) for cpu, value in values.items()}
        return {core.cpu: 0.0 for core in self.every}


def read_cores(connector: Connector) -> Cores:
    """Return the CPUs that a process on the device behind `connector` may use.

    Raises:
        DeviceError: the device cannot be asked or does not tell.
    """
    done = connector.run(["sh", "-c", _READ_CORES], timeout_s=_TIMEOUT_S)
    return parse_cores(done.stdout.decode(errors="replace"))


def parse_cores(text: str) -> Cores:
    """Return the CPUs in what the reading command printed.

    Raises:
        DeviceError: the text lists no CPUs.
    """
    files = sections(text)
    folder = "/sys/devices/system/cpu"
    allowed = cpus_of(files.get("allowed", "").partition(":")[2])
    online = cpus_of(files.get(f"{folder}/online", files.get(f"{folder}/present", "")))
    cpus = sorted(set(online) & set(allowed)) if online and allowed else online or allowed
    if not cpus:
        raise DeviceError("the device does not tell which CPUs it has (no /sys/devices/system/cpu)")

    def number(cpu: int, file: str) -> int | None:
        return whole_number(files.get(f"{folder}/cpu{cpu}/{file}", ""))

    return Cores(
        tuple(
            Core(cpu, number(cpu, "cpu_capacity"), number(cpu, "cpufreq/cpuinfo_max_freq"))
            for cpu in cpus
        )
    )


def cpus_text(cpus: Sequence[int]) -> str:
    """Return CPUs as the kernel writes lists of them, such as ``0-3,7``."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in parts)


def needs_cores(settings: EngineSettings) -> bool:
    """Return whether the affinity names a kind of core, which the device has to be asked about."""
    return settings.affinity in ("big", "little", "all")
