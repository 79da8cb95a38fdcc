"""The files that are filled in or copied into bundles; they lie beside this module as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from edgenas.core.errors import ExportError

_PLACE = re.compile(r"@([a-z_]+)@")


def template(name: str) -> str:
    """Return the text of ``templates/<name>``."""
    return (files("edgenas.exporters.bundle") / "templates" / name).read_text(encoding="utf-8")


def program(name: str) -> str:
    """Return the text of ``device/<name>``."""
    return (files("edgenas.exporters.bundle") / "device" / name).read_text(encoding="utf-8")


def filled(name: str, values: Mapping[str, str]) -> str:
    """Return a template with every ``@name@`` replaced; what is put in is not looked at again.

    Raises:
        ExportError: a name has no value.
    """

    def value(match: re.Match[str]) -> str:
        try:
            return values[match[1]]
        except KeyError:
            raise ExportError(
                f"the template {name} asks for {match[1]!r}, which has no value"
            ) from None

    return _PLACE.sub(value, template(name))
