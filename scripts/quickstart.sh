#!/usr/bin/env bash
# Installs edgenas into its own environment and runs the whole chain on the digits data set, on this CPU.
# Arguments are passed on to `edgenas compile`.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

run_folder="$ROOT/runs/quickstart"
make_venv quickstart all
cd -- "$ROOT"
status=0
"$VENV/bin/edgenas" compile examples/digits.yaml --out "$run_folder" "$@" || status=$?
# 3: everything is there, and a measured file broke its budget. That is a result too.
((status == 0 || status == 3)) || exit "$status"

say "the results are in $run_folder:"
find "$run_folder" -maxdepth 2 \( -name 'model.*' -o -name 'report.html' \) | sort >&2
say "open report.html in a browser; run this script again and finished work is not repeated"
say "your own job: copy examples/digits.yaml, then $VENV/bin/edgenas compile JOB.yaml --out DIR"
exit "$status"
