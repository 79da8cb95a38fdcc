"""ExecuTorch without its warnings: of itself as experimental, of torch's version, of Python's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edgenas.core import extras


@contextmanager
def quiet() -> Iterator[None]:
    """Import and call what warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason_without(*modules: str) -> str | None:
    """Return why one of these cannot be imported, or None if all can."""
    with quiet():
        reasons = [extras.unavailable_reason(module) for module in modules]
    return next((reason for reason in reasons if reason), None)
