"""The application: all verbs, and the options that belong to none."""

from __future__ import annotations

from typing import Annotated

import typer

from edgenas import __version__
from edgenas.cli import (
    compile as compile_verb,
)
from edgenas.cli import (
    doctor,
    export,
    measure,
    ofa,
    pick,
    predict,
    profile,
    report,
    search,
    spaces,
    tables,
    verify,
)

app = typer.Typer(
    name="edgenas",
    help="From a data set, a device and a budget to a model file and its proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"edgenas {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


app.command("doctor")(doctor.doctor)
app.add_typer(spaces.app, name="spaces")
app.command("profile")(profile.profile)
app.add_typer(tables.app, name="tables")
app.command("predict")(predict.predict)
app.command("measure")(measure.measure)
app.add_typer(ofa.app, name="ofa")
app.command("search")(search.search)
app.command("pick")(pick.pick)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("report")(report.report)
app.command("compile")(compile_verb.compile_)
