"""Opens the model file with LiteRT, or with tflite_runtime, as it was called before."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from ai_edge_litert import interpreter as litert

    NAME = "ai-edge-litert"
except ImportError:
    from tflite_runtime import interpreter as litert

    NAME = "tflite-runtime"


class Model:
    """An opened TFLite file with one input and one output.

    Attributes:
        engine: name and version of what runs it.
        inputs: name, shape and type of the input.
        outputs: the same of the output.
        batch: how many images it takes at once.
    """

    batch = 1

    def __init__(self, path: str, threads: int, options: dict[str, Any]) -> None:
        """Open the file; its manifest's `options` change nothing here."""
        del options
        self._interpreter = litert.Interpreter(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        self.engine = NAME + " " + _version()
        (signature,) = self._interpreter.get_signature_list().values()
        source = self._interpreter.get_input_details()[0]
        result = self._interpreter.get_output_details()[0]
        self.inputs = _described(signature["inputs"][0], source)
        self.outputs = _described(signature["outputs"][0], result)
        self._source, self._result = source["index"], result["index"]

    def run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return what the file answers to one batch, as it comes: maybe in codes."""
        self._interpreter.set_tensor(self._source, images)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._result))


def _described(name: str, detail: Any) -> dict[str, Any]:
    return {
        "name": name,
        "shape": [int(size) for size in detail["shape"]],
        "dtype": np.dtype(detail["dtype"]).name,
    }


def _version() -> str:
    try:
        from importlib.metadata import version

        return version(NAME)
    except ImportError:  # a build of one's own
        return "of unknown version"
