"""``edgenas ofa predictor``: accuracy from evaluated subnets, or the published predictor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgenas.cli.options import Json, Quiet, Settings, SpaceName, settings_of, space_of, text_of
from edgenas.cli.screen import Watch, show, show_json, show_json_line, show_table

if TYPE_CHECKING:
    from edgenas.evaluators.predictors.report import AccuracyFigures, Estimate, PredictorReport

app = typer.Typer(
    help="Fit a predictor of accuracy, show one, predict with one.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A predictor's file (.safetensors).")]


@app.command("choose")
def choose(
    space: SpaceName,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 100,
    known: Annotated[
        Path | None,
        typer.Option("--known", help="Evaluated architectures (CSV or JSON lines), to go on from."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the candidates.")] = 0,
    changes: Settings = None,
    json: Annotated[bool, typer.Option("--json", help="The output is JSON lines anyway.")] = False,
) -> None:
    """Print the subnets whose accuracy is worth knowing, as JSON lines.

    With --known, half of them are to teach about architectures that look good for their MACs.
    """
    del json
    import numpy as np

    from edgenas.evaluators.predictors import choose_subnets
    from edgenas.study.accuracy_lines import read_accuracies

    wanted = space_of(space, changes)
    evaluated = None
    if known is not None:
        evaluated = read_accuracies(text_of(known), wanted, as_csv=_is_csv(known))
    rows = choose_subnets(wanted, n, np.random.default_rng(seed), known=evaluated, seed=seed)
    for row in rows:
        show_json_line(wanted.describe(row))


@app.command("fit")
def fit(
    source: Annotated[
        Path,
        typer.Argument(metavar="ACCURACIES", help="CSV or JSON lines; '-' is standard input."),
    ],
    space: SpaceName,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write (.safetensors).")],
    held_out: Annotated[
        Path | None, typer.Option("--held-out", help="More of them, only for the report.")
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Choose among these kinds only; repeatable."),
    ] = None,
    n_folds: Annotated[int, typer.Option("--folds", min=2, help="Parts left out in turn.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Decides the parts.")] = 0,
    changes: Settings = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fit a predictor to evaluated subnets; the kind that ranks unseen ones best is taken.

    A JSON line holds 'accuracy' (a fraction) and an architecture as 'edgenas predict' takes it; a
    CSV file a column 'accuracy' and 'genes', or a column a gene.
    """
    from edgenas.evaluators.predictors import fit_predictor, save_predictor
    from edgenas.evaluators.predictors.files import check_name
    from edgenas.evaluators.predictors.kinds import KINDS
    from edgenas.study.accuracy_lines import read_accuracies

    check_name(out)  # before minutes of work
    wanted = space_of(space, changes)
    rows, accuracy = read_accuracies(text_of(source), wanted, as_csv=_is_csv(source))
    others = None
    if held_out is not None:
        others = read_accuracies(text_of(held_out), wanted, as_csv=_is_csv(held_out))
    with Watch(quiet=quiet) as watch:
        predictor = fit_predictor(
            wanted,
            rows,
            accuracy,
            kinds=tuple(kinds or KINDS),
            n_folds=n_folds,
            seed=seed,
            held_out=others,
            progress=watch.progress,
        )
    save_predictor(predictor, out)
    _show(out, wanted.name, predictor.report, json=json)


@app.command("show")
def show_file(file: File, json: Json = False) -> None:
    """Show what a predictor was fitted to, and how well it ranks what it did not see."""
    from edgenas.evaluators.predictors.files import read_header

    header = read_header(file)
    _show(file, header.space.name, header.report, json=json)


@app.command("evaluate")
def evaluate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A predictor's file, or the published one (.npz, .pth)."
        ),
    ],
    source: Annotated[
        Path, typer.Argument(metavar="[ARCHITECTURES]", help="JSON lines; '-' is standard input.")
    ] = Path("-"),
    space: Annotated[
        str | None, typer.Option("--space", help="The space; default: the one that FILE names.")
    ] = None,
    changes: Settings = None,
    coverage: Annotated[float, typer.Option(help="Probability of the intervals.")] = 0.9,
    run: Annotated[
        Path | None, typer.Option("--run", help="A run whose architectures may be named by id.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The output is JSON lines anyway.")] = False,
) -> None:
    """Predict the accuracy of architectures, one a line (see 'edgenas predict')."""
    del json
    from edgenas import spaces
    from edgenas.core.errors import UsageError
    from edgenas.evaluators.predictors import load_predictor
    from edgenas.study.architecture_lines import read_lines

    settings = settings_of(space, changes)
    if not 0 < coverage < 1:
        raise UsageError(f"--coverage is {coverage}, allowed: more than 0, less than 1")
    predictor = load_predictor(file, None if space is None else spaces.get(space, **settings))
    rows = read_lines(text_of(source), predictor.space, run=run)
    predictions = zip(*predictor.predict(rows, coverage=coverage), strict=True)
    known = predictor.has_intervals
    for arch, (value, low, high) in zip(
        predictor.space.architectures(rows), predictions, strict=True
    ):
        show_json_line(
            {
                "id": arch.id,
                "accuracy": round(float(value), 6),
                "low": round(float(low), 6) if known else None,
                "high": round(float(high), 6) if known else None,
                "confidence": coverage,
            }
        )


def _is_csv(path: Path) -> bool:
    return path.suffix == ".csv"


def _show(path: Path, space: str, report: PredictorReport, *, json: bool) -> None:
    if json:
        show_json({"file": str(path), "space": space, **report.model_dump(mode="json")})
        return
    low, high = report.accuracy_range
    show(f"{path}: {report.kind} on {space}", style="bold")
    show(
        f"fitted to {report.n_architectures} architectures ({report.n_evaluations} evaluations), "
        f"accuracy {low:.4f} to {high:.4f}"
    )
    if report.noise is not None:
        show(
            f"{report.noise.n_repeated} were evaluated more than once: one evaluation deviates by "
            f"{100 * report.noise.deviation:.3f} points"
        )
    rows = [_row(name, figures) for name, figures in report.candidates.items()]
    if report.held_out is not None:
        rows.append(_row("held out", report.held_out))
    percent = round(100 * report.cross_validated.coverage)
    show_table(
        f"On architectures left out ({report.n_folds} parts in turn; {percent} % intervals)",
        ["kind", "n", "MAE, points", "RMSE, points", "Spearman", "Kendall"],
        rows,
    )


def _row(name: str, figures: AccuracyFigures) -> list[str]:
    return [
        name,
        str(figures.n_architectures),
        _with_ends(figures.mae, 100, 3),
        _with_ends(figures.rmse, 100, 3),
        _with_ends(figures.spearman, 1, 4),
        _with_ends(figures.kendall, 1, 4),
    ]


def _with_ends(estimate: Estimate, times: int, digits: int) -> str:
    value, low, high = (
        f"{times * number:.{digits}f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low}-{high})"
