"""Opens the model file with OpenVINO and lets it answer; bundles hold a copy of this module."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
import openvino


class Model:
    """An opened archive of OpenVINO's two files, with one input and one output.

    Attributes:
        engine: name and version of what runs it.
        inputs: name, shape and type of the input.
        outputs: the same of the output.
        batch: how many images it takes at once.
    """

    def __init__(self, path: str, threads: int, options: dict[str, Any]) -> None:
        """Open the file; `options` are those of its manifest."""
        core = openvino.Core()
        with zipfile.ZipFile(path) as archive:
            model = core.read_model(archive.read("model.xml"), archive.read("model.bin"))
        # Left alone, OpenVINO computes float32 in bfloat16 where the processor can.
        abilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        halves = options.get("precision") == "float16" and "FP16" in abilities
        settings = {
            "INFERENCE_PRECISION_HINT": "f16" if halves else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        compiled = self._request.get_compiled_model()
        self.engine = "openvino " + openvino.__version__
        self.inputs = _described(compiled.inputs[0])
        self.outputs = _described(compiled.outputs[0])
        self.batch = int(self.inputs["shape"][0])

    def run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return what the file answers to one batch, as it comes."""
        return np.array(self._request.infer({0: images})[0])


def _described(port: Any) -> dict[str, Any]:
    return {
        "name": port.get_any_name(),
        "shape": [int(size) for size in port.shape],
        "dtype": np.dtype(port.element_type.to_dtype()).name,
    }
