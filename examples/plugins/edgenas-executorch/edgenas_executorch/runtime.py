"""ExecuTorch with XNNPACK as a runtime: what devices are told, and what they need."""

from __future__ import annotations

from typing import ClassVar

from edgenas.hardware.description import DeviceDescription, EngineSettings
from edgenas.runtimes.agent_bench import AgentRuntime
from edgenas_executorch.quiet import reason_without


class ExecuTorchRuntime(AgentRuntime):
    """ExecuTorch's runtime by its Python package, which needs torch beside it."""

    name = "executorch"
    format = "executorch"
    precisions = ("float32", "int8")
    module = "executorch.runtime"
    distribution = "executorch"
    requirement: ClassVar[str] = "edgenas-executorch"
    packages_there = "numpy, torch and executorch by its pip"
    device_module = "edgenas_executorch.device"

    def unavailable_reason(self) -> str | None:
        """Return why ExecuTorch cannot be used on this machine."""
        return reason_without(self.module)

    def settings(self, description: DeviceDescription) -> EngineSettings:
        """Return the block ``runtimes.executorch`` of the device file, or the defaults."""
        return description.runtimes.of(self.name, EngineSettings)
