"""Presets: settings by name, changed field by field, with names that say what was changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

from edgenas.core.errors import SpaceError, choices

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Chosen(Generic[S]):
    """Settings with what a space of theirs is called and made again from."""

    name: str
    settings: S
    parameters: dict[str, Any]


def choose(preset: str, default: S, changes: Mapping[str, Any]) -> Chosen[S]:
    """Return `default`, the settings of `preset`, with fields changed.

    The name of changed settings says what was changed, so that their tables cannot be mixed up
    with the preset's. A field that holds stages takes mappings of a stage's fields, too; stages
    have a property `short` that names them in full.

    Raises:
        SpaceError: a field that does not exist.
    """
    known = [field.name for field in fields(default)]  # type: ignore[arg-type]  # a dataclass
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise SpaceError(
            f"{preset} has no setting {', '.join(unknown)}; allowed: {', '.join(known)}"
        )
    changed = {k: _frozen(getattr(default, k), value) for k, value in sorted(changes.items())}
    settings: S = replace(default, **changed)  # type: ignore[type-var]
    different = [key for key in changed if getattr(settings, key) != getattr(default, key)]
    suffix = "".join(f"-{key}={_short(getattr(settings, key))}" for key in different)
    parameters = {"preset": preset, **{k: _plain(getattr(settings, k)) for k in different}}
    return Chosen(preset + suffix, settings, parameters)


def _frozen(default: Any, value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    if isinstance(default, tuple) and default and is_dataclass(default[0]):
        return tuple(_stage(type(default[0]), item) for item in value)
    return tuple(value)


def _stage(kind: type[Any], value: Any) -> Any:
    given = value if isinstance(value, Mapping) else asdict(value)
    known = [field.name for field in fields(kind)]
    for name in given:
        if name not in known:
            raise SpaceError(f"a stage has no {name!r}; {choices(name, known)}")
    missing = [name for name in known if name not in given]
    if missing:
        raise SpaceError(f"a stage lacks {', '.join(missing)}; it has {', '.join(known)}")
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in given.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [
            asdict(item) if is_dataclass(item) and not isinstance(item, type) else item
            for item in value
        ]
    return value


def _short(value: Any) -> str:
    if not isinstance(value, tuple):
        return f"{value}"
    return "_".join(str(getattr(item, "short", item)) for item in value)
