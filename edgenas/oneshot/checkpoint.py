"""Training state in one safetensors file: weights, momenta, and counters as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from edgenas.core.errors import StorageError
from edgenas.core.files import atomic_path


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run stands; `identity` is a hash of all that decides its result."""

    identity: str
    n_epochs_done: int
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


def load_checkpoint(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, identity: str
) -> Checkpoint:
    """Put `module` and `optimiser` where the checkpoint left them and return its counters.

    Raises:
        StorageError: it cannot be read, or is of a run with other data, settings or space.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = Checkpoint(**json.loads(file.metadata()["state"]))
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StorageError(
            f"cannot read the checkpoint {path}: {error}; delete it to train from the beginning"
        ) from error
    if state.identity != identity:
        raise StorageError(
            f"the checkpoint {path} is of another run ({state.identity}, this one is {identity}): "
            "data, space, seed or settings differ; delete it, or choose another folder"
        )
    own = {name[7:]: value for name, value in tensors.items() if name.startswith("module/")}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise StorageError(f"the checkpoint {path} does not fit: {error}; delete it") from error
    for name, parameter in module.named_parameters():
        if f"momentum/{name}" in tensors:
            optimiser.state[parameter]["momentum_buffer"] = tensors[f"momentum/{name}"]
    return state
