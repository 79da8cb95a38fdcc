"""Where the data folders are: devices/, latency_tables/ and export/."""

from __future__ import annotations

import os
from pathlib import Path

from edgenas.core.errors import StorageError

_PACKAGE = Path(__file__).resolve().parent.parent
DATA_FOLDERS = ("devices", "latency_tables", "export")


def data_folder(name: str) -> Path:
    """Return the shipped folder `name`, from a wheel, an editable install or a checkout.

    Raises:
        StorageError: the installation is incomplete.
    """
    if name not in DATA_FOLDERS:
        raise StorageError(f"no data folder {name!r}; there are {', '.join(DATA_FOLDERS)}")
    # A wheel carries the folders inside the package; a checkout has them beside it.
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        if (root / name).is_dir():
            return root / name
    raise StorageError(f"the folder {name}/ is missing from this installation of edgenas")


def user_folder() -> Path:
    """Return where this user's own devices and tables live (``EDGENAS_HOME`` if set)."""
    home = os.environ.get("EDGENAS_HOME")
    if home:
        return Path(home)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "edgenas"


def search_path(name: str) -> tuple[Path, ...]:
    """Return the folders to look in for `name`, the user's own first."""
    own = user_folder() / name
    shipped = data_folder(name)
    return (own, shipped) if own.is_dir() else (shipped,)
