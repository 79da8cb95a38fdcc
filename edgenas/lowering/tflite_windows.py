"""Where windows lie in TFLite: what SAME and VALID can say, and borders for what they cannot."""

from __future__ import annotations

from math import ceil

import numpy as np

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.core.ops import Node, out_shape, pool_borders
from edgenas.lowering.tflite_file import FlatModel

Borders = tuple[tuple[int, int], ...]
"""How many pixels stand before and after, for height and width."""


def same_is_symmetric(size: int, *, kernel: int, stride: int) -> bool:
    """Return whether TFLite's SAME pads `kernel` // 2 on both sides of `size` pixels."""
    near = kernel // 2
    n_outputs = (size + 2 * near - kernel) // stride + 1
    return same_fits(size, kernel=kernel, stride=stride, near=near, n_outputs=n_outputs)


def same_fits(size: int, *, kernel: int, stride: int, near: int, n_outputs: int) -> bool:
    """Return whether TFLite's SAME has so many outputs, the first `near` pixels before the start.

    SAME pads what ceil(size / stride) outputs need, an odd rest at the end.
    """
    needed = max(0, (ceil(size / stride) - 1) * stride + kernel - size)
    return needed // 2 == near and n_outputs == ceil(size / stride)


def pool_source(
    model: FlatModel, node: Node, source: int, *, not_negative: bool
) -> tuple[str, int]:
    """Return the padding option of a pool and the tensor that it reads.

    `not_negative` says that no value in `source` is below 0.

    Raises:
        ExportError: TFLite cannot average so.
    """
    op, borders = node.op, pool_borders(node.op)
    if not any(near or far for near, far in borders):
        return "VALID", source
    window = {"kernel": op.integer("kernel"), "stride": op.integer("stride")}
    places = zip(op.in_shape[1:], out_shape(op)[1:], borders, strict=True)
    if all(same_fits(size, near=near, n_outputs=n, **window) for size, n, (near, _) in places):
        return "SAME", source
    if op.kind != "max_pool2d":
        raise ExportError(
            f"{node.name}: TFLite has no padding for {op.key}: SAME would place its windows "
            "elsewhere, and any other would be counted; allowed: no padding, or ceil=1 with a "
            "stride that is the kernel"
        )
    if not_negative:
        return "VALID", pad(model, source, borders, node.name)
    return "VALID", repeat_ends(model, source, borders, node.name)


def pad(model: FlatModel, source: int, borders: Borders, name: str) -> int:
    """Return the tensor between borders of zeros."""
    widths = np.array([(0, 0), *borders, (0, 0)], np.int32)
    shape = [
        size + near + far
        for size, (near, far) in zip(model.shape(source), widths.tolist(), strict=True)
    ]
    index = model.tensor(f"{name}.padded", tuple(shape))
    constant = "border_" + "_".join(str(width) for pair in borders for width in pair)
    options = require("ai_edge_litert.schema_py_generated").PadOptionsT()
    model.operator("PAD", [source, model.constant(constant, widths)], index, options)
    return index


def repeat_ends(model: FlatModel, source: int, borders: Borders, name: str) -> int:
    """Return the tensor between borders that repeat its first and last rows and columns.

    A window over an end holds the pixel at that end, too: the greatest value stays what it was.
    XNNPACK has no border but zeros.
    """
    for axis, (near, far) in enumerate(borders, start=1):
        place = model.shape(source)[axis] - 1
        first = [_slice(model, source, axis, 0, f"{name}.near{axis}")] if near else []
        last = [_slice(model, source, axis, place, f"{name}.far{axis}")] if far else []
        for i in range(max(near, far)):  # one by one: XNNPACK joins only a few tensors
            parts = [*first * (i < near), source, *last * (i < far)]
            source = _join(model, parts, axis, f"{name}.joined{axis}.{i}")
    return source


def _slice(model: FlatModel, source: int, axis: int, place: int, name: str) -> int:
    """Return one row or column, by its place, of a tensor."""
    sizes = [*model.shape(source)]
    begin = [place if i == axis else 0 for i in range(len(sizes))]
    sizes[axis] = 1
    bounds = {"begin": begin, "size": sizes}
    constants = [
        model.constant(f"{name}.{what}", np.array(value, np.int32))
        for what, value in bounds.items()
    ]
    index = model.tensor(name, tuple(sizes))
    options = require("ai_edge_litert.schema_py_generated").SliceOptionsT()
    model.operator("SLICE", [source, *constants], index, options)
    return index


def _join(model: FlatModel, parts: list[int], axis: int, name: str) -> int:
    """Return tensors put together along an axis."""
    shape = [*model.shape(parts[0])]
    shape[axis] = sum(model.shape(part)[axis] for part in parts)
    index = model.tensor(name, tuple(shape))
    options = require("ai_edge_litert.schema_py_generated").ConcatenationOptionsT(axis=axis)
    model.operator("CONCATENATION", parts, index, options)
    return index
