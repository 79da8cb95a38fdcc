#!/usr/bin/env bash
# Rewrites constraints.txt with the newest versions that pyproject.toml allows, all extras and the
# plug-in that is tested with them together.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

scratch="$(mktemp -d)"
trap 'rm -rf -- "$scratch"' EXIT
find_python
"$PYTHON" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --upgrade pip
"$scratch/venv/bin/python" -m pip install --quiet --dry-run --ignore-installed \
  --report "$scratch/report.json" "${ROOT}[all,dev]" "$ROOT/examples/plugins/edgenas-openvino"
"$PYTHON" - "$scratch/report.json" "$ROOT/constraints.txt" <<'PYTHON_END'
"""Writes the versions of a pip report as constraints, without local labels such as +cpu."""

import json
import re
import sys
from pathlib import Path

report, target = map(Path, sys.argv[1:])
pins = []
for entry in json.loads(report.read_text(encoding="utf-8"))["install"]:
    name = re.sub(r"[-_.]+", "-", entry["metadata"]["name"]).lower()
    if name not in ("edgenas", "edgenas-openvino"):
        pins.append(f"{name}=={entry['metadata']['version'].split('+')[0]}\n")
head = [line for line in target.read_text(encoding="utf-8").splitlines(True) if line[0] == "#"]
temporary = target.with_suffix(".tmp")
temporary.write_text("".join([*head, *sorted(pins, key=lambda pin: pin.split("==")[0])]), encoding="utf-8")
temporary.replace(target)
PYTHON_END
say "constraints.txt renewed; now run: bash .ci/run"
