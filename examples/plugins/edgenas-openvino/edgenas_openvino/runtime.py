"""OpenVINO's CPU plugin as a runtime: what devices are told, and what they need."""

from __future__ import annotations

from typing import ClassVar

from edgenas.core.precision import PRECISIONS
from edgenas.hardware.description import DeviceDescription, EngineSettings
from edgenas.runtimes.agent_bench import AgentRuntime


class OpenVinoSettings(EngineSettings):
    """Settings of OpenVINO: `bf16` allows it to compute float32 in bfloat16 where it can."""

    bf16: bool = False


class OpenVinoRuntime(AgentRuntime):
    """OpenVINO on the CPU, one stream.

    int8 is computed in integers, weight_int8 in float32. float16 models have float16 weights; it
    computes with them in float16 where the processor can, and in float32 elsewhere.
    """

    name = "openvino"
    format = "openvino"
    precisions = PRECISIONS
    module = "openvino"
    distribution = "openvino"
    requirement: ClassVar[str] = "edgenas-openvino"
    packages_there = "numpy and openvino by its pip"
    device_module = "edgenas_openvino.device"

    def settings(self, description: DeviceDescription) -> OpenVinoSettings:
        """Return the block ``runtimes.openvino`` of the device file, or the defaults."""
        return description.runtimes.of(self.name, OpenVinoSettings)
