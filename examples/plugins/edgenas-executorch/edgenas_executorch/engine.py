"""Opens the model file with ExecuTorch and lets it answer; bundles hold a copy of this module."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.runtime import Runtime

_DTYPES = {1: "int8", 5: "float16", 6: "float32"}
"""numpy's names of torch's types, as ExecuTorch counts them."""


class Model:
    """An opened program with one method, one input and one output.

    Attributes:
        engine: name and version of what runs it.
        inputs: position, shape and type of the input.
        outputs: the same of the output.
        batch: how many images it takes at once.
    """

    def __init__(self, path: str, threads: int, options: dict[str, Any]) -> None:
        """Open the file; `options` are those of its manifest."""
        library = importlib.import_module("executorch.extension.pybindings.portable_lib")
        library._unsafe_reset_threadpool(threads)
        self._program = Runtime.get().load_program(Path(path))
        self._method = self._program.load_method("forward")
        meta = self._method.metadata
        self.engine = "executorch " + metadata.version("executorch")
        self.inputs = _described(meta.input_tensor_meta(0))
        self.outputs = _described(meta.output_tensor_meta(0))
        self.batch = int(self.inputs["shape"][0])

    def run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return what the file answers to one batch, as it comes."""
        answers = self._method.execute([torch.from_numpy(np.array(images))])
        return np.asarray(answers[0].numpy())


def _described(tensor: Any) -> dict[str, Any]:
    dtype = _DTYPES.get(tensor.dtype(), "another")
    return {"name": "0", "shape": [int(size) for size in tensor.sizes()], "dtype": dtype}
