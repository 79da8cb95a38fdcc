"""Options that several verbs share, and what turns their texts into values."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from edgenas.core.errors import UsageError

if TYPE_CHECKING:
    from edgenas.costs.kinds import Kind
    from edgenas.spaces.base import SearchSpace

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, results only.")]
DeviceId = Annotated[
    str, typer.Option("--device", help="A device's id, or the path of its description.")
]
RuntimeName = Annotated[
    str,
    typer.Option(
        "--runtime",
        help="Which engine: onnxruntime, litert, or one that the device file or a plug-in adds.",
    ),
]
Precision = Annotated[str, typer.Option("--precision", help="Of weights and activations.")]
JobPrecision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Of the files and of the tables, instead of the job's: float32, float16, int8 or "
        "weight_int8.",
    ),
]
SpaceName = Annotated[str, typer.Option("--space", help="A search space ('edgenas spaces list').")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the space; repeatable."),
]
TableName = Annotated[
    str | None,
    typer.Option("--table", help="A table to use: its path, or its name in 'edgenas tables list'."),
]
TableNames = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="[RUNTIME[.KIND]=]TABLE",
        help="A table to use instead of the device's own; repeatable.",
    ),
]
AcceptMismatch = Annotated[
    str | None,
    typer.Option(
        "--accept-mismatch",
        metavar="ASPECT,...",
        help="In what that table may be of something else: space, device, runtime, "
        "runtime_version, precision, threads, delegate, settings. Every result then says so.",
    ),
]
KindName = Annotated[
    str,
    typer.Option(
        "--kind",
        help="What of: latency, energy, load, cold_start, peak_memory or sustained_p95.",
    ),
]
KindNames = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND[,KIND]...",
        help="Costs of what: latency (the default), energy, load, cold_start, peak_memory, "
        "sustained_p95; repeatable. What one measurement tells is measured once.",
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
JobPath = Annotated[Path, typer.Argument(metavar="JOB", help="A job file (YAML).")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The run's folder.")]
Pick = Annotated[
    str | None,
    typer.Option(
        "--pick",
        help="'knee', limits such as 'latency_ms<=2 @ 90%,energy_mj<=5', or an architecture's id.",
    ),
]


def text_of(source: Path) -> str:
    """Return the text of a file, or of standard input for ``-``.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if str(source) == "-":
            return sys.stdin.read()
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {source}: {error}") from error


def accepted(text: str | None) -> tuple[str, ...]:
    """Return the aspects that ``a,b`` names."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def tables_of(texts: list[str] | None) -> dict[str, str]:
    """Return tables by name from ``[RUNTIME[.KIND]=]TABLE``; "" is the job's own runtime.

    Raises:
        UsageError: a runtime is named twice.
    """
    from edgenas.runtimes import RUNTIMES

    found: dict[str, str] = {}
    for text in texts or []:
        runtime, sign, table = text.partition("=")
        if not sign or runtime.partition(".")[0] not in RUNTIMES.names():  # a path may hold '='
            runtime, table = "", text
        if runtime in found:
            raise UsageError(f"--table names {runtime or 'the job runtime'}'s table twice")
        found[runtime] = table
    return found


def kinds_of(texts: list[str] | None) -> tuple[Kind, ...]:
    """Return the kinds of costs that ``a,b`` texts name, latency if there are none.

    Raises:
        UsageError: there is no such kind, or it is named twice.
    """
    from edgenas.costs.kinds import kind_named

    names = [part.strip() for text in texts or ["latency"] for part in text.split(",")]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UsageError(f"--kind names {', '.join(doubled)} more than once")
    return tuple(kind_named(name) for name in names)


def settings_of(space: str | None, texts: list[str] | None) -> dict[str, Any]:
    """Return the changes of a space's settings that ``key=value`` texts say; values are YAML.

    Raises:
        UsageError: a text is not ``key=value``, or there are texts and no space is named.
    """
    if texts and space is None:
        raise UsageError("--set changes a setting of a space: name the space with --space")
    changes: dict[str, Any] = {}
    for text in texts or []:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"--set takes KEY=VALUE, e.g. --set n_classes=10, not {text!r}")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {text}: the value is not YAML: {error}") from error
    return changes


def space_of(name: str, settings: list[str] | None) -> SearchSpace:
    """Return the space `name` with its settings changed as ``key=value`` texts say.

    Raises:
        RegistryError: no such space.
        SpaceError: no such setting.
        UsageError: a text is not ``key=value``.
    """
    from edgenas import spaces

    return spaces.get(name, **settings_of(name, settings))
