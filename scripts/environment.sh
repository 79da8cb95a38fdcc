# shellcheck shell=bash
# Sourced by the other scripts: finds Python, makes a virtual environment, installs Debian packages.

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

say() { printf '%s\n' "edgenas: $*" >&2; }

die() {
  say "$@"
  exit 1
}

# Sets PYTHON to the first interpreter that runs and has a version that edgenas supports.
# A name on PATH is no proof: version switchers put names there that refuse to run.
find_python() {
  local candidate
  local check='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'
  if [[ -n "${EDGENAS_PYTHON:-}" ]]; then
    "$EDGENAS_PYTHON" -c "$check" >/dev/null 2>&1 ||
      die "EDGENAS_PYTHON=$EDGENAS_PYTHON is no working Python 3.11 or 3.12."
    PYTHON="$EDGENAS_PYTHON"
    return
  fi
  for candidate in python3.11 python3.12 python3 python; do
    if "$candidate" -c "$check" >/dev/null 2>&1; then
      PYTHON="$(command -v "$candidate")"
      return
    fi
  done
  die "Python 3.11 or 3.12 was not found on PATH. Install it (Debian 12: apt-get install" \
    "python3 python3-venv) or name it: EDGENAS_PYTHON=/path/to/python3.11 bash $0"
}

is_installed() {
  [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

# want_debian REASON PACKAGE...: installs what is missing if this user may, else says what to install.
# Never fails: what needs the packages says so itself.
want_debian() {
  local reason="$1" package
  local -a missing=()
  shift
  command -v dpkg-query >/dev/null || {
    say "not a Debian system; for $reason, install what your system calls: $*"
    return 0
  }
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  if [[ "$(id -u)" != 0 ]]; then
    say "going on without ${missing[*]} ($reason). To add: sudo apt-get install ${missing[*]}"
    return 0
  fi
  say "installing Debian packages for $reason: ${missing[*]}"
  if ! { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2; then
    say "could not install ${missing[*]}; going on without ($reason)"
  fi
}

# want_onnxruntime_headers REASON: ONNX Runtime's C++ headers, from Debian's package of them, or, where this Debian
# is too old to have one, out of that package into .venvs/onnxruntime/include; nothing else changes then.
# Never fails: what needs the headers says so itself.
want_onnxruntime_headers() {
  local package=libonnxruntime-dev folder="$ROOT/.venvs/onnxruntime" suite=trixie scratch
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ ! -f "$folder/include/onnxruntime_cxx_api.h" ]] || return 0
  command -v apt-get dpkg-deb >/dev/null || {
    say "not a Debian system; for $1, set ONNXRUNTIME_INCLUDE_DIR to the headers of ONNX Runtime"
    return 0
  }
  if [[ -n "$(apt-cache policy "$package" 2>/dev/null)" || ! -f "$keys" ]]; then
    want_debian "$1" "$package"
    return 0
  fi
  say "fetching $package for $1"
  scratch="$(mktemp -d)"
  mkdir -p "$scratch/lists/partial"
  printf 'deb [signed-by=%s] http://deb.debian.org/debian %s main\n' "$keys" "$suite" >"$scratch/sources.list"
  local -a apt=(apt-get -qq -o "Dir::Etc::sourcelist=$scratch/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$scratch/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    -o APT::Sandbox::User=)
  if (cd -- "$scratch" && "${apt[@]}" update && "${apt[@]}" download "$package" &&
    dpkg-deb --extract "$package"_*.deb content) >&2; then
    mkdir -p "$folder"
    rm -rf -- "$folder/include"
    mv -- "$scratch/content/usr/include/onnxruntime" "$folder/include"
  else
    say "could not fetch $package; going on without ($1)"
  fi
  rm -rf -- "$scratch"
}

# make_venv NAME EXTRAS: sets VENV to .venvs/NAME with edgenas[EXTRAS] at the versions of constraints.txt.
# Nothing is done when an earlier call finished with the same inputs.
make_venv() {
  local name="$1" extras="$2" stamp inputs version
  VENV="$ROOT/.venvs/$name"
  stamp="$VENV/edgenas-inputs.sha256"
  find_python
  version="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  inputs="$(
    {
      printf '%s\n' "$ROOT" "$extras" "$version"
      cat -- "$ROOT/pyproject.toml" "$ROOT/constraints.txt" "$ROOT/hatch_build.py"
    } | "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
  )"
  if [[ -f "$stamp" && "$(<"$stamp")" == "$inputs" ]] && "$VENV/bin/python" -c '' 2>/dev/null; then
    return 0
  fi
  if ! "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    want_debian "virtual environments" "python$version-venv"
    "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
      die "$PYTHON cannot make virtual environments: module venv or ensurepip is missing." \
        "Install it (Debian: apt-get install python$version-venv) and run this again."
  fi
  say "installing edgenas[$extras] for Python $version into $VENV"
  rm -f -- "$stamp"
  # An environment of another Python, or of a checkout that has moved, is made anew.
  if [[ "$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" \
    != "$version" ]] || ! "$VENV/bin/pip" --version >/dev/null 2>&1; then
    "$PYTHON" -m venv --clear "$VENV"
  fi
  local -a install=("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check
    --constraint "$ROOT/constraints.txt")
  # Build backends come from the constraints too, hence no isolated build. setuptools is for
  # tensorrt-rtx-cu12, a source package; the version that venv brings cannot make wheels by itself.
  "${install[@]}" hatchling editables setuptools || die "pip failed (see above): is a package index within reach?"
  "${install[@]}" --no-build-isolation --editable "${ROOT}[$extras]" ||
    die "pip failed (see above). Free disk space needed: about 3 GB."
  printf '%s\n' "$inputs" >"$stamp"
}

# add_plugin NAME: installs examples/plugins/NAME into VENV, as `pip install` does for users.
# Nothing is done when an earlier call finished with the same inputs.
add_plugin() {
  local folder="$ROOT/examples/plugins/$1" stamp="$VENV/$1-inputs.sha256" inputs
  inputs="$(cat -- "$VENV/edgenas-inputs.sha256" "$folder/pyproject.toml" |
    "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
  if [[ -f "$stamp" && "$(<"$stamp")" == "$inputs" ]]; then
    return 0
  fi
  say "installing the plug-in $1"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-build-isolation \
    --constraint "$ROOT/constraints.txt" --editable "$folder" || die "pip failed (see above)."
  printf '%s\n' "$inputs" >"$stamp"
}
