"""Opens the model file with ONNX Runtime and lets it answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime


class Model:
    """An opened ONNX file with one input and one output.

    Attributes:
        engine: name and version of what runs it.
        inputs: name, shape and type of the input; a dimension left open has a name for a size.
        outputs: the same of the output.
        batch: how many images it takes at once.
    """

    def __init__(self, path: str, threads: int, options: dict[str, Any]) -> None:
        """Open the file; `options` are those of its manifest."""
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        for name, value in options.get("session", {}).items():
            settings.add_session_config_entry(name, value)
        self._session = onnxruntime.InferenceSession(
            path, settings, providers=["CPUExecutionProvider"]
        )
        self.engine = "onnxruntime " + onnxruntime.__version__
        self.inputs = _described(self._session.get_inputs()[0])
        self.outputs = _described(self._session.get_outputs()[0])
        size = self.inputs["shape"][0]
        self.batch = size if isinstance(size, int) else 1

    def run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return what the file answers to one batch, as it comes."""
        answers = self._session.run([self.outputs["name"]], {self.inputs["name"]: images})
        return np.asarray(answers[0])


def _described(tensor: Any) -> dict[str, Any]:
    kind = tensor.type[len("tensor(") : -1]
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": "float32" if kind == "float" else kind,
    }
