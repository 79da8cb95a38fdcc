"""Rows of a file of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_rows(results: Path) -> list[dict[str, Any]]:
    """Return the rows that a file has; none where there is no such file."""
    if not results.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))["rows"]
    return found
