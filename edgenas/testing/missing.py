"""What a test does without a program that it needs: it is left out, but never in CI."""

from __future__ import annotations

import os
from collections.abc import Callable


def skip_outside_ci(reason: str | None, skip: Callable[[str], object]) -> None:
    """Call `skip` with `reason` unless it is None: what a test needs is not there.

    Raises:
        AssertionError: in CI (the variable ``CI`` is set), where everything has to be there.
    """
    if reason is None:
        return
    if os.environ.get("CI"):
        raise AssertionError(f"in CI nothing is left out: {reason}")
    skip(reason)
