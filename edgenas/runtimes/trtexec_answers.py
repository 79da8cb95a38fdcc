"""Reads what `trtexec` tells of an engine: its GPU, its inputs and outputs, and its answers.

Outputs are exported as an array with an object each: ``name``, ``dimensions`` (``1x10``) and
``values``, to six digits. Of inputs the log alone tells: ``Created input binding for NAME with
dimensions 1x3x8x8`` until version 8.4, ``Input binding for NAME with dimensions 1x3x8x8 is
created.`` after it. Neither tells types: they are taken to be float32.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import AgentError
from edgenas.runtimes.base import Tensor
from edgenas.runtimes.engine_files import Gpu
from edgenas.runtimes.trtexec_output import parse_array

_DIMENSIONS = r"([0-9]{1,9}(?:x[0-9]{1,9})*)"
_BINDING = re.compile(
    rf"\[I\] (?:Created )?(input|output) binding for (.+) with dimensions {_DIMENSIONS}"
    r"(?: is created\.)?\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_NAME = re.compile(r"\[I\] Selected Device: (.+?)\s*$", re.MULTILINE)
_CAPABILITY = re.compile(r"\[I\] Compute Capability: ([0-9]{1,2}\.[0-9])\b")
_NOT_FINITE = re.compile(r"(?<=[\[\s])(-?)(nan|inf)(?:\([^)]*\))?(?=\s*[,\]])", re.IGNORECASE)
_MOST_VALUES = 1 << 28


def parse_gpu(text: str) -> Gpu:
    """Return the GPU that the tool selected.

    Raises:
        AgentError: it selected none: the text has its reason.
    """
    name, capability = _NAME.search(text), _CAPABILITY.search(text)
    if name is None or capability is None:
        last = " / ".join(text.strip().splitlines()[-3:]) or "it printed nothing"
        raise AgentError(f"trtexec does not tell its GPU: {last}")
    return Gpu(name=name[1], compute_capability=capability[1])


def parse_bindings(text: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs and outputs of the engine that the tool has run.

    Raises:
        AgentError: it told of none.
    """
    found: dict[str, list[Tensor]] = {"input": [], "output": []}
    for end, name, dimensions in _BINDING.findall(text):
        shape = _shape(dimensions)
        found[end.lower()].append(Tensor(name=name, shape=shape, dtype="float32"))
    inputs, outputs = tuple(found["input"]), tuple(found["output"])
    if not inputs or not outputs:
        raise AgentError("trtexec does not tell the engine's inputs and outputs")
    return inputs, outputs


def parse_outputs(text: str, outputs: tuple[Tensor, ...]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the arrays that were exported, by name; they must be those of `outputs`.

    Raises:
        AgentError: the text is no export of outputs, or of others.
    """
    found = {}
    for entry in _array(text):
        name, dimensions, values = (entry.get(key) for key in ("name", "dimensions", "values"))
        if not isinstance(name, str) or not isinstance(values, list):
            raise AgentError(f"trtexec exported an output without name or values: {entry!r:.120}")
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
            raise AgentError(f"trtexec exported values of {name!r} that are no numbers")
        shape = _shape(str(dimensions))
        if len(values) != math.prod(shape):
            raise AgentError(f"trtexec exported {len(values)} values of {name!r}, which is {shape}")
        found[name] = np.array(values, np.float32).reshape(shape)
    told = {name: array.shape for name, array in found.items()}
    wanted = {one.name: one.shape for one in outputs}
    if told != wanted:
        raise AgentError(f"trtexec exported the outputs {told}; the engine has {wanted}")
    return found


def _shape(dimensions: str) -> tuple[int, ...]:
    if re.fullmatch(_DIMENSIONS, dimensions) is None:
        raise AgentError(f"trtexec tells dimensions that are none: {dimensions!r:.40}")
    shape = tuple(map(int, dimensions.split("x")))
    if not 0 < math.prod(shape) < _MOST_VALUES:
        raise AgentError(f"trtexec tells dimensions that cannot be: {dimensions}")
    return shape


def _array(text: str) -> list[dict[str, Any]]:
    # C++ writes nan and inf, which JSON has not; Python reads NaN and Infinity.
    words = {"nan": "NaN", "inf": "Infinity"}
    text = _NOT_FINITE.sub(lambda one: one[1] + words[one[2].lower()], text)
    return parse_array(text.replace("-NaN", "NaN"), "outputs")
