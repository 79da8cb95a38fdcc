"""Build hook: the data folders at the top of the repository travel in the wheel."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DATA_FOLDERS = ("devices", "latency_tables", "export")


class DataFolders(BuildHookInterface):  # type: ignore[type-arg, misc, unused-ignore]
    """Adds each data folder as `edgenas/_data/<folder>`.

    An editable install gets none of them: it finds the checkout's own, and a copy would go stale.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Names the files to add; `version` is `standard` or `editable`."""
        if version == "editable":
            return
        for folder in DATA_FOLDERS:
            source = Path(self.root) / folder
            build_data["force_include"][str(source)] = f"edgenas/_data/{folder}"
