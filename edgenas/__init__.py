"""edgenas: a hardware-aware neural-architecture-search compiler for edge deployment.

The functions here are those of the command line; they are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgenas.core.version import __version__

if TYPE_CHECKING:
    from edgenas.study.api import (
        CompileResult,
        export,
        measure,
        pick,
        predict,
        profile,
        profile_costs,
        report,
        search,
        verify,
    )
    from edgenas.study.api import compile_job as compile
    from edgenas.study.job import Job, load_job


_API = "edgenas.study.api"
_LAZY = {
    "CompileResult": (_API, "CompileResult"),
    "Job": ("edgenas.study.job", "Job"),
    "compile": (_API, "compile_job"),
    "export": (_API, "export"),
    "load_job": ("edgenas.study.job", "load_job"),
    "measure": (_API, "measure"),
    "pick": (_API, "pick"),
    "predict": (_API, "predict"),
    "profile": (_API, "profile"),
    "profile_costs": (_API, "profile_costs"),
    "report": (_API, "report"),
    "search": (_API, "search"),
    "verify": (_API, "verify"),
}

__all__ = [
    "CompileResult",
    "Job",
    "__version__",
    "compile",
    "export",
    "load_job",
    "measure",
    "pick",
    "predict",
    "profile",
    "profile_costs",
    "report",
    "search",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'edgenas' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
