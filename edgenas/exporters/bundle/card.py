"""MODEL_CARD.md: what the manifest and the proof say of a file, for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgenas.exporters.manifest import Manifest, MeasuredCost, PredictedCost


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Fractions; None where the images had no labels."""

    validation: float | None
    test: float | None
    n_test: int


def model_card(manifest: Manifest, accuracy: Accuracy, budgets: tuple[str, ...]) -> str:
    """Return the card; every number in it is the manifest's or the proof's."""
    sections = [
        (f"# {_plain(manifest.source.run)}: {manifest.file.name}", _what(manifest)),
        ("## Data and accuracy", _data(manifest, accuracy)),
        ("## Latency", _latency(manifest, budgets)),
        ("## Checks", _checks(manifest)),
        ("## Limits of use", _limits(manifest, accuracy)),
        ("## Made with", [_table(("", "version"), manifest.versions.items())]),
    ]
    return "\n\n".join("\n\n".join([head, *body]) for head, body in sections if body) + "\n"


def _what(manifest: Manifest) -> list[str]:
    source, counts, names = manifest.source, manifest.counts, manifest.output.class_names
    rows = [
        ("file", f"`{manifest.file.name}`, {manifest.file.n_bytes / 1024:.1f} KiB"),
        ("SHA-256", f"`{manifest.file.sha256}`"),
        ("format", f"{manifest.target}, {manifest.precision}"),
        ("input", _tensor(manifest.input.name, manifest.input.shape, manifest.input.dtype)),
        ("output", _tensor(manifest.output.name, manifest.output.shape, manifest.output.dtype)),
        ("classes", f"{len(names)}: {', '.join(names)}"),
        ("network", f"architecture `{source.architecture_id}` of the space {source.space}"),
        ("multiply-accumulates", f"{counts.n_macs:,}"),
        ("parameters", f"{counts.n_params:,}"),
        ("peak of activations", f"{counts.peak_activation_kib:.1f} KiB in float32"),
    ]
    if manifest.calibration is not None:
        found = manifest.calibration
        rows.append(("ranges", f"{found.method}, on {found.n_images} training images"))
    return [
        f"An image classifier that edgenas {manifest.versions.get('edgenas', '')} searched, "
        "trained and exported. It returns one logit a class, without softmax. How an image becomes "
        "its input is in `preprocessing.json`.",
        _table(("", ""), rows),
    ]


def _data(manifest: Manifest, accuracy: Accuracy) -> list[str]:
    text = f"Trained on {_plain(manifest.source.data)} (name and fingerprint of the data set)."
    if accuracy.test is None:
        return [text, "Its accuracy is not known: the images had no labels."]
    found = f"Accuracy: {accuracy.test:.2%} on {accuracy.n_test} test images"
    if accuracy.validation is not None:
        found += (
            f"; {accuracy.validation:.2%} on the validation images, by which networks were chosen"
        )
    return [
        text,
        f"{found}. It is that of the trained network; what the file may differ by is below.",
    ]


def _latency(manifest: Manifest, budgets: tuple[str, ...]) -> list[str]:
    predicted, measured = manifest.predicted_latency, manifest.measured_latency
    rows: list[tuple[str, str]] = [("budget", ", ".join(budgets) or "none was asked of this file")]
    if predicted is not None:
        interval = "no interval"
        if predicted.low_ms is not None and predicted.high_ms is not None:
            interval = (
                f"[{predicted.low_ms:.4f}, {predicted.high_ms:.4f}] at {predicted.confidence:.0%}"
            )
        rows.append(
            (
                "predicted",
                f"{predicted.latency_ms:.4f} ms, {interval}; {predicted.runtime} on "
                f"{predicted.device}, {predicted.coverage}, table {predicted.provenance}",
            )
        )
    if measured is not None:
        rows.append(
            (
                "measured",
                f"{measured.latency_ms:.4f} ms (least of {measured.n_samples} runs; median "
                f"{measured.median_ms:.4f} ms); {measured.runtime} {measured.runtime_version}, "
                f"{measured.n_threads} thread(s), on {measured.device}",
            )
        )
    rows += [(f"predicted {one.objective}", _cost(one)) for one in manifest.predicted_costs]
    rows += [(f"measured {one.objective}", _cost(one)) for one in manifest.measured_costs]
    return [_table(("", ""), rows)]


def _cost(cost: PredictedCost | MeasuredCost) -> str:
    interval = "" if cost.low is None else f" [{cost.low:.4g}, {cost.high:.4g}]"
    where = f"{cost.runtime} on {cost.device}, {cost.provenance}"
    return f"{cost.value:.4g}{interval} {cost.unit}; {where}"


def _checks(manifest: Manifest) -> list[str]:
    made = [(one.name, "passed" if one.passed else "FAILED", one.detail) for one in manifest.checks]
    left_out = [(name, "not made", reason) for name, reason in manifest.not_run.items()]
    return [
        "The file was compared with the trained network where it was written. The recorded inputs "
        "and outputs in `check/` are for doing it again: on the device by `check/check.py` where "
        "it is there, anywhere by `edgenas verify`.",
        _table(("check", "", "found"), [*made, *left_out]),
    ]


def _limits(manifest: Manifest, accuracy: Accuracy) -> list[str]:
    lines = [
        f"It names one of its {len(manifest.output.class_names)} classes for every image, also for "
        "one that shows none of them.",
        "Images have to be prepared as `preprocessing.json` says; others than those of the data "
        "set were not tried.",
    ]
    if accuracy.test is None:
        lines.append("Nobody knows how often it is right.")
    measured, predicted = manifest.measured_latency, manifest.predicted_latency
    if measured is not None:
        lines.append(
            f"Its latency is that of {measured.device} with the engine above, alone on the device: "
            "elsewhere, measure it there."
        )
    else:
        lines.append("It was not timed: measure it on the device before relying on a latency.")
    if predicted is not None and predicted.mismatch:
        lines.append(f"The prediction is from a table of {', '.join(predicted.mismatch)}.")
    if manifest.target == "tensorrt":
        lines.append(
            "It opens only on the kind of GPU, and with the version, that it was built for."
        )
    return ["\n".join(f"- {line}" for line in lines)]


def _tensor(name: str, shape: tuple[int | str, ...], dtype: str) -> str:
    return f"`{name}`, {dtype}, {' x '.join(map(str, shape))}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Return text that stays in its line and its cell."""
    return " ".join(text.split()).replace("|", "\\|")
