"""Training state in one safetensors file: weights, momenta, and counters as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from edgenas.core.errors import StorageError
from edgenas.core.files import atomic_path


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run stands.

    Attributes:
        identity: hash of all that decides its result.
        phase: the one that it is in, counted from 0; behind the last one it is finished.
        epoch: of the phase, likewise.
        step: of the epoch, likewise; all before it are done.
        loss_sum: of the steps done in the epoch.
        losses: means of all epochs done, over all phases.
    """

    identity: str
    phase: int
    epoch: int
    step: int
    loss_sum: float
    losses: list[float]


def save_checkpoint(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, state: Checkpoint
) -> None:
    """Write everything that a run needs to go on, whole or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    tensors = {f"module/{name}": value for name, value in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        momentum = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    write_tensors(path, tensors, {"state": json.dumps(asdict(state))})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    whole = {name: value.detach().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(whole, temporary, header)
        except SafetensorError as error:  # it wraps the system's error
            raise OSError(str(error)) from error
        if len(header) > 1:
            _sort_header(temporary)


def _sort_header(path: Path) -> None:
    """Put the keys of a safetensors file's header in order: as written, they come in any."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        keys = json.loads(stream.read(length))
        keys["__metadata__"] = dict(sorted(keys["__metadata__"].items()))
        text = json.dumps(keys, separators=(",", ":"), ensure_ascii=False).encode()
        stream.seek(8)
        stream.write(text.ljust(length))


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint as read: its counters, and tensors that `restore` puts back."""

    path: Path
    state: Checkpoint
    tensors: Mapping[str, Tensor]

    def restore(self, module: nn.Module) -> None:
        """Put `module` where the checkpoint left it.

        Raises:
            StorageError: the tensors are of another network.
        """
        try:
            module.load_state_dict(self._under("module/"))
        except RuntimeError as error:
            raise StorageError(
                f"the checkpoint {self.path} does not fit: {error}; delete it"
            ) from error

    def restore_momenta(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Put `optimiser`, of the parameters of `module`, where the checkpoint left it."""
        momenta = self._under("momentum/")
        for name, parameter in module.named_parameters():
            if name in momenta:
                buffer = momenta[name].to(parameter.device)
                optimiser.state[parameter]["momentum_buffer"] = buffer

    def _under(self, prefix: str) -> dict[str, Tensor]:
        tensors = self.tensors.items()
        return {k.removeprefix(prefix): value for k, value in tensors if k.startswith(prefix)}


def epochs_done(path: Path) -> int:
    """Return how many whole epochs the run of the checkpoint at `path` has done; 0 without one.

    Raises:
        StorageError: it cannot be read.
    """
    if not path.exists():
        return 0
    with _opened(path) as file:
        return len(_state(file).losses)


def read_checkpoint(path: Path, identity: str) -> Saved:
    """Return the checkpoint in the file at `path`.

    Raises:
        StorageError: it cannot be read, or is of a run with other data, settings or space.
    """
    with _opened(path) as file:
        state = _state(file)
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if state.identity != identity:
        raise StorageError(
            f"the checkpoint {path} is of another run ({state.identity}, this one is {identity}): "
            "data, space, seed or settings differ; delete it, or choose another folder"
        )
    return Saved(path, state, tensors)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a checkpoint; whatever is wrong with it is a `StorageError`."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StorageError(
            f"cannot read the checkpoint {path}: {error}; delete it to train from the beginning"
        ) from error


def _state(file: Any) -> Checkpoint:
    return Checkpoint(**json.loads(file.metadata()["state"]))
