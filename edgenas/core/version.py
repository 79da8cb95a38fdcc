"""The version of edgenas; here, so that lower layers need not import the package's root."""

from __future__ import annotations

__version__ = "0.1.0"
