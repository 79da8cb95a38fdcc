"""ExecuTorch's part of the measuring process, for devices: Python 3.8, numpy, torch, executorch."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import Any

from edgenas.runtimes.agent.engines import Engine
from edgenas.runtimes.agent.frames import Arrays, Json, RefusalError
from edgenas.runtimes.agent.model import Model, described, noise

METHOD = "forward"
_LIBRARY = "executorch.extension.pybindings.portable_lib"
_DTYPES = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 5: "float16", 6: "float32"}
"""numpy's names of torch's types, as ExecuTorch counts them."""


class ExecuTorchModel(Model):
    """A program's one method; inputs and outputs are known by their position alone."""

    def __init__(self, engine: Any, settings: Json, path: str) -> None:
        self._torch = importlib.import_module("torch")
        importlib.import_module(_LIBRARY)._unsafe_reset_threadpool(settings["threads"])
        self._path = path
        self._program = opened(engine, path)
        self._method = self._program.load_method(METHOD)

    def fill(self) -> None:  # noqa: D102
        meta = self._method.metadata
        self._feeds: Arrays = {}
        for i in range(meta.num_inputs()):
            tensor = meta.input_tensor_meta(i)
            self._feeds[str(i)] = noise(str(i), tensor.sizes(), _DTYPES.get(tensor.dtype()))

    def start(self) -> None:  # noqa: D102
        self.run = partial(self._method.execute, self._tensors(self._feeds))
        self._results = self.run()

    def finish(self) -> None:  # noqa: D102
        self.inputs = [described(name, array) for name, array in self._feeds.items()]
        self.outputs = [described(str(i), tensor.numpy()) for i, tensor in enumerate(self._results)]
        self._nodes = executed(self._path)
        self.outside = [str(node["kind"]) for node in self._nodes if not node["inside"]]
        self.delegated = any(node["inside"] for node in self._nodes)

    def infer(self, feeds: Arrays) -> Arrays:  # noqa: D102
        results = self._method.execute(self._tensors(feeds))
        return {str(i): tensor.numpy().copy() for i, tensor in enumerate(results)}

    def nodes(self) -> list[Json]:  # noqa: D102
        return self._nodes

    def _tensors(self, feeds: Arrays) -> list[Any]:
        return [self._torch.from_numpy(feeds[str(i)]) for i in range(len(feeds))]


ENGINES = (Engine("executorch.runtime", ("executorch",), ExecuTorchModel),)


def opened(engine: Any, path: str) -> Any:
    """Return the program in a file.

    Raises:
        RefusalError: it is none, or of another make.
    """
    program = engine.Runtime.get().load_program(Path(path))
    if METHOD not in program.method_names:
        raise RefusalError("model", f"{path} has no method {METHOD!r}: {program.method_names}")
    return program


def executed(path: str) -> list[Json]:
    """Return what a program calls, in order: parts that went to a delegate, and lone operators."""
    serialised = importlib.import_module("executorch.exir._serialize._program")
    schema = importlib.import_module("executorch.exir.schema")
    program = serialised.deserialize_pte_binary(Path(path).read_bytes()).program
    (plan,) = program.execution_plan
    called: list[Json] = []
    for instruction in plan.chains[0].instructions:
        call = instruction.instr_args
        inside = isinstance(call, schema.DelegateCall)
        if inside:
            kind = plan.delegates[call.delegate_index].id
        elif isinstance(call, schema.KernelCall):
            kind = plan.operators[call.op_index].name
        else:
            continue
        called.append(
            {
                "kind": kind,
                "name": f"{kind}:{len(called)}",
                "in_shapes": [],
                "out_shapes": [],
                "inside": inside,
            }
        )
    return called
