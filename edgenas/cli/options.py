"""Options that several verbs share, and what turns their texts into values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from edgenas.core.errors import UsageError

if TYPE_CHECKING:
    from edgenas.spaces.base import SearchSpace

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, results only.")]
DeviceId = Annotated[
    str, typer.Option("--device", help="A device's id, or the path of its description.")
]
RuntimeName = Annotated[str, typer.Option("--runtime", help="onnxruntime or litert.")]
Precision = Annotated[str, typer.Option("--precision", help="Of weights and activations.")]
SpaceName = Annotated[str, typer.Option("--space", help="A search space ('edgenas spaces list').")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the space; repeatable."),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
JobPath = Annotated[Path, typer.Argument(metavar="JOB", help="A job file (YAML).")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The run's folder.")]
Pick = Annotated[
    str | None,
    typer.Option(
        "--pick", help="'knee', limits such as 'latency_ms<=2 @ 90%', or an architecture's id."
    ),
]


def space_of(name: str, settings: list[str] | None) -> SearchSpace:
    """Return the space `name` with its settings changed as ``key=value`` texts say.

    Raises:
        RegistryError: no such space.
        SpaceError: no such setting.
        UsageError: a text is not ``key=value``.
    """
    from edgenas import spaces

    changes: dict[str, Any] = {}
    for text in settings or []:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"--set takes KEY=VALUE, e.g. --set n_classes=10, not {text!r}")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {text}: the value is not YAML: {error}") from error
    return spaces.get(name, **changes)
