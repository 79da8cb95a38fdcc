"""Tensors from files that others wrote: read without running any code of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgenas.core.errors import CheckpointError

STATE = "state_dict"
_EXACT = (torch.float32, torch.float16, torch.bfloat16)
"""Types of weights that float32 holds without rounding."""
_SHOWN = 10


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors by name that torch.save or safetensors wrote, on the CPU.

    Args:
        path: a ``.safetensors`` file, or one of torch.save that holds a mapping of names to
            tensors, alone or as the only entry, ``state_dict``, of another mapping.

    Raises:
        CheckpointError: it cannot be read, needs code to be run, or holds something else.
    """
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise _cannot_read(path, error) from error
    content = _unpickled(path)
    if isinstance(content, Mapping) and STATE in content:
        others = sorted(str(key) for key in content if key != STATE)
        if others:
            raise CheckpointError(
                f"{path} holds more than weights: beside {STATE!r} also {_some(others)}; save the "
                f"weights alone: torch.save({{{STATE!r}: checkpoint[{STATE!r}]}}, FILE)"
            )
        content = content[STATE]
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}; a mapping of names to tensors is needed, "
            f"alone or as {{{STATE!r}: mapping}}"
        )
    odd = [
        f"{key} ({type(value).__name__})"
        for key, value in content.items()
        if not (isinstance(key, str) and isinstance(value, Tensor) and _plain(value))
    ]
    if odd or not content:
        raise CheckpointError(
            f"{path} holds no mapping of names to dense tensors: {_some(odd) or 'it is empty'}"
        )
    return {name: value.detach() for name, value in content.items()}


def check_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that no network can run with.

    Raises:
        CheckpointError: a type that float32 cannot hold, values that are not finite, variances
            below 0.
    """
    odd = [f"{name} ({t.dtype})" for name, t in tensors.items() if t.dtype not in _EXACT]
    if odd:
        raise CheckpointError(
            f"{path}: weights are float32, float16 or bfloat16; {len(odd)} are not: {_some(odd)}"
        )
    broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckpointError(
            f"{path}: NaN or infinite values in {len(broken)} tensors: {_some(broken)}; the file "
            "is damaged, or its training diverged"
        )
    negative = [
        name
        for name, value in tensors.items()
        if name.endswith("running_var") and bool((value < 0).any())
    ]
    if negative:
        raise CheckpointError(
            f"{path}: variances below 0 in {len(negative)} tensors: {_some(negative)}"
        )


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is None:
            raise _cannot_read(path, "it is no file of torch.save") from error
        raise CheckpointError(
            f"{path} is no plain checkpoint: reading it would run Python code ({code[1]}); "
            "edgenas runs no code from files; save the weights alone, as torch.save of a "
            "state_dict or as .safetensors"
        ) from error
    # torch has no error of its own for damaged files: these are what it lets through.
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError) as error:
        raise _cannot_read(path, error) from error


def _plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _cannot_read(path: Path, reason: object) -> CheckpointError:
    text = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
    return CheckpointError(f"cannot read {path}: {text}")
