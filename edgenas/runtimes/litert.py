"""LiteRT: runs `.tflite` files, with the delegate XNNPACK unless a device's settings say none."""

from __future__ import annotations

from edgenas.core.precision import PRECISIONS
from edgenas.hardware.description import DeviceDescription, LiteRtSettings
from edgenas.runtimes.agent_bench import AgentRuntime
from edgenas.runtimes.base import RUNTIMES


@RUNTIMES.add("litert")
class LiteRt(AgentRuntime):
    """LiteRT's interpreter.

    XNNPACK computes int8 in integers. Float16 models have float16 weights; it computes with them
    in float16 where the processor can (ARMv8.2 and later) and in float32 elsewhere.
    """

    name = "litert"
    format = "tflite"
    precisions = PRECISIONS
    module = "ai_edge_litert.interpreter"
    distribution = "ai-edge-litert"
    packages_there = "numpy and ai-edge-litert (for Python 3.8: tflite-runtime) by its pip"

    def settings(self, description: DeviceDescription) -> LiteRtSettings:  # noqa: D102
        return description.runtimes.litert
