"""The one registry of named parts: built in, or brought by a plug-in's entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoints, entry_points
from typing import Generic, TypeVar

from edgenas.core.errors import RegistryError, choices

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to parts of one sort.

    A package that is not ours adds its own through the entry point group
    ``edgenas.<sort>``; it is loaded when its name is first asked for.
    """

    def __init__(self, sort: str) -> None:
        self.sort = sort
        self._parts: dict[str, T] = {}

    def add(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its target under `name`.

        Raises:
            RegistryError: `name` is taken.
        """

        def register(part: T) -> T:
            if name in self._parts:
                raise RegistryError(f"{self.sort} {name!r} is registered twice")
            self._parts[name] = part
            return part

        return register

    def get(self, name: str) -> T:
        """Return the part called `name`.

        Raises:
            RegistryError: nothing has that name; the message lists what is there.
        """
        if name in self._parts:
            return self._parts[name]
        for point in self._plugins():
            if point.name == name:
                part: T = point.load()
                self._parts.setdefault(name, part)
                return part
        raise RegistryError(f"unknown {self.sort} {name!r}; {choices(name, self.names())}")

    def names(self) -> tuple[str, ...]:
        """Return all names, built in and plugged in, sorted."""
        return tuple(sorted({*self._parts, *(point.name for point in self._plugins())}))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _plugins(self) -> EntryPoints:
        return entry_points(group=f"edgenas.{self.sort.replace(' ', '_')}")
