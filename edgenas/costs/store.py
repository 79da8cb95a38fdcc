"""Where tables are kept, and how the right one is found.

A table is ``<device>/<runtime>-<precision>/<space>.csv`` with its passport beside it; a table of
another kind than latency has the kind before the ending, ``<space>.energy.csv``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgenas.core.errors import CostError, NoTableError, SchemaError, TableError, UsageError
from edgenas.core.paths import search_path, user_folder
from edgenas.costs.conditions import Conditions
from edgenas.costs.kinds import Kind, profile_command
from edgenas.costs.table import CostTable
from edgenas.spaces.base import SearchSpace


def table_path(  # noqa: PLR0913
    root: Path,
    *,
    slug: str,
    runtime: str,
    precision: str,
    space: str,
    kind: Kind = "latency",
) -> Path:
    """Return where a table belongs under `root`."""
    ending = ".csv" if kind == "latency" else f".{kind}.csv"
    return root / slug / f"{runtime}-{precision}" / f"{space}{ending}"


def user_tables() -> Path:
    """Return the folder in which this user's own tables are made."""
    return user_folder() / "latency_tables"


def table_folders(*, shipped: bool = True) -> tuple[Path, ...]:
    """Return the folders that hold tables, the user's own first; without `shipped` only those."""
    return search_path("latency_tables") if shipped else (user_tables(),)


def all_tables() -> Iterator[Path]:
    """Yield every table that is installed, the user's own first."""
    for folder in table_folders():
        yield from sorted(folder.glob("*/*/*.csv"))


def locate(name: str | Path) -> Path:
    """Return the table that a person means: a path, or ``<device>/<runtime>-<precision>/<space>``.

    The ending ``.csv`` may be left out; of several folders the user's own comes first.

    Raises:
        UsageError: nothing is there.
    """
    text = str(name)
    ending = "" if text.endswith(".csv") else ".csv"
    for root in (Path(), *table_folders()):
        path = root / f"{text}{ending}"
        if path.is_file():
            return path
    raise UsageError(
        f"there is no table {text!r}: neither a file, nor <device>/<runtime>-<precision>/<space> "
        f"in {' or '.join(map(str, table_folders()))}; 'edgenas tables list' shows all"
    )


def find_table(
    space: SearchSpace,
    asked: Conditions,
    *,
    slug: str,
    shipped: bool = True,
    kind: Kind = "latency",
) -> CostTable:
    """Return the table of `space` for a device, the user's own before a shipped one.

    Without `shipped` only the user's own tables count.

    A user's table that no longer fits (the engine was updated) does not hide a shipped one that
    does.

    Raises:
        NoTableError: no table is there; the message has the command that makes it.
        CostError, SchemaError: tables are there but damaged or of something else; the first
            one's error.
    """
    first: CostError | SchemaError | None = None
    for folder in table_folders(shipped=shipped):
        path = table_path(
            folder,
            slug=slug,
            runtime=asked.runtime,
            precision=asked.precision,
            space=space.name,
            kind=kind,
        )
        if not path.is_file():
            continue
        try:
            table = load_kind(path, kind)
            table.check_serves(space, asked)
        except (CostError, SchemaError) as error:
            first = first or error
            continue
        return table
    if first is not None:
        raise first
    command = profile_command(space.command_options, asked.runtime, kind, precision=asked.precision)
    raise NoTableError(
        f"there is no {kind} table of {space.name} for device {slug}, {asked.runtime} "
        f"{asked.precision}; make it with '{command}'"
    )


def load_kind(path: Path, kind: Kind) -> CostTable:
    """Return the table at `path`, which has to be of that kind (errors as `CostTable.load`)."""
    table = CostTable.load(path)
    if table.passport.kind != kind:
        raise TableError(
            f"{path} holds {table.passport.kind}, and {kind} is asked for; it is in the wrong "
            "place, or was named for the wrong kind"
        )
    return table
