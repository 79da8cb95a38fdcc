"""Puts the measuring process's modules into the one file that is copied to devices."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edgenas.core.errors import UsageError
from edgenas.core.files import write_bytes
from edgenas.core.paths import user_folder

_SOURCES = Path(__file__).parent / "agent"
_INSIDE = "edgenas/runtimes/agent"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say


def agent_contents(module: str | None = None) -> dict[str, bytes]:
    """Return what the file holds: Python sources by their paths inside it.

    `module` is that of a plug-in's engine; the packages that it stands in are empty there.

    Raises:
        UsageError: there is no such module, or it is no file of Python.
    """
    sources = {
        f"{_INSIDE}/{path.name}": path.read_bytes() for path in sorted(_SOURCES.glob("*.py"))
    }
    start = sources.pop(f"{_INSIDE}/__main__.py")
    packages = {"edgenas/__init__.py": b"", "edgenas/runtimes/__init__.py": b""}
    added = {} if module is None else _plugin(module)
    return {"__main__.py": start, **packages, **sources, **added}


def _plugin(module: str) -> dict[str, bytes]:
    *packages, name = module.split(".")
    spec = importlib.util.find_spec(module)
    source = Path(spec.origin) if spec is not None and spec.origin is not None else None
    if source is None or source.name != f"{name}.py":
        raise UsageError(f"the measuring process needs {module}, which is no Python file here")
    empty = ["/".join([*packages[:n], "__init__.py"]) for n in range(1, len(packages) + 1)]
    return {**dict.fromkeys(empty, b""), "/".join([*packages, f"{name}.py"]): source.read_bytes()}


def pack(contents: Mapping[str, bytes]) -> bytes:
    """Return a file that Python runs, the same bytes for the same contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(contents):
            # Stored, not deflated: a Python without zlib on the device runs it too.
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), contents[name])
    return stream.getvalue()


def agent_path(module: str | None = None) -> Path:
    """Return the file on this machine, named by its content; it is made if it is not there.

    `module` is that of a plug-in's engine.

    Raises:
        StorageError: the user's folder cannot be written.
        UsageError: as `agent_contents`.
    """
    content = pack(agent_contents(module))
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = user_folder() / "agents" / f"edgenas-agent-{digest}.pyz"
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)
    return path
