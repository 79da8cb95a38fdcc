"""Everything that is measured of one model file on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgenas.core.artifact import Artifact
from edgenas.core.errors import UsageError
from edgenas.core.measurement import Measurement, MeasurementPlan
from edgenas.hardware.device import Device
from edgenas.hardware.energy import EnergyReading
from edgenas.profiling.endurance import Endurance, measure_endurance
from edgenas.profiling.energy import measure_energy
from edgenas.profiling.footprint import Footprint, measure_footprints
from edgenas.profiling.measure import measure_files
from edgenas.profiling.progress import Progress, silent
from edgenas.profiling.retrying import N_RETRIES
from edgenas.runtimes import RUNTIMES
from edgenas.runtimes.base import runtimes_on

_KEY = "model"


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """What was measured; None where it was not asked for."""

    latency: Measurement
    footprint: Footprint | None
    endurance: Endurance | None
    energy: EnergyReading | None


def runtime_for(artifact: Artifact, device: Device, runtime: str | None) -> str:
    """Return the runtime asked for, or the first one on the device that runs the file.

    Raises:
        RegistryError: there is no such runtime.
        UsageError: it does not run such files, or none on the device does.
    """
    if runtime is not None:
        RUNTIMES.get(runtime)
    there = runtimes_on(device.description)
    fitting = [name for name in there if RUNTIMES.get(name).runs(artifact.format)]
    chosen = runtime or (fitting[0] if fitting else "")
    if chosen not in fitting:
        raise UsageError(
            f"{artifact.path} is a file for {artifact.format}; runtimes that run it here: "
            f"{', '.join(fitting) or 'none'}"
        )
    return chosen


def measure_model(  # noqa: PLR0913
    model: Path,
    device: Device,
    *,
    runtime: str | None = None,
    precision: str = "float32",
    plan: MeasurementPlan | None = None,
    footprint: bool = False,
    endurance_s: float | None = None,
    energy: bool = False,
    progress: Progress = silent,
) -> MeasuredModel:
    """Time a model file on a device, and measure what else is asked for.

    Args:
        model: an ONNX or TFLite file, or a TensorRT engine of the device's own.
        device: where to measure; held for all of it.
        runtime: which engine; by default the one for the file's suffix.
        precision: of the file; an engine that builds its own from it has to know.
        plan: how often to time it.
        footprint: measure load time, cold start and peak memory too.
        endurance_s: run it back to back for so long, for the latency under load.
        energy: measure the energy of an inference, or model it where the device file says so.
        progress: told how far it is.

    Raises:
        UsageError: no runtime runs such files.
        DeviceError: the device, its meter or the engine failed.
    """
    artifact = Artifact.of(model)
    chosen = runtime_for(artifact, device, runtime)
    paths = {_KEY: artifact.path}
    with device.claim():
        latency = measure_files(
            device,
            chosen,
            paths,
            plan or MeasurementPlan(),
            precision=precision,
            n_retries=N_RETRIES,
            progress=progress,
        )[_KEY]
        prints, joules = {}, {}
        if footprint:
            prints = measure_footprints(
                device, chosen, paths, precision=precision, progress=progress
            )
        if energy:
            joules = measure_energy(device, chosen, paths, precision=precision, progress=progress)
        endurance = None
        if endurance_s is not None:
            endurance = measure_endurance(
                device,
                chosen,
                artifact.path,
                precision=precision,
                duration_s=endurance_s,
                tail_s=endurance_s / 3,
                progress=progress,
            )
    return MeasuredModel(latency, prints.get(_KEY), endurance, joules.get(_KEY))
