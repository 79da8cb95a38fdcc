"""The operators that LiteRT runs for a TFLite model, and which of them XNNPACK did not take.

XNNPACK keeps its own plan to itself; what is listed is the plan that the delegate was handed.
"""

from __future__ import annotations

from math import prod
from typing import Any

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.core.ops import Shape
from edgenas.lowering.optimised import Execution, RunOperator

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_BORDERS = ("PAD", "SLICE", "CONCATENATION")
_MOVES = (
    *_BORDERS,
    "TRANSPOSE",
    "RESHAPE",
    "QUANTIZE",
    "DEQUANTIZE",
)  # a PAD that XNNPACK folds into its convolution moves nothing
_KINDS = {
    "MEAN": "global_avg_pool",
    "ADD": "add",
    "MUL": "multiply",
    "FULLY_CONNECTED": "linear",
    "MAX_POOL_2D": "max_pool2d",
    "AVERAGE_POOL_2D": "avg_pool2d",
}
_DELEGATE = "DELEGATE"


def tflite_operators(model: bytes) -> Execution:
    """Return what LiteRT runs for `model`; `outside` names what its default delegate left over.

    Raises:
        ExportError: LiteRT refuses the model.
        MissingExtraError: ai-edge-litert is not installed.
    """
    outside = _outside_delegate(model)
    schema = require("ai_edge_litert.schema_py_generated")
    content = schema.ModelT.InitFromPackedBuf(model)
    reader = _Reader(schema, content)
    for operator in content.subgraphs[0].operators:
        reader.visit(operator)
    return Execution(tuple(reader.compute), tuple(reader.moves), outside)


def _outside_delegate(model: bytes) -> tuple[str, ...]:
    """Return the operators that run outside a delegate: the plan is walked from its outputs."""
    interpreter_module = require("ai_edge_litert.interpreter")
    try:
        interpreter = interpreter_module.Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"LiteRT refuses the model: {error}") from error
    nodes = interpreter._get_ops_details()
    # Nodes that a delegate replaced are still listed, before the delegate's: later ones win.
    maker = {int(tensor): node for node in nodes for tensor in node["outputs"]}
    open_tensors = [detail["index"] for detail in interpreter.get_output_details()]
    seen: set[int] = set()
    outside: dict[int, str] = {}
    while open_tensors:
        node = maker.get(open_tensors.pop())
        if node is None or node["index"] in seen:
            continue
        seen.add(node["index"])
        if node["op_name"] != _DELEGATE:
            outside[node["index"]] = node["op_name"]
        open_tensors.extend(int(tensor) for tensor in node["inputs"])
    return tuple(outside[index] for index in sorted(outside))


class _Reader:
    """Reads the operators of a flatbuffer in order."""

    def __init__(self, schema: Any, model: Any) -> None:
        self.compute: list[RunOperator] = []
        self.moves: list[str] = []
        self._tensors, self._buffers = model.subgraphs[0].tensors, model.buffers
        names = _names(schema.BuiltinOperator)
        self._codes = [
            names[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes
        ]
        self._activations = _names(schema.ActivationFunctionType)
        self._padded: dict[int, int] = {}

    def visit(self, operator: Any) -> None:
        kind = self._codes[operator.opcodeIndex]
        source, output = int(operator.inputs[0]), int(operator.outputs[0])
        if kind == "DEQUANTIZE" and self._constant(source):
            return  # of a float16 weight, once, when the model is loaded
        if kind in _MOVES:
            self.moves.append(kind)
            # Borders keep the channels; what joins channels is a value of the network.
            if kind in _BORDERS and self._shape(source)[0] == self._shape(output)[0]:
                self._padded[output] = self._padded.get(source, source)
            return
        in_shape = self._shape(self._padded.get(source, source))
        out_shape = self._shape(output)
        options = operator.builtinOptions
        fused = self._activations[getattr(options, "fusedActivationFunction", 0)]
        activation = "" if fused == "NONE" else fused
        if kind in _CONVOLUTIONS:
            weight = self._tensors[operator.inputs[1]].shape
            depthwise = kind == "DEPTHWISE_CONV_2D"
            groups = in_shape[0] if depthwise else in_shape[0] // int(weight[3])
            per_output = int(weight[1]) * int(weight[2]) * in_shape[0] // groups
            self.compute.append(
                RunOperator(
                    "conv2d",
                    in_shape,
                    out_shape,
                    kernel=int(weight[1]),
                    stride=options.strideH,
                    groups=groups,
                    activation=activation,
                    n_macs=per_output * prod(out_shape),
                )
            )
            return
        macs = prod(in_shape) * prod(out_shape) if kind == "FULLY_CONNECTED" else 0
        self.compute.append(
            RunOperator(
                _KINDS.get(kind, kind),
                in_shape,
                out_shape,
                kernel=getattr(options, "filterHeight", 1),
                stride=getattr(options, "strideH", 1),
                activation=activation,
                n_macs=macs,
            )
        )

    def _constant(self, tensor: int) -> bool:
        data = self._buffers[self._tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def _shape(self, tensor: int) -> Shape:
        shape = [int(size) for size in self._tensors[tensor].shape][1:]
        return tuple(shape[-1:] + shape[:-1])


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
