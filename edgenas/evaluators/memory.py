"""Errors that say that memory ran out, which torch reports in several ways."""

from __future__ import annotations

import torch

_WORDS = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` is about memory; of the CPU torch says so in words alone."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _WORDS)
