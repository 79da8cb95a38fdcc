"""Writes export/golden/ anew; to be run when an exporter's output changes on purpose.

Run as ``python scripts/renew_golden.py``, and read what git says has changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgenas.exporters import get
from edgenas.testing.golden import combinations, write_golden

FOLDER = Path(__file__).resolve().parents[1] / "export" / "golden"


def main() -> int:
    """Write every combination that can be written here; say which cannot."""
    for target, precision in combinations():
        exporter = get(target, precision)
        reason = exporter.unavailable_reason()
        if reason is not None:
            print(f"{target}-{precision}: left as it is: {reason}", file=sys.stderr)
            continue
        manifest = write_golden(FOLDER, exporter)
        print(f"{target}-{precision}: {manifest.file.n_bytes} bytes, {manifest.status}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
