"""The table of where searches ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

_HEAD = """# Five budgets, by methods and forms of the loss

`mbv3_tiny` with this machine's onnxruntime table, Fashion-MNIST. How far from the budget, in %: the expected latency when learning ends, the most likely network as it is,
the network that is proposed (predicted), and the same measured. In the form `budget` a distribution is then settled on its budget, and proposed is the most likely network of those that use 95 % of it (`none`: the same
without any learning, which the columns `expected` and `most likely` show the difference to); in the other forms proposed is the most likely network within the budget, as `edgenas compile` does it. The form `fbnet` is not told
of any budget: one search stands in all its rows. A budget is met if what is proposed is predicted within 5 % of it and measured within the table's interval.
Made by `python -m benchmarks.differentiable.budgets` (see there).

| method | loss | budget (ms) | expected | most likely | proposed | measured | table's interval (ms) | measured (ms) | met |
|---|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501
_WORST = """
Mean and greatest distance from the budget over its five values, in %:

| method | loss | expected | most likely | proposed | measured | met |
|---|---|---|---|---|---|---|
"""
_KINDS = ("expected_ms", "most_likely_ms", "predicted_ms", "measured_ms")
_WITHIN = 0.05


def table(
    cases: Mapping[tuple[str, str], Sequence[dict[str, Any]]],
    latency: Mapping[tuple[int, ...], float],
) -> str:
    """Return the results as Markdown.

    Args:
        cases: by method and form, what was found for each budget.
        latency: measured, in ms, by genes.
    """
    lines, worst = [], []
    for (name, form), found in cases.items():
        if not found:
            continue
        timed = [{**one, "measured_ms": latency[tuple(one["proposed"])]} for one in found]
        lines += [_line(name, form, one) for one in timed]
        far = {kind: [abs(_far(one, kind)) for one in timed] for kind in _KINDS}
        cells = " | ".join(f"{mean(own):.1f}, {max(own):.1f}" for own in far.values())
        n_met = sum(map(_is_met, timed))
        worst.append(f"| `{name}` | `{form}` | {cells} | {n_met} of {len(timed)} |")
    return _HEAD + "\n".join(lines) + "\n" + _WORST + "\n".join(worst) + "\n"


def _line(name: str, form: str, one: dict[str, Any]) -> str:
    cells = " | ".join(f"{_far(one, kind):+.1f}" for kind in _KINDS)
    low, high = one["interval_ms"]
    return (
        f"| `{name}` | `{form}` | {one['budget_ms']:.4f} | {cells} | {low:.4f} to {high:.4f} | "
        f"{one['measured_ms']:.4f} | {'yes' if _is_met(one) else 'no'} |"
    )


def _far(one: dict[str, Any], kind: str) -> float:
    return 100 * (float(one[kind]) / float(one["budget_ms"]) - 1)


def _is_met(one: dict[str, Any]) -> bool:
    low, high = one["interval_ms"]
    near = abs(_far(one, "predicted_ms")) <= 100 * _WITHIN
    return near and low <= one["measured_ms"] <= high
