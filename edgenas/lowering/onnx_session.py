"""How onnxruntime is opened where an answer is wanted, and not a time."""

from __future__ import annotations

from typing import Any

from edgenas.core.extras import require


def one_core_options() -> Any:
    """Return options of a session whose runs take the calling thread alone, errors told only."""
    options = require("onnxruntime").SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options
