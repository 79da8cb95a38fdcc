"""LiteRT: runs `.tflite` files, with the delegate XNNPACK unless a device's settings say none."""

from __future__ import annotations

from edgenas.hardware.description import DeviceDescription, LiteRtSettings
from edgenas.runtimes.base import RUNTIMES, Runtime


@RUNTIMES.add("litert")
class LiteRt(Runtime):
    """LiteRT's interpreter."""

    name = "litert"
    format = "tflite"
    precisions = ("float32",)
    module = "ai_edge_litert.interpreter"
    distribution = "ai-edge-litert"

    def settings(self, description: DeviceDescription) -> LiteRtSettings:  # noqa: D102
        return description.runtimes.litert
