"""ExecuTorch without its warnings: of itself as experimental, of torch's version, of Python's.

Some of them are logged, as those of torchao about kernels for GPUs that are not there.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edgenas.core import extras


@contextmanager
def quiet() -> Iterator[None]:
    """Import and call what warns."""
    before, handlers = logging.root.manager.disable, list(logging.root.handlers)
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        logging.root.handlers[:] = handlers  # a package that logs at its import adds one for all


def reason_without(*modules: str) -> str | None:
    """Return why one of these cannot be imported, or None if all can."""
    with quiet():
        reasons = [extras.unavailable_reason(module) for module in modules]
    return next((reason for reason in reasons if reason), None)
