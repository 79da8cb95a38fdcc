"""``edgenas ofa``: once-for-all networks, from published weights to a network for a device."""

from __future__ import annotations

import typer

from edgenas.cli import ofa_import, ofa_predictor, ofa_select

app = typer.Typer(
    no_args_is_help=True,
    help="Once-for-all networks: use published weights, predict accuracy, select for devices.",
)

app.command("import")(ofa_import.import_)
app.command("show")(ofa_import.show_file)
app.add_typer(ofa_predictor.app, name="predictor")
app.command("select")(ofa_select.select)
