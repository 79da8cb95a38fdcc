"""What a benchmark's figures were made with: machine, date, versions."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgenas.core.version import __version__
from edgenas.hardware.device import load_device

_PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "ai-edge-litert", "optuna", "moocore")


def environment() -> dict[str, Any]:
    """Return machine, date and versions as plain values."""
    fingerprint = load_device("local").fingerprint
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "edgenas": __version__,
        "python": platform.python_version(),
        "machine": {"slug": fingerprint.slug, **_plain(asdict(fingerprint))},
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: list(fact) if isinstance(fact, tuple) else fact for key, fact in facts.items()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
