"""Is the exported file the trained network? What it declares, answers and leaves out, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.core.artifact import Artifact, failed_path
from edgenas.core.errors import ExportError, StorageError, ValidationError
from edgenas.core.files import sha256_of
from edgenas.core.precision import CODED
from edgenas.exporters.base import Exporter, ExportRequest, OpenShape, Signature
from edgenas.exporters.calibration import sqnr
from edgenas.exporters.recipe import Recipe
from edgenas.exporters.trial import try_file

IN_TRIAL = ("opens", "names", "layout", "shapes", "values", "top1", "accuracy", "delegate")
"""Checks for which the file is run, in order; ``content`` comes before them, ``size`` after."""

Logits = npt.NDArray[np.float32]

_REFERENCE, _TEST = "reference", "test"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding about a file. `passed` is None where the check could not be made here.

    Where a number was measured it must be at most `tolerance`, a ratio of signal and noise at
    least that; `detail` says it in words. `value` is what was found where `measured` is how far
    that is from what is wanted: the accuracy of the file itself.
    """

    name: str
    passed: bool | None
    measured: float | None
    tolerance: float | None
    detail: str
    value: float | None = None


def validate(exporter: Exporter, request: ExportRequest, artifact: Artifact) -> list[Check]:
    """Return all checks of `artifact`; what could not be checked here says why.

    Whoever wants a manifest of a file that fails calls the two halves: `run_checks`, then writes
    the manifest, then `settle`.

    Raises:
        ValidationError: as `settle`.
    """
    checks = run_checks(exporter, request, artifact)
    settle(checks, artifact)
    return checks


def settle(checks: Sequence[Check], artifact: Artifact) -> None:
    """Let a sound file be; rename a failed one to ``<name>.failed``, that nobody deploys it.

    Raises:
        ValidationError: at least one check failed; the message has all of them.
    """
    if all(check.passed is not False for check in checks):
        return
    broken = set_aside(artifact.path)
    raise refusal(artifact.path, checks, broken)


def refusal(path: Path, checks: Sequence[Check], broken: Path) -> ValidationError:
    """Return the error of a file that failed some of its checks and is now called `broken`."""
    lines = "\n".join(f"  {_word(check)} {check.name}: {check.detail}" for check in checks)
    failed = tuple(check.name for check in checks if check.passed is False)
    return ValidationError(
        f"{path}: the exported file failed {', '.join(failed)}; it is now called {broken.name}\n"
        f"{lines}\nrun `edgenas doctor`, then export again",
        failed=failed,
    )


def run_checks(exporter: Exporter, request: ExportRequest, artifact: Artifact) -> list[Check]:
    """Return all checks of `artifact`, failed ones included; touches nothing.

    The file is opened and run in a process of its own (`edgenas.exporters.trial`), in its
    exporter's place if it has one.

    Raises:
        DeviceError: the place is a device, and it is lost: nothing is known of the file.
    """
    content, size = _content(artifact), _size(exporter, artifact)
    if not content.passed:
        return [content, *_skipped(IN_TRIAL, "the file's content is not what was written"), size]
    reason = exporter.unavailable_to_run_reason()
    if reason:
        return [content, *_skipped(IN_TRIAL, reason), size]
    images = {_REFERENCE: request.reference_inputs}
    untested = _untested_reason(exporter, request)
    if request.test_images is not None and untested is None:
        images[_TEST] = request.test_images
    try:
        trial = try_file(exporter, artifact.path, images, timeout_s=exporter.recipe.timeout_s)
    except ExportError as error:
        opens = Check("opens", passed=False, measured=None, tolerance=None, detail=str(error))
        return [content, opens, *_skipped(IN_TRIAL[1:], "the file does not open and run"), size]
    where = "in a process of its own" if exporter.place is None else "where it was built"
    opens = Check("opens", True, None, None, f"opened and run {where}")
    logits = trial.logits[_REFERENCE]
    return [
        content,
        opens,
        *_interface(exporter, request, trial.signature),
        values_check(exporter.recipe, request.reference_logits, logits),
        top1_check(exporter.recipe, request.reference_logits, logits),
        _accuracy(exporter, request, trial.logits.get(_TEST), untested),
        delegate_check(exporter.recipe, trial.outside),
        size,
    ]


def set_aside(path: Path) -> Path:
    """Rename the file at `path` to ``<name>.failed`` and return that path.

    Raises:
        StorageError: it cannot be renamed.
    """
    broken = failed_path(path)
    try:
        path.replace(broken)
    except OSError as error:
        raise StorageError(
            f"{path} failed its checks and cannot be renamed ({error}): do not deploy it"
        ) from error
    return broken


def _content(artifact: Artifact) -> Check:
    try:
        found = sha256_of(artifact.path)
    except OSError as error:
        return Check("content", False, None, None, f"{artifact.path} cannot be read: {error}")
    if found == artifact.sha256:
        return Check("content", True, None, None, f"SHA-256 {found}")
    return Check(
        "content",
        passed=False,
        measured=None,
        tolerance=None,
        detail=f"SHA-256 is {found}, {artifact.sha256} was written: truncated or changed",
    )


def _size(exporter: Exporter, artifact: Artifact) -> Check:
    most = exporter.recipe.most_file_kib
    try:
        kib = artifact.path.stat().st_size / 1024
    except OSError as error:
        return Check("size", False, None, most, f"{artifact.path} cannot be read: {error}")
    limit = "" if most is None else f", allowed {most:g}"
    passed = most is None or kib <= most
    return Check("size", passed, kib, most, f"{kib:.1f} KiB{limit}")


def _interface(exporter: Exporter, request: ExportRequest, found: Signature) -> list[Check]:
    expected = exporter.expected(request)
    pairs = {
        "names": (
            (expected.input_name, expected.output_name),
            (found.input_name, found.output_name),
        ),
        "layout": (
            (_layouts(expected.input_shape, request), exporter.input_layout),
            (_layouts(found.input_shape, request), exporter.input_layout),
        ),
        "shapes": (
            (expected.input_shape, expected.output_shape),
            (found.input_shape, found.output_shape),
        ),
    }
    return [
        Check(
            name,
            passed=wanted == got,
            measured=None,
            tolerance=None,
            detail=f"{got[0]} -> {got[1]}" + ("" if wanted == got else f", not {wanted}"),
        )
        for name, (wanted, got) in pairs.items()
    ]


def _layouts(shape: OpenShape, request: ExportRequest) -> str:
    """Return which layouts of the network's images a shape is, e.g. ``NCHW``; none of them: ``?``.

    Where channels, height and width are alike it is both, and the values decide.
    """
    channels, height, width = request.graph.in_shape
    orders = {"NCHW": (channels, height, width), "NHWC": (height, width, channels)}
    return " or ".join(name for name, sizes in orders.items() if tuple(shape[1:]) == sizes) or "?"


def delegate_check(
    recipe: Recipe, outside: Sequence[str] | None, *, name: str = "delegate"
) -> Check:
    """Return whether no more operators are outside the accelerated part than a recipe allows."""
    most = recipe.most_outside
    if outside is None:
        return _skipped((name,), "the engine does not tell what its kernels leave out")[0]
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(outside).items()))
    return Check(
        name,
        passed=most is None or len(outside) <= most,
        measured=float(len(outside)),
        tolerance=None if most is None else float(most),
        detail=f"left out: {kinds}" if outside else "every operator runs in the engine's own part",
    )


def values_check(
    recipe: Recipe, reference: Logits, found: Logits, *, name: str = "values"
) -> Check:
    """Return whether logits are the trained network's, as closely as a recipe wants it.

    Both have shape (n, n_classes).
    """
    if found.shape != reference.shape:
        return _misshapen(name, reference, found)
    if recipe.least_sqnr_db is not None:
        return _sqnr(reference, found, recipe.least_sqnr_db, name)
    scale = float(np.abs(reference).max())
    difference = float(np.abs(found - reference.astype(np.float64)).max())
    tolerance = recipe.tolerance
    assert tolerance is not None  # noqa: S101  # of the two a recipe has one
    # A network that answers 0 everywhere leaves no scale; the difference must then be 0 itself.
    relative = difference / scale if scale else difference
    return Check(
        name,
        passed=bool(relative <= tolerance),  # False for NaN
        measured=relative if np.isfinite(relative) else None,
        tolerance=tolerance,
        detail=f"max |difference| {difference:.3g}, max |logit| {scale:.3g} over "
        f"{len(found)} real inputs",
    )


def _misshapen(name: str, reference: Logits, found: Logits) -> Check:
    detail = f"logits of shape {found.shape}, not {reference.shape}: another network"
    return Check(name, passed=False, measured=None, tolerance=None, detail=detail)


def _sqnr(reference: Logits, logits: Logits, least_db: float, name: str) -> Check:
    found = sqnr(reference, logits)
    return Check(
        name,
        passed=bool(found >= least_db),  # False for NaN
        measured=found if np.isfinite(found) else None,
        tolerance=least_db,
        detail=f"signal over quantisation noise {found:.1f} dB (at least {least_db:g}) over "
        f"{len(logits)} real inputs",
    )


def top1_check(recipe: Recipe, reference: Logits, found: Logits, *, name: str = "top1") -> Check:
    """Return whether as many images get the trained network's class as a recipe wants."""
    if found.shape != reference.shape:
        return _misshapen(name, reference, found)
    differ = found.argmax(axis=1) != reference.argmax(axis=1)
    most = 1 - recipe.least_agreement
    return Check(
        name,
        passed=bool(differ.mean() <= most),
        measured=float(differ.mean()),
        tolerance=most,
        detail=f"{np.count_nonzero(differ)} of {len(differ)} inputs get another class",
    )


def _untested_reason(exporter: Exporter, request: ExportRequest) -> str | None:
    """Return why the accuracy on the test part is not compared, None if it is."""
    if request.test_images is None:
        return "no test part was given"
    place, n_tests = exporter.place, len(request.test_images)
    most = None if place is None else place.most_test_images
    if place is None or most is None or n_tests <= most:
        return None
    # A few of them would tell the accuracy to a percent or two, which is no check.
    return (
        f"{place.runtime} starts anew for each image, which takes too long for {n_tests} test "
        f"images (at most {most}); top1 compares the classes of the reference images"
    )


def _accuracy(
    exporter: Exporter, request: ExportRequest, logits: Logits | None, untested: str | None
) -> Check:
    labels, reference = request.test_labels, request.test_accuracy
    if logits is None or labels is None or reference is None:
        return _skipped(("accuracy",), untested or "the file answered no test images")[0]
    found = float((logits.argmax(axis=1) == labels).mean())
    tolerance = exporter.recipe.accuracy_tolerance
    # Codes may happen to be right more often; a float file that is so is another network.
    is_coded = exporter.recipe.precision in CODED
    lost = max(reference - found, 0.0) if is_coded else abs(found - reference)
    return Check(
        "accuracy",
        # The two fractions are computed apart: half an image of slack is no slack.
        passed=lost <= tolerance + 0.5 / len(labels),
        measured=lost,
        tolerance=tolerance,
        detail=f"{found:.6f} against {reference:.6f} on {len(labels)} test images",
        value=found,
    )


def _skipped(names: tuple[str, ...], reason: str) -> list[Check]:
    return [Check(name, None, None, None, reason) for name in names]


def _word(check: Check) -> str:
    return {True: "passed", False: "FAILED", None: "not run"}[check.passed]
