"""The support matrix: which families were seen in which target and precision, as a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgenas.core.precision import CODED, PRECISIONS

Status = Literal["passed", "built", "failed", "refused"]

_SIGNS = {"passed": "✓", "built": "built", "failed": "✗", "refused": "–"}
_TARGETS = {
    "onnx": ("`model.onnx`", "any machine", "any machine with ONNX Runtime"),
    "tflite": ("`model.tflite`", "any machine", "any machine with LiteRT (XNNPACK)"),
    "tensorrt": (
        "`model.engine`",
        "Linux on x86-64, no GPU needed; or a device, by its own TensorRT",
        "a GPU of the compute capability that it was built for; or that device",
    ),
}
_PLUGIN = ("of its plug-in", "where its plug-in can", "where its plug-in can")
_HEAD = """# Export targets

Generated from what `python -m benchmarks.exporting.matrix` saw
([figures](../benchmarks/exporting/results/matrix.json)); not to be edited.

`recipes/<target>-<precision>.yaml` say how a target is written and how closely the file has to agree with the trained network; `golden/` holds a tiny network in each of
them, with inputs, answers and manifest, which tests write and run again. [Exporting](../docs/exporting.md) has precisions, calibration and checks,
[formats](../docs/formats.md#the-manifest) the manifest.
"""  # noqa: E501
_LEGEND = """✓: written, run and within the recipe's tolerances. built: written, and its checks wait for a device that runs it. ✗: a check failed, and the file is refused. –: the
target cannot express it. Networks are random ones, one a family, trained for a moment on Fashion-MNIST; the value is the relative difference of the logits from those in torch, or
of 8-bit files the ratio of signal and noise. In 8 bits the classes are told (`top1`, `accuracy` in the figures) and not judged, as these networks have learned little and their classes are
near ties; what trained picks lose is in [the results](../benchmarks/exporting/results/README.md).
"""  # noqa: E501


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a network of a family in a target and precision.

    `values` is what the check of that name measured: a relative difference, or of 8-bit codes the
    ratio of signal and noise in dB; None if the file did not run.
    """

    family: str
    target: str
    precision: str
    status: Status
    values: float | None = None


def support_readme(seen: Sequence[Seen]) -> str:
    """Return the document."""
    others = sorted({one.target for one in seen} - set(_TARGETS))  # of plug-ins
    targets = [n for n in (*_TARGETS, *others) if any(one.target == n for one in seen)]
    lines = [_HEAD, "| target | file | written on | runs on |", "|---|---|---|---|"]
    for name in targets:
        lines.append(f"| `{name}` | {' | '.join(_TARGETS.get(name, _PLUGIN))} |")
    lines += ["", "## Families", "", _LEGEND]
    found = {(one.family, one.target, one.precision): one for one in seen}
    kinds = [
        (target, precision)
        for target in targets
        for precision in PRECISIONS
        if any((one.target, one.precision) == (target, precision) for one in seen)
    ]
    lines.append("| family | " + " | ".join(f"{t} {p}" for t, p in kinds) + " |")
    lines.append("|---|" + "---|" * len(kinds))
    for family in sorted({one.family for one in seen}):
        cells = [_cell(found.get((family, *kind))) for kind in kinds]
        lines.append(f"| `{family}` | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _cell(one: Seen | None) -> str:
    if one is None:
        return ""
    sign = _SIGNS[one.status]
    if one.values is None:
        return sign
    if one.precision in CODED:
        return f"{sign} {one.values:.1f} dB"
    return f"{sign} {one.values:.1e}"
