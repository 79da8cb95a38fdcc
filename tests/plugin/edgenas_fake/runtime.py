"""onnxruntime under another name, with a setting of its own."""

from typing import ClassVar

from edgenas.hardware.description import DeviceDescription, OnnxRuntimeSettings
from edgenas.runtimes.agent_bench import AgentRuntime


class FakeSettings(OnnxRuntimeSettings):
    """A setting that means nothing, and decides."""

    spice: int = 0


class FakeRuntime(AgentRuntime):
    """Its part of the measuring process travels with it."""

    name = "fake"
    format = "fake"
    precisions = ("float32",)
    module = "onnxruntime"
    distribution = "onnxruntime"
    requirement: ClassVar[str] = "edgenas-fake"
    packages_there = "nothing more"
    device_module = "edgenas_fake.device"

    def settings(self, description: DeviceDescription) -> FakeSettings:
        """Return the block of the device file."""
        return description.runtimes.of(self.name, FakeSettings)
