#!/usr/bin/env bash
# Installs edgenas with its development tools into its own environment and runs the tests.
# Arguments are passed on to pytest, e.g. `bash scripts/test.sh -n 0 tests/core`.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

want_debian "the report's browser test" chromium
want_debian "tests and examples on Fashion-MNIST" dataset-fashion-mnist
want_debian "tests over ssh" openssh-server
want_debian "tests over adb on an emulated phone" adb mksh toybox
want_debian "tests of searches in a database" postgresql
want_debian "tests of samplers from OptunaHub" git
want_debian "the C++ example of bundles" cmake g++
want_onnxruntime_headers "the C++ example of bundles"
make_venv test all,dev
add_plugin edgenas-openvino
cd -- "$ROOT"
# Each worker begins with half of the tests, in their order, and then takes over what the other one
# has left: what the tests of a folder share is mostly made once.
"$VENV/bin/python" -m pytest -n 2 --dist worksteal "$@"
# The plug-in's own tests, with its own settings; not when others were asked for.
(($#)) || "$VENV/bin/python" -m pytest -n 2 examples/plugins/edgenas-openvino
