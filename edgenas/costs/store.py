"""Where tables are kept, and how the right one is found.

A table is ``<device>/<runtime>-<precision>/<space>.csv`` with its passport beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgenas.core.errors import CostError, SchemaError, TableError
from edgenas.core.paths import search_path, user_folder
from edgenas.costs.table import CostTable
from edgenas.spaces.base import SearchSpace, command_options


def table_path(root: Path, *, slug: str, runtime: str, precision: str, space: str) -> Path:
    """Return where a table belongs under `root`."""
    return root / slug / f"{runtime}-{precision}" / f"{space}.csv"


def user_tables() -> Path:
    """Return the folder in which this user's own tables are made."""
    return user_folder() / "latency_tables"


def all_tables() -> Iterator[Path]:
    """Yield every table that is installed, the user's own first."""
    for folder in search_path("latency_tables"):
        yield from sorted(folder.glob("*/*/*.csv"))


def find_table(  # noqa: PLR0913
    space: SearchSpace,
    *,
    slug: str,
    match_key: str,
    runtime: str,
    precision: str,
    runtime_version: str | None = None,
    threads: int | None = None,
    shipped: bool = True,
) -> CostTable:
    """Return the table of `space` for a device, the user's own before a shipped one.

    Without `shipped` only the user's own tables count.

    A user's table that no longer fits (the engine was updated) does not hide a shipped one that
    does.

    Raises:
        TableError: no table is there; the message has the command that makes it.
        CostError, SchemaError: tables are there but damaged or of something else; the first
            one's error.
    """
    first: CostError | SchemaError | None = None
    for folder in search_path("latency_tables") if shipped else (user_tables(),):
        path = table_path(folder, slug=slug, runtime=runtime, precision=precision, space=space.name)
        if not path.is_file():
            continue
        try:
            table = CostTable.load(path)
            table.check_serves(
                space,
                match_key=match_key,
                runtime=runtime,
                precision=precision,
                runtime_version=runtime_version,
                threads=threads,
            )
        except (CostError, SchemaError) as error:
            first = first or error
            continue
        return table
    if first is not None:
        raise first
    asked_for = command_options(space.name, space.parameters)
    raise TableError(
        f"there is no latency table of {space.name} for device {slug}, {runtime} {precision}; "
        f"make it with 'edgenas profile {asked_for} --runtime {runtime}'"
    )
