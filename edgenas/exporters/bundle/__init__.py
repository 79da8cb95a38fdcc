"""The bundle: a folder with one model file and all that it takes to use and to prove it elsewhere.

`device/` holds programs that travel in bundles as they are, `templates/` what is filled in; neither
is imported.
"""

from __future__ import annotations

from edgenas.exporters.bundle.index import INDEX, SUMS, BundleIndex, read_index
from edgenas.exporters.bundle.integrity import Finding, check_files
from edgenas.exporters.bundle.make import BundleRequest, make_bundle

__all__ = [
    "INDEX",
    "SUMS",
    "BundleIndex",
    "BundleRequest",
    "Finding",
    "check_files",
    "make_bundle",
    "read_index",
]
