"""The engine's part in the measuring process."""

from edgenas.runtimes.agent.engines import Engine
from edgenas.runtimes.agent.onnx_models import OnnxRuntimeModel

ENGINES = (Engine("onnxruntime", ("onnxruntime",), OnnxRuntimeModel),)
