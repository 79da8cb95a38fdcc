"""A graph as OpenVINO's IR, by way of ONNX; both of its files in one archive.

IR is two files, and edgenas keeps a model in one: one name, one hash, one thing to copy. The
archive is a plain ZIP, with the same bytes for the same network.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.core.ops import Graph
from edgenas.lowering import onnx
from edgenas.lowering.weights import Weights

XML, BIN = "model.xml", "model.bin"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP archive can say
_COUNTED = re.compile(r"_\d+$")


def lower(
    graph: Graph,
    weights: Weights,
    *,
    precision: str = "float32",
    ranges: dict[str, tuple[float, float]] | None = None,
) -> bytes:
    """Return an archive with the IR of `graph`.

    Its input ``image`` and output ``logits`` are float32 in every precision. float16 stores the
    weights so; int8 and weight_int8 have codes where `edgenas.lowering.onnx` has them.

    Args:
        graph: primitives with one input.
        weights: float32, batch norms folded.
        precision: one of those of edgenas.
        ranges: of all values, for int8; estimated where none are given.

    Raises:
        ExportError: as `edgenas.lowering.onnx.lower`, or OpenVINO cannot read what that wrote.
        MissingExtraError: onnx or openvino is not installed.
    """
    written = "float32" if precision == "float16" else precision
    content = onnx.lower(graph, weights, precision=written, ranges=ranges)
    openvino = require("openvino")
    try:
        model = openvino.Core().read_model(content)
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot read the ONNX model: {error}") from error
    _name(model)
    with TemporaryDirectory(prefix="edgenas-openvino-") as name:
        path = Path(name) / XML
        openvino.save_model(model, path, compress_to_fp16=precision == "float16")
        return packed(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def packed(xml: bytes, weights: bytes) -> bytes:
    """Return the two files of an IR as one archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        # The graph is wordy: stored as it is it may take more room than 8-bit weights.
        archive.writestr(zipfile.ZipInfo(XML, _EPOCH), xml, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(BIN, _EPOCH), weights)
    return stream.getvalue()


def _name(model: Any) -> None:
    """Give names of their own to operators that OpenVINO has counted through since it started."""
    for i, op in enumerate(model.get_ordered_ops()):
        if _COUNTED.search(op.get_friendly_name()):
            op.set_friendly_name(f"{op.get_type_name()}:{i}")
