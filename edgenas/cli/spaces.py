"""``edgenas spaces``: what can be searched."""

from __future__ import annotations

from typing import Annotated

import typer

from edgenas.cli.options import Json, Settings, space_of
from edgenas.cli.screen import show, show_json, show_json_line, show_table

app = typer.Typer(help="List search spaces, show one, sample from it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SPACE", help="A space's name.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the search spaces."""
    from edgenas.study.describe import describe_spaces

    found = describe_spaces()
    if json:
        show_json(found)
        return
    rows = [
        [
            entry["name"],
            f"{entry['n_architectures']:.3g}",
            str(entry["n_genes"]),
            str(entry["n_operators"]),
            f"{entry['least_macs'] / 1e6:.1f} to {entry['greatest_macs'] / 1e6:.1f}",
            "x".join(map(str, entry["largest_input"])),
        ]
        for entry in found
    ]
    columns = ["space", "architectures", "genes", "operators", "million MACs", "largest input"]
    show_table("Search spaces", columns, rows)


@app.command("show")
def show_(space: Name, changes: Settings = None, json: Json = False) -> None:
    """Show the genes and the extremes of a space."""
    from edgenas.study.describe import describe_space

    wanted = space_of(space, changes)
    entry = describe_space(wanted)
    if json:
        genes = [
            {"name": g.name, "options": list(g.options), "parent": g.parent or None}
            for g in wanted.genes
        ]
        show_json({**entry, "genes": genes, "parameters": wanted.parameters})
        return
    show(f"{wanted.name}: {entry['n_architectures']:,} architectures", style="bold")
    show(
        f"{entry['n_operators']} operators; {entry['least_macs'] / 1e6:.2f} to "
        f"{entry['greatest_macs'] / 1e6:.2f} million MACs; {wanted.n_classes} classes; "
        f"largest input {'x'.join(map(str, entry['largest_input']))}"
    )
    rows = [
        [gene.name, ", ".join(map(str, gene.options)), f"with {gene.parent}" if gene.parent else ""]
        for gene in wanted.genes
    ]
    show_table("", ["gene", "options", "active"], rows, left=3)


@app.command("sample")
def sample(
    space: Name,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Decides which.")] = 0,
    most_macs: Annotated[
        float | None, typer.Option("--max-macs", help="Only networks of at most so many MACs.")
    ] = None,
    changes: Settings = None,
    json: Annotated[bool, typer.Option("--json", help="The output is JSON lines anyway.")] = False,
) -> None:
    """Print random architectures as JSON lines, which 'edgenas predict' reads."""
    del json
    from edgenas.study.describe import sample_space

    for entry in sample_space(space_of(space, changes), n, seed=seed, most_macs=most_macs):
        show_json_line(entry)
