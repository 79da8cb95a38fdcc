"""What people see: lines, bars with rates and time left, tables. Results go to standard output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from edgenas.study.chain import StepEvent

_PLAIN_WIDTH = 120
_WIDE = 90
_PLAIN_EVERY_S = 10.0
_NAME_WIDTH = 9


def out() -> Console:
    """Return the console of results."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def err() -> Console:
    """Return the console of progress and errors."""
    width = None if sys.stderr.isatty() else _PLAIN_WIDTH
    return Console(stderr=True, width=width, highlight=False)


def say(text: str, *, style: str = "") -> None:
    """Print a line to standard error, never cut and without markup."""
    err().print(Text(text, style=style), soft_wrap=True)


def show(text: str = "", *, style: str = "") -> None:
    """Print a line to standard output, never cut and without markup."""
    out().print(Text(text, style=style), soft_wrap=True)


def show_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def show_json_line(value: Any) -> None:
    """Print one JSON line to standard output."""
    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    left: int = 1,
) -> None:
    """Print a table to standard output; the first `left` columns are aligned to the left.

    If those are all columns they are prose, which may be broken into lines.
    """
    console = out()
    gap = 2 if console.width >= _WIDE else 1
    table = Table(title=title or None, title_justify="left", title_style="bold")
    table.box, table.pad_edge, table.padding = None, False, (0, gap, 0, 0)
    prose = left == len(columns)
    for i, column in enumerate(columns):
        table.add_column(
            Text(column, style="bold"),
            justify="left" if i < left else "right",
            vertical="top",
            overflow="fold",
            no_wrap=not prose,
        )
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console.print()
    console.print(table)


class _Rate(ProgressColumn):
    """Parts a second, or seconds a part where that reads better."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        text = f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
        return Text(text, style="cyan")


class Watch:
    """Shows a chain's steps and how far long work is; a context manager.

    On a terminal there is a bar; elsewhere a line every ten seconds. Nothing if `quiet`.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.console = err()
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._first = 0
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if not self.quiet and self.console.is_terminal:
            self._bars = Progress(
                TextColumn("  {task.description}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                _Rate(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` parts of `what` are finished."""
        if self.quiet:
            return
        fresh = what != self._what
        if fresh:
            self._what, self._began, self._first = what, time.monotonic(), done
        if self._bars is not None:
            self._move_bar(what, done, total, fresh=fresh)
        elif time.monotonic() - self._told >= _PLAIN_EVERY_S:
            self._told = time.monotonic()
            self._line(f"  {what}: {done}/{total}{self._left(done, total)}", style="")

    def on_step(self, event: StepEvent) -> None:
        """Show that a step begins or has ended."""
        if self.quiet:
            return
        self._drop_bar()
        name = f"{event.step:<{_NAME_WIDTH}}"
        if event.state == "begins":
            self._line(f"· {name} {event.text}", style="dim")
        elif event.state == "kept":
            self._line(f"✓ {name} kept: {event.text}", style="green")
        else:
            self._line(f"✓ {name} {_duration(event.took_s)}: {event.text}", style="green")

    def _line(self, text: str, *, style: str) -> None:
        self.console.print(Text(text, style=style), soft_wrap=True)

    def _move_bar(self, what: str, done: int, total: int, *, fresh: bool) -> None:
        if self._bars is None:
            return
        if fresh or self._task is None:
            self._drop_bar()
            self._what = what
            # What an earlier run did is no speed of this one.
            self._task = self._bars.add_task(what, total=total, completed=done)
        self._bars.update(self._task, completed=done, total=total)

    def _drop_bar(self) -> None:
        self._what = ""
        if self._bars is not None and self._task is not None:
            self._bars.remove_task(self._task)
        self._task = None

    def _left(self, done: int, total: int) -> str:
        # What was done before this was called so is no speed of it.
        spent, fresh = time.monotonic() - self._began, done - self._first
        if fresh <= 0 or spent <= 0:
            return ""
        rate = fresh / spent
        return f", {rate:.3g}/s, about {_duration((total - done) / rate)} left"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
