"""Tables of other devices: the ones that the job names, and the copies that the run keeps."""

from __future__ import annotations

from pathlib import Path

from edgenas.core.errors import UsageError
from edgenas.costs.store import locate
from edgenas.costs.table import CostTable
from edgenas.study.run_folder import RunFolder

RECORD = "profile"
"""The step that copies them; its inputs say, under ``also``, which table each copy is of."""


def copy_path(folder: RunFolder, label: str) -> Path:
    """Return where the run keeps the table of the device called `label`."""
    return folder / f"tables/also-{label}.csv"


def other_table(folder: RunFolder, label: str, name: str) -> CostTable:
    """Return the table called `name` of the device called `label`.

    While it is there it is read; once it has gone, the run's copy of it is.

    Raises:
        UsageError: it is not there, and the run has no copy.
        CostError, SchemaError: it is damaged.
    """
    try:
        path = locate(name)
    except UsageError:
        path = copy_path(folder, label)
        if _source_of_copy(folder, label) != name or not path.is_file():
            raise
    return CostTable.load(path)


def _source_of_copy(folder: RunFolder, label: str) -> str | None:
    record = folder.record(RECORD)
    copied = {} if record is None else record.inputs.get("also", {})
    return copied[label]["named"] if label in copied else None
