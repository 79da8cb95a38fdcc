"""Numbers as people read them and the few HTML elements that the report is made of."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgenas.core.digits import small

NONE = '<span class="none">–</span>'


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: its HTML, and the number that sorting goes by."""

    content: str
    value: float | None = None


def escape(value: object) -> str:
    """Return a value as HTML text, also for attributes."""
    return html.escape(str(value), quote=True)


def plot_text(value: object) -> str:
    """Return a value as text inside a plot, where tags would be read as markup too."""
    return html.escape(str(value), quote=False)


def number(value: float) -> str:
    """Return a number with about three significant digits."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 else small(value)


def number_or_dash(value: float | None) -> str:
    """Return a number; a dash for None."""
    return NONE if value is None else number(value)


def ms(value: float | None) -> str:
    """Return a time in milliseconds; a dash for None."""
    return NONE if value is None else f"{number(value)} ms"


def span(low: float | None, high: float | None) -> str:
    """Return an interval's ends; a dash where there is none."""
    return NONE if low is None or high is None else f"{number(low)} to {number(high)}"


def percent(value: float | None, digits: int = 2) -> str:
    """Return a fraction in percent; a dash for None."""
    return NONE if value is None else f"{100 * value:.{digits}f} %"


def count(value: float) -> str:
    """Return a count with its metric prefix."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{number(value / size)} {prefix}"
    return f"{value:g}"


def seconds(value: float) -> str:
    """Return a duration."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def plain(value: Any) -> str:
    """Return a setting's value as compact text."""
    if isinstance(value, (list, tuple)):
        return " ".join(plain(item) for item in value)
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_hash(value: str) -> str:
    """Return the start of a hash; the whole of it shows on hovering."""
    return f'<code title="{escape(value)}">{escape(value[:12])}</code>'


def note(text: str) -> str:
    """Return a paragraph (HTML) that says what is missing and why."""
    return f'<p class="missing">{text}</p>'


def plot(name: str, label: str, height_px: int) -> str:
    """Return the place of the figure `name`; `label` describes it for screen readers."""
    return (
        f'<div class="plot" id="plot-{escape(name)}" data-figure="{escape(name)}" role="img" '
        f'aria-label="{escape(label)}" style="height:{height_px}px"></div>'
    )


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[Cell | str]],
    *,
    sortable: bool = False,
    row_classes: Sequence[str] = (),
) -> str:
    """Return a table that scrolls inside its box; headers are plain text, cells are HTML."""
    body = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in rows]
    numeric = [any(row[i].value is not None for row in body) for i in range(len(headers))]
    head = "".join(
        f'<th scope="col"{_number(numeric[i])}>{_header(name, sortable)}</th>'
        for i, name in enumerate(headers)
    )
    lines = []
    for i, row in enumerate(body):
        style = f' class="{row_classes[i]}"' if row_classes and row_classes[i] else ""
        cells = "".join(_cell(cell, numeric[j]) for j, cell in enumerate(row))
        lines.append(f"<tr{style}>{cells}</tr>")
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll" tabindex="0"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of names (text) and their values (HTML)."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in pairs)
    return f"<dl>{lines}</dl>"


def _number(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _header(name: str, sortable: bool) -> str:
    return f'<button type="button">{escape(name)}</button>' if sortable else escape(name)


def _cell(cell: Cell, numeric: bool) -> str:
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    return f"<td{_number(numeric)}{value}>{cell.content}</td>"
