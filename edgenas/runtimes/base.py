"""What a runtime is: an engine that runs one format of model file on a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from edgenas.core.extras import EXTRAS, unavailable_reason
from edgenas.core.registry import Registry
from edgenas.hardware.description import DeviceDescription, EngineSettings


class Runtime(ABC):
    """An engine, by name; it holds no state and runs nothing in this process."""

    name: ClassVar[str]
    format: ClassVar[str]
    """The format of the model files that it runs; see `edgenas.core.artifact.FORMATS`."""
    precisions: ClassVar[tuple[str, ...]]
    module: ClassVar[str]
    """What the measuring process imports."""
    distribution: ClassVar[str]
    """The installed package that brings the module."""

    @abstractmethod
    def settings(self, description: DeviceDescription) -> EngineSettings:
        """Return the settings of this runtime on a device."""

    @property
    def extra(self) -> str:
        """The extra of edgenas that installs the engine."""
        return EXTRAS[self.module.partition(".")[0]]

    def unavailable_reason(self) -> str | None:
        """Return why the engine cannot be used on this machine, or None if it can."""
        return unavailable_reason(self.module)

    def version(self) -> str | None:
        """Return the engine's version on this machine, or None if it is not installed."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    def agent_settings(self, description: DeviceDescription) -> dict[str, Any]:
        """Return the settings as the measuring process takes them; the affinity None is auto."""
        values = self.settings(description).model_dump(mode="json")
        return {**values, "affinity": None if values["affinity"] == "auto" else values["affinity"]}


RUNTIMES: Registry[type[Runtime]] = Registry("runtime")
"""Runtimes by name."""
