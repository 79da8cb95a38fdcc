"""``edgenas ofa import`` and ``show``: supernets that the public once-for-all code trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgenas.cli.options import Json, Settings, settings_of
from edgenas.cli.screen import show, show_json

if TYPE_CHECKING:
    from edgenas.oneshot.description import Description


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A checkpoint (torch.save or safetensors).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    space: Annotated[
        str | None,
        typer.Option("--space", help="Whose weights they are; default: told from their shapes."),
    ] = None,
    changes: Settings = None,
    json: Json = False,
) -> None:
    """Make the weights of a public once-for-all checkpoint a supernet of edgenas."""
    from edgenas.core.extras import require

    settings = settings_of(space, changes)
    require("safetensors")
    require("torch")
    from edgenas.oneshot.ofa_import import import_checkpoint

    description = import_checkpoint(file, out, preset=space, settings=settings)
    _show(out, description, json=json)


def show_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What 'import' wrote.")],
    json: Json = False,
) -> None:
    """Show what an imported supernet is: its space, where it comes from, its size."""
    from edgenas.oneshot.description import load_description

    _show(file, load_description(file), json=json)


def _show(path: Path, description: Description, *, json: bool) -> None:
    if json:
        show_json({"file": str(path), **description.model_dump(mode="json")})
        return
    space, source = description.space, description.source
    show(f"{path}: weights of {space.name}", style="bold")
    show(f"{description.n_tensors} tensors, {description.n_params:,} parameters")
    show(f"from {source.file} (SHA-256 {source.sha256}), {source.keys} keys")
    show(f"imported {description.created}, by edgenas {description.tool_version}")
    show(f"the space: {space.command_options}")
