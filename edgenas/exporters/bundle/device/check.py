"""Proves on the device that the model file is the trained network: hashes, interface, answers.

    python3 check/check.py [--json] [--runs 50] [--threads 1]

Needs Python 3.8 or later, numpy and the engine that `engine.py` beside this file imports. The
answers to the recorded inputs are compared with the trained network's under the tolerances of the
file's recipe, which are in manifest.json. Ends with 0 if everything agrees, 1 if something does
not, 2 if nothing could be tried here. The time is told and not judged: that is `edgenas verify`'s.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BUNDLE = Path(__file__).resolve().parent.parent
SUMS = "SHA256SUMS"
WARMUP = 5


class Check(NamedTuple):
    """One finding; `detail` says what was found and what was asked."""

    name: str
    passed: bool
    detail: str


class CannotTryError(Exception):
    """What is needed is not installed."""


def main() -> int:
    """Make all checks, print them and return the exit status."""
    parser = argparse.ArgumentParser(description="Check the model file of this bundle.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--runs", type=int, default=50, help="timed runs (default 50)")
    parser.add_argument("--threads", type=int, default=1, help="of the engine (default 1)")
    asked = parser.parse_args()
    checks, timing = [check_hashes()], None
    try:
        if checks[0].passed:  # a damaged file can end the process that opens it
            timing = try_model(checks, max(asked.runs, 1), max(asked.threads, 1))
    except CannotTryError as error:
        print(f"cannot be checked here: {error}", file=sys.stderr)
        return 2
    agrees = all(check.passed for check in checks)
    if asked.json:
        found = [dict(check._asdict()) for check in checks]
        print(json.dumps({"agrees": agrees, "checks": found, "timing": timing}, indent=2))
    else:
        show(checks, timing, agrees)
    return 0 if agrees else 1


def show(checks: list[Check], timing: dict[str, Any] | None, agrees: bool) -> None:
    """Print the result for people."""
    for check in checks:
        word = "passed" if check.passed else "FAILED"
        print(f"{word}  {check.name:7} {check.detail}")
    if timing is not None:
        least, median, before = timing["least_ms"], timing["median_ms"], timing["before"]
        print(f"told    time    least {least:.4f} ms, median {median:.4f} ms{before}")
    print("everything agrees" if agrees else "DO NOT DEPLOY: something does not agree")


def check_hashes() -> Check:
    """Hold every listed file against its hash."""
    try:
        lines = (BUNDLE / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        return Check("hashes", False, f"{SUMS} cannot be read: {error}")
    wrong = []
    for line in lines:
        digest, _, name = line.partition("  ")
        parts = Path(name).parts
        if not name or ".." in parts or Path(name).is_absolute():
            wrong.append(f"{line!r} is no file of a bundle")
            continue
        try:
            content = (BUNDLE / name).read_bytes()
        except OSError:
            wrong.append(name + " is missing")
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            wrong.append(name + " is not what was written")
    if wrong or not lines:
        return Check("hashes", False, "; ".join(wrong) or SUMS + " is empty")
    return Check("hashes", True, f"{len(lines)} files are what was written")


def try_model(checks: list[Check], n_runs: int, threads: int) -> dict[str, Any] | None:
    """Open the file, add what is found to `checks`, and return how long it takes."""
    manifest = json.loads((BUNDLE / "manifest.json").read_text(encoding="utf-8"))
    how = json.loads((BUNDLE / "preprocessing.json").read_text(encoding="utf-8"))
    inputs = np.load(BUNDLE / "check" / "inputs.npy", allow_pickle=False)
    expected = np.load(BUNDLE / "check" / "outputs.npy", allow_pickle=False)
    kind = engine()
    try:
        path = str(BUNDLE / manifest["file"]["name"])
        model = kind(path, threads, manifest["options"])
    except ImportError as error:  # of several engines, the one that made this file
        raise CannotTryError(f"{error}; install what made the file") from error
    except Exception as error:  # noqa: BLE001 - the engines' errors share no class
        checks.append(Check("opens", False, f"{type(error).__name__}: {error}"))
        return None
    checks.append(Check("opens", True, f"{model.engine}, {threads} thread(s)"))
    checks += check_interface(model, how)
    if not all(check.passed for check in checks):
        return None
    try:
        found = answers(model, inputs, how["output"]["codes"])
        checks.append(check_values(manifest["options"], expected, found))
        checks.append(check_top1(manifest["options"], expected, found))
        return timed(model, inputs, n_runs, manifest)
    except Exception as error:  # noqa: BLE001 - as above
        checks.append(Check("runs", False, f"{type(error).__name__}: {error}"))
        return None


def engine() -> Any:
    """Return what opens the file."""
    sys.dont_write_bytecode = True  # a bundle holds what is listed, and nothing else
    try:
        from engine import Model
    except (ImportError, OSError) as error:
        raise CannotTryError(f"{error}; install what engine.py imports") from error
    return Model


def check_interface(model: Any, how: dict[str, Any]) -> list[Check]:
    """Hold names, shapes and types against what the bundle says."""
    found, wanted = (model.inputs, model.outputs), (how["input"], how["output"])
    checks = []
    for name, key in (("names", "name"), ("shapes", "shape"), ("types", "dtype")):
        got, want = ([one[key] for one in pair] for pair in (found, wanted))
        detail = "{} -> {}".format(*got)
        if got != want:
            detail += ", not {} -> {}".format(*want)
        checks.append(Check(name, got == want, detail))
    return checks


def answers(
    model: Any, inputs: np.ndarray[Any, Any], codes: dict[str, Any] | None
) -> np.ndarray[Any, Any]:
    """Return the logits for all inputs, shape (n, classes), as many at once as the file takes."""
    rows = []
    for start in range(0, len(inputs), model.batch):
        some = inputs[start : start + model.batch]
        n = len(some)
        if n < model.batch:  # the last ones do not fill it
            rest = np.zeros((model.batch - n, *some.shape[1:]), some.dtype)
            some = np.concatenate([some, rest])
        rows.append(model.run(some)[:n])
    raw = np.concatenate(rows)
    if codes is not None:
        raw = (raw.astype(np.int32) - codes["zero_point"]) * codes["scale"]
    return np.asarray(raw, np.float64)


def check_values(
    options: dict[str, Any], expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any]
) -> Check:
    """Compare the logits as the recipe does: signal over noise, or the greatest difference."""
    many = f"over {len(expected)} recorded inputs"
    least_db = options.get("least_sqnr_db")
    if least_db is not None:
        signal, noise = (
            float(np.square(values - values.mean(axis=1, keepdims=True)).sum())
            for values in (expected.astype(np.float64), found - expected)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels = float(10 * np.log10(np.divide(signal, noise)))
        text = "signal over quantisation noise {:.1f} dB (at least {:g}) {}"
        return Check("values", decibels >= least_db, text.format(decibels, least_db, many))
    scale = float(np.abs(expected).max())
    difference = float(np.abs(found - expected).max())
    relative = difference / scale if scale else difference
    text = "max |difference| / max |logit| {:.3g} (at most {:g}) {}"
    passed = bool(relative <= options["tolerance"])  # False for NaN
    return Check("values", passed, text.format(relative, options["tolerance"], many))


def check_top1(
    options: dict[str, Any], expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any]
) -> Check:
    """Count the inputs that get another class than the trained network gives them."""
    differ = found.argmax(axis=1) != expected.argmax(axis=1)
    passed = bool(differ.mean() <= 1 - options["least_agreement"])
    text = "{} of {} inputs get another class (at least {:.1%} must not)"
    counts = int(np.count_nonzero(differ)), len(differ)
    return Check("top1", passed, text.format(*counts, options["least_agreement"]))


def timed(
    model: Any, inputs: np.ndarray[Any, Any], n_runs: int, manifest: dict[str, Any]
) -> dict[str, Any]:
    """Return least and median of some runs, and what was measured before."""
    batch = np.ascontiguousarray(np.resize(inputs[: model.batch], (model.batch, *inputs.shape[1:])))
    samples = []
    for i in range(WARMUP + n_runs):
        began = time.perf_counter()
        model.run(batch)
        if i >= WARMUP:
            samples.append((time.perf_counter() - began) * 1000)
    known = manifest["measured_latency"]
    before = ""
    if known is not None:
        before = "; on {device} with {runtime} {latency_ms:.4f} ms".format(**known)
    return {
        "least_ms": min(samples),
        "median_ms": float(np.median(samples)),
        "n_runs": n_runs,
        "before": before,
    }


if __name__ == "__main__":
    sys.exit(main())
