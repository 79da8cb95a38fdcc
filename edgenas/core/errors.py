"""Every error that edgenas raises on purpose.

EdgenasError
├── SchemaError            a YAML or JSON document is not what its format says
├── RegistryError          a name that nothing is registered under
├── SpaceError             genes, configurations or operators that a space does not have
├── InfeasibleError        no architecture of the space keeps the budget
├── CostError
│   ├── TableError         a cost table that is damaged or inconsistent
│   │   └── NoTableError   there is none yet
│   ├── TableMismatchError a sound table of another space, device, runtime or precision
│   └── MissingCostError   an operator that the table has no row for
├── DeviceError            a device that cannot be reached or does not answer as agreed
│   ├── AgentError         the measuring process failed, died or broke the protocol
│   │   └── RefusedError   it refused a request and lives on
│   ├── DeviceTimeoutError it did not answer in time
│   └── OtherDeviceError   another device answers where the one that is asked was
├── MissingExtraError      an optional package that is not installed
├── DataError              a data set that cannot be read or used
├── TrainingError          training cannot be carried out, or a network's outputs are not finite
│   ├── DivergedError      its loss is not finite
│   └── FatalCandidateError it has killed its process several times
├── ExportError            a network that cannot be written to a target
├── ValidationError        an exported file that did not pass its checks
├── StorageError           a run folder or storage that cannot be read, written or resumed
│   └── CheckpointError    weights of others that cannot be read or do not fit
└── UsageError             arguments that contradict each other
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class EdgenasError(Exception):
    """Base of all errors that a user can cause or mend; `exit_code` is what the CLI returns."""

    exit_code = 1


class SchemaError(EdgenasError):
    """A document breaks its schema; the message names file, line and allowed keys."""

    exit_code = 2


class RegistryError(EdgenasError):
    """A name is not registered; the message lists what is."""

    exit_code = 2


class UsageError(EdgenasError):
    """Arguments that are unusable together or malformed."""

    exit_code = 2


class SpaceError(EdgenasError):
    """Genes, a configuration or an operator that does not belong to a space."""


class InfeasibleError(EdgenasError):
    """No architecture keeps the budget; the message states the least value reached."""

    exit_code = 3


class CostError(EdgenasError):
    """Base of everything that is wrong with costs."""

    exit_code = 4


class TableError(CostError):
    """A table is damaged: checksum, columns, zeros, NaN, doubled rows."""


class NoTableError(TableError):
    """There is no table; the message has the command that makes it."""


class TableMismatchError(CostError):
    """A table of another space, device, runtime, version or precision was offered."""


class MissingCostError(CostError):
    """An operator has no row; unknown is never counted as a number."""


class DeviceError(EdgenasError):
    """A device cannot be reached or used."""

    exit_code = 5


class AgentError(DeviceError):
    """The measuring process failed, died or broke the protocol."""


class RefusedError(AgentError):
    """The measuring process refused a request and lives on; asking again changes nothing."""


class DeviceTimeoutError(DeviceError):
    """The device did not answer within its timeout."""


class OtherDeviceError(DeviceError):
    """Another device answers where the one was that is measured; nothing is mixed."""


class MissingExtraError(EdgenasError):
    """An optional package is not installed; the message names the extra that brings it."""

    exit_code = 6


class DataError(EdgenasError):
    """A data set cannot be read or cannot be used."""


class TrainingError(EdgenasError):
    """Training diverged, or a network's outputs are not finite."""


class FatalCandidateError(TrainingError):
    """Several processes have ended while they trained a candidate, and said nothing."""


class DivergedError(TrainingError):
    """A training's loss is not finite: the network, or the rate that it was trained at, is bad."""


class ExportError(EdgenasError):
    """A network cannot be written to a target."""

    exit_code = 7


class ValidationError(EdgenasError):
    """An exported file did not pass its checks; `failed` has the names of those it failed."""

    exit_code = 7

    def __init__(self, message: str, *, failed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.failed = failed

    @classmethod
    def of(cls, errors: Sequence[ValidationError]) -> ValidationError:
        """Return one error that says what all of them say, of each file in its own lines."""
        names = dict.fromkeys(name for error in errors for name in error.failed)
        return cls("\n".join(map(str, errors)), failed=tuple(names))


class StorageError(EdgenasError):
    """A run folder or a storage cannot be read, written or resumed."""

    exit_code = 8


class CheckpointError(StorageError):
    """Weights that others trained cannot be read, or are not those of the space."""


def choices(asked: str, allowed: Iterable[str]) -> str:
    """Return ``allowed: a, b, c; nearest: b`` for an error message about `asked`."""
    names = sorted(allowed)
    near = get_close_matches(asked, names, n=1, cutoff=0.5)
    text = f"allowed: {', '.join(names) or 'none'}"
    return f"{text}; nearest: {near[0]}" if near else text
