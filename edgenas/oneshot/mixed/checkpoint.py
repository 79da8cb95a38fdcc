"""The state of a differentiable search in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edgenas.core.errors import StorageError
from edgenas.oneshot.checkpoint import write_tensors


@dataclass(frozen=True, slots=True)
class Position:
    """Where a search stands.

    Attributes:
        identity: hash of all that decides its result.
        epoch: counted from 0; all before it are done.
        step: of the epoch, likewise.
        loss_sum: of the weights' steps done in the epoch.
        logits_loss_sum: of the logits' steps done in the epoch.
        n_logit_steps: how many these are.
        history: of all epochs done, flat.
    """

    identity: str
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    logits_loss_sum: float = 0.0
    n_logit_steps: int = 0
    history: list[float] = field(default_factory=list)

    def after_step(self, loss: float, logits_loss: float | None) -> Position:
        """Return the position after a step, in which the logits may have had none."""
        return replace(
            self,
            step=self.step + 1,
            loss_sum=self.loss_sum + loss,
            logits_loss_sum=self.logits_loss_sum + (logits_loss or 0.0),
            n_logit_steps=self.n_logit_steps + (logits_loss is not None),
        )

    def after_epoch(self, told: list[float]) -> Position:
        """Return the position at the beginning of the next epoch."""
        return Position(self.identity, self.epoch + 1, history=[*self.history, *told])


def save_state(
    path: Path,
    module: nn.Module,
    optimisers: Mapping[str, torch.optim.Optimizer],
    position: Position,
) -> None:
    """Write everything that a search needs to go on, whole or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    tensors = {f"module/{name}": value for name, value in module.state_dict().items()}
    names: dict[Tensor, str] = {p: name for name, p in module.named_parameters()}
    for kind, optimiser in optimisers.items():
        for parameter, state in optimiser.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"{kind}/{key}/{names[parameter]}"] = value
    write_tensors(path, tensors, {"position": json.dumps(asdict(position))})


def load_state(
    path: Path,
    identity: str,
    module: nn.Module,
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> Position:
    """Put module and optimisers where the checkpoint left them, and return the position.

    Raises:
        StorageError: it cannot be read, or is of a search with other data, settings or space.
    """
    try:
        with safe_open(path, framework="pt") as file:
            position = Position(**json.loads(file.metadata()["position"]))
            tensors: dict[str, Tensor] = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StorageError(
            f"cannot read the checkpoint {path}: {error}; delete it to search from the beginning"
        ) from error
    if position.identity != identity:
        raise StorageError(
            f"the checkpoint {path} is of another search ({position.identity}, this one is "
            f"{identity}): data, space, tables, seed or settings differ; delete it, or choose "
            "another folder"
        )
    own = {k.removeprefix("module/"): v for k, v in tensors.items() if k.startswith("module/")}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise StorageError(
            f"the checkpoint {path} does not fit: {error}; delete it to search from the beginning"
        ) from error
    parameters = dict(module.named_parameters())
    for kind, optimiser in optimisers.items():
        found: dict[str, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith(f"{kind}/"):
                _, what, name = key.split("/", 2)
                found.setdefault(name, {})[what] = value
        for name, state in found.items():
            device = parameters[name].device
            # Adam's step counter stays where it was: on the CPU.
            optimiser.state[parameters[name]] = {
                what: value if what == "step" else value.to(device) for what, value in state.items()
            }
    return position
