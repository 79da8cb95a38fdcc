"""Search spaces: genes, and factors that turn them into operators. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from edgenas.core.registry import Registry
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.ofa_mbv3 import PRESETS, ofa_mbv3

SPACES: Registry[Callable[..., SearchSpace]] = Registry("space")
"""Name to a function that makes the space, given changes of its settings."""

for _preset in PRESETS:
    SPACES.add(_preset)(partial(ofa_mbv3, _preset))


def get(name: str, **changes: Any) -> SearchSpace:
    """Return the space called `name`, its settings changed as asked.

    Raises:
        RegistryError: no such space.
        SpaceError: no such setting.
    """
    return SPACES.get(name)(**changes)


def from_parameters(parameters: dict[str, Any]) -> SearchSpace:
    """Return the space whose `SearchSpace.parameters` these are."""
    changes = {key: value for key, value in parameters.items() if key != "preset"}
    return get(parameters["preset"], **changes)
