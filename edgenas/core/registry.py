"""The one registry of named parts: built in, or brought by a plug-in's entry point."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Generic, TypeVar

from edgenas.core.errors import RegistryError, choices

log = logging.getLogger(__name__)

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to parts of one sort.

    A package that is not ours adds its own through the entry point group
    ``edgenas.<sort>``; it is loaded when its name is first asked for.
    """

    def __init__(self, sort: str) -> None:
        self.sort = sort
        self._parts: dict[str, T] = {}
        self._warned: set[str] = set()

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
            RegistryError: nothing has that name (the message lists what is there), or a plug-in
                that brings it cannot be loaded.
        """
        if name in self._parts:
            return self._parts[name]
        for point in self._plugins():
            if point.name == name:
                return self._parts.setdefault(name, self._load(point))
        raise RegistryError(f"unknown {self.sort} {name!r}; {choices(name, self.names())}")

    def names(self) -> tuple[str, ...]:
        """Return all names, built in and plugged in, sorted."""
        return tuple(sorted({*self._parts, *(point.name for point in self._plugins())}))

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield every part with its name, sorted; a plug-in that cannot be loaded is left out.

        A warning says so, once: one broken plug-in must not stop what does not need it.
        """
        for name in self.names():
            try:
                part = self.get(name)
            except RegistryError as error:
                if name not in self._warned:
                    log.warning("%s", error)
                self._warned.add(name)
                continue
            yield name, part

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _plugins(self) -> EntryPoints:
        return entry_points(group=f"edgenas.{self.sort.replace(' ', '_')}")

    def _load(self, point: EntryPoint) -> T:
        try:
            part: T = point.load()
        except Exception as error:  # a foreign module can fail in any way when it is imported
            package = "a plug-in" if point.dist is None else point.dist.name
            raise RegistryError(
                f"the {self.sort} {point.name!r} of {package} cannot be loaded from {point.value}: "
                f"{error!r}; install another version of {package}, or uninstall it"
            ) from error
        return part
