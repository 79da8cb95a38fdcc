"""Samplers of Optuna and OptunaHub by name, and what can be wrong with one.

A name is a class of `optuna.samplers`, or ``hub:PACKAGE``, ``hub:PACKAGE@REF`` or ``hub:FOLDER``,
each with ``:CLASS`` where the package has more than one sampler. PACKAGE is one of hub.optuna.org,
such as ``samplers/nsgaii_with_tpe_warmup``; FOLDER begins with ``/``, ``./`` or ``~/``.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgenas.core.errors import DataError, MissingExtraError, UsageError, choices
from edgenas.core.extras import EXTRAS, require

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_HUB = "hub:"
_PACKAGE = re.compile(r"(?P<package>[\w-]+(/[\w-]+)+)(@(?P<ref>[\w./-]+))?(:(?P<cls>\w+))?")
_FOLDER = re.compile(r"(?P<folder>(/|\./|\.\./|~/)[^:]*)(:(?P<cls>\w+))?")


@dataclass(frozen=True, slots=True)
class SamplerKind:
    """A class of samplers; `digest` is that of the code of one from OptunaHub."""

    name: str
    kind: type[BaseSampler]
    digest: str | None = None
    folder: Path | None = None

    def make(self, *, seed: int, arguments: Mapping[str, Any]) -> BaseSampler:
        """Return a fresh sampler.

        Raises:
            UsageError: it takes other arguments, or no seed.
            MissingExtraError: a package that it needs is not installed.
        """
        with self.at_work():
            try:
                return self.kind(**{**arguments, "seed": seed})
            except (TypeError, ValueError) as error:
                parameters = inspect.signature(self.kind).parameters
                allowed = [name for name in parameters if name != "seed"]
                raise UsageError(
                    f"sampler {self.name} cannot be made of the arguments "
                    f"{dict(arguments)} and a seed: {error}; arguments: {', '.join(allowed)}"
                ) from error

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Say what is wrong where the sampler is asked or told something.

        Raises:
            MissingExtraError: a package that it needs cannot be imported.
            UsageError: it refuses such a study.
        """
        try:
            yield
        except ValueError as error:
            raise UsageError(f"sampler {self.name} cannot search here: {error}") from error
        except ImportError as error:
            raise MissingExtraError(
                f"sampler {self.name} needs a package that cannot be imported ({error}); "
                f"run: pip install {self._remedy(error.name or '')}"
            ) from error

    def _remedy(self, module: str) -> str:
        name = module.partition(".")[0]
        if self.folder is not None and (self.folder / "requirements.txt").is_file():
            return f"-r {self.folder / 'requirements.txt'}"
        return f"'edgenas[{EXTRAS[name]}]'" if name in EXTRAS else name or "what it names"


def check_name(name: str) -> None:
    """Refuse what names no sampler, as far as can be said without a look at OptunaHub.

    Raises:
        UsageError: it does not.
        MissingExtraError: it is of OptunaHub, and optunahub is not installed.
    """
    import optuna

    if name.startswith(_HUB):
        _parsed(name)
        require("optunahub")
        return
    names = {each for each in optuna.samplers.__all__ if each.endswith("Sampler")}
    names.remove("BaseSampler")
    if name not in names:
        raise UsageError(
            f"Optuna has no {name!r}; {choices(name, names)}; of OptunaHub: {_HUB}PACKAGE"
        )


def sampler_kind(name: str) -> SamplerKind:
    """Return the class of that name; one of OptunaHub is loaded, and downloaded the first time.

    Raises:
        UsageError: there is none, or its package has several.
        DataError: the package cannot be had or loaded; the message says what was tried.
        MissingExtraError: optunahub, or a package that the sampler needs, is not installed.
    """
    import optuna

    if not name.startswith(_HUB):
        check_name(name)
        return SamplerKind(name, getattr(optuna.samplers, name))
    parts = _parsed(name)
    module = _local(parts["folder"]) if parts.get("folder") else _downloaded(name, parts)
    kind = _class_in(module, name, parts["cls"])
    folder = Path(str(module.__file__)).parent
    return SamplerKind(name, kind, _digest(folder), folder)


def _parsed(name: str) -> dict[str, Any]:
    text = name.removeprefix(_HUB)
    match = _FOLDER.fullmatch(text) or _PACKAGE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{name!r} names no package of OptunaHub; write {_HUB}samplers/NAME, "
            f"{_HUB}samplers/NAME@REF or {_HUB}/PATH/OF/A/FOLDER, each with :CLASS where needed"
        )
    return match.groupdict()


def _local(text: str) -> ModuleType:
    folder = Path(text).expanduser().resolve()
    if not (folder / "__init__.py").is_file():
        raise UsageError(f"{folder} is no package of OptunaHub: it has no __init__.py")
    hub = require("optunahub")
    with _loading(str(folder), folder):
        module: ModuleType = hub.load_local_module(folder.name, registry_root=str(folder.parent))
        return module


def _downloaded(name: str, parts: Mapping[str, Any]) -> ModuleType:
    hub = require("optunahub")
    import git
    import github
    import requests

    ref = parts["ref"] or "main"
    try:
        with _loading(name, None):
            module: ModuleType = hub.load_module(parts["package"], ref=ref)
            return module
    except (
        git.exc.GitError,
        github.GithubException,
        requests.RequestException,
        OSError,  # no such folder in the registry
    ) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise DataError(
            f"{name}: could not load {parts['package']} at {ref!r} from "
            f"https://github.com/optuna/optunahub-registry ({reason}); check the name at "
            "hub.optuna.org and the connection, or copy package/"
            f"{parts['package']} of that repository to this machine and name its folder: "
            f"{_HUB}/PATH/{Path(parts['package']).name}"
        ) from error


@contextmanager
def _loading(name: str, folder: Path | None) -> Iterator[None]:
    """Say what is missing, or broken, where the code of a package does not load."""
    try:
        yield
    except ImportError as error:
        remedy = error.name or "what it names"
        if folder is not None and (folder / "requirements.txt").is_file():
            remedy = f"-r {folder / 'requirements.txt'}"
        raise MissingExtraError(
            f"{name} needs a package that cannot be imported ({error}); run: pip install {remedy}"
        ) from error
    except (SyntaxError, AttributeError, NameError, TypeError) as error:
        raise DataError(
            f"{name} cannot be loaded ({error!r}); it may be for another version of Optuna"
        ) from error


def _class_in(module: ModuleType, name: str, wanted: str | None) -> type[BaseSampler]:
    """Return the sampler of a package: the one that is asked for, or the only one."""
    import optuna

    own = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, optuna.samplers.BaseSampler)
        and value.__module__.startswith(module.__name__)
        and not inspect.isabstract(value)
    }
    if wanted is None and len(own) == 1:
        return next(iter(own.values()))
    if wanted in own:
        return own[wanted]
    found = f"it has no {wanted}" if wanted else f"it has {len(own)} samplers"
    raise UsageError(f"{name}: {found}; {choices(wanted or '', own)}; write {_HUB}PACKAGE:CLASS")


def _digest(folder: Path) -> str:
    """Return a hash of a package's code, by which a study knows it again."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
