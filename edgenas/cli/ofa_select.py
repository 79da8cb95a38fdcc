"""``edgenas ofa select``: networks for devices, from a predictor of accuracy and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgenas.cli.options import AcceptMismatch, Json, Settings, SpaceName, accepted, space_of
from edgenas.cli.screen import say, show, show_json, show_table

if TYPE_CHECKING:
    from edgenas.searchers.arrays.fleet import Fleet
    from edgenas.searchers.arrays.front import Front

_SHOWN = 12  # members of a front without budgets

Predictor = Annotated[
    Path,
    typer.Option("--predictor", help="A predictor's file, or the published one (.npz, .pth)."),
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="TABLE[=BUDGET]",
        help="A device's table: its path or name; its budget as in '=20' or '=20 @ 90%'. "
        "Repeatable.",
    ),
]
Budgets = Annotated[
    str | None, typer.Option("--budgets", metavar="B,...", help="Budgets of the first table.")
]
Objectives = Annotated[
    str | None,
    typer.Option(
        "--objectives",
        metavar="NAME,...",
        help="Of the front: accuracy, tables' columns, n_macs, n_params, weights_kib, "
        "peak_activation_kib. Default: accuracy and all tables.",
    ),
]
CountLimits = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="NAME<=VALUE", help="On a count; repeatable."),
]
OneForAll = Annotated[
    bool, typer.Option("--fleet", help="One network for all tables, within their budgets.")
]
LeastAccuracy = Annotated[
    float | None,
    typer.Option(
        "--accuracy",
        help="With --fleet: at least so accurate; the budgets bound the devices' own networks.",
    ),
]
Evaluations = Annotated[int, typer.Option(min=1, help="Predictions of accuracy, of every run.")]
Seconds = Annotated[
    float | None, typer.Option(help="End every run after so long, whatever it has found.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Also write the result to a JSON file.")
]


def select(
    space: SpaceName,
    predictor: Predictor,
    tables: Tables = None,
    budgets: Budgets = None,
    objectives: Objectives = None,
    constraints: CountLimits = None,
    fleet: OneForAll = False,
    least_accuracy: LeastAccuracy = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    evaluations: Evaluations = 400_000,
    seconds: Seconds = None,
    changes: Settings = None,
    accept_mismatch: AcceptMismatch = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Select the networks of a space that are best for budgets, by predicted accuracy.

    Every network is told with the configuration that 'edgenas predict' and 'edgenas ofa predictor
    evaluate' read.
    """
    from edgenas.core.errors import UsageError
    from edgenas.core.files import write_json
    from edgenas.searchers.arrays.problem import Limits
    from edgenas.study.selection import Devices, TableRequest, select_for_fleet, select_networks

    if least_accuracy is not None and not fleet:
        raise UsageError("--accuracy goes with --fleet; without it the front tells every accuracy")
    if fleet and (budgets or objectives or constraints):
        raise UsageError("--fleet takes '--table TABLE=BUDGET' alone, not --budgets, --objectives")
    requests = [TableRequest.parse(text) for text in tables or []]
    devices = Devices(space_of(space, changes), requests, accept=accepted(accept_mismatch))
    limits = Limits(n_evaluations=evaluations, seconds=seconds)
    result: Front | Fleet
    if fleet:
        result = select_for_fleet(
            devices, predictor=predictor, least_accuracy=least_accuracy, seed=seed, limits=limits
        )
    else:
        result = select_networks(
            devices,
            predictor=predictor,
            budgets=_budgets(budgets),
            objectives=_parts(objectives),
            constraints=_constraints(constraints),
            seed=seed,
            limits=limits,
        )
    content = {**result.as_dict(), "caveats": devices.caveats}
    if out is not None:
        write_json(out, content)
    if json:
        show_json(content)
        return
    _show(content, fleet=fleet)
    for text in devices.caveats:
        say(f"note: {text}", style="yellow")


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _budgets(text: str | None) -> list[Any]:
    from edgenas.study.selection import Budget

    return [Budget.parse(part) for part in _parts(text)]


def _constraints(texts: list[str] | None) -> dict[str, float]:
    from edgenas.core.errors import UsageError
    from edgenas.core.objective import Constraint

    found: dict[str, float] = {}
    for text in texts or []:
        constraint = Constraint.parse(text)
        if constraint.confidence is not None:
            raise UsageError(f"a count is exact, it needs no confidence: {text!r}")
        found[constraint.name] = min(constraint.limit, found.get(constraint.name, float("inf")))
    return found


def _show(content: dict[str, Any], *, fleet: bool) -> None:
    if fleet:
        _show_fleet(content)
        return
    picks, front, statistics = content["picks"], content["front"], content["statistics"]
    names = list((picks or front)[0]["values"])
    if picks:
        rows = [[_limits(p["budget"]), *(_value(p["values"][n]) for n in names)] for p in picks]
        show_table("The best for every budget", ["budget", *names], rows)
    else:
        step = max(1, -(-len(front) // _SHOWN))
        rows = [[m["id"], *(_value(m["values"][n]) for n in names)] for m in front[::step]]
        show_table(f"Every {step}. of {len(front)} on the front", ["architecture", *names], rows)
    show()
    for member in picks:
        show(f"{_limits(member['budget'])}: {_line(member['config'])}")
    how = "exact" if statistics["exact"] else f"{statistics['n_evaluations']:,} predictions"
    show(f"{len(front)} on the front, {how}, {statistics['seconds']:.1f} s")


def _show_fleet(content: dict[str, Any]) -> None:
    network, budgets = content["network"], content["budgets"]
    rows = [
        [
            name,
            _value(budget),
            _value(network["values"][name]),
            _value(content["own"][name]["values"]["accuracy"]),
            f"{100 * content['accuracy_regret'][name]:.3f}",
            f"{100 * content['cost_regret'][name]:.2f} %",
        ]
        for name, budget in budgets.items()
    ]
    show_table(
        f"One network for {len(rows)} devices: accuracy {network['values']['accuracy']:.5f}",
        ["device", "budget", "cost", "own accuracy", "lost, points", "dearer than own"],
        rows,
    )
    show()
    show(_line(network["config"]))


def _limits(budget: dict[str, float]) -> str:
    return ", ".join(f"{name} <= {limit:.6g}" for name, limit in budget.items())


def _value(number: float) -> str:
    return f"{number:.5f}" if abs(number) < 10 else f"{number:,.3f}"


def _line(config: dict[str, Any]) -> str:
    import json

    return json.dumps(config)
