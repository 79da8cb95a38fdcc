"""Supernets of the public once-for-all code: imported once, then loaded like one's own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgenas.core.errors import CheckpointError, StorageError, UsageError
from edgenas.core.files import sha256_of, write_text
from edgenas.core.schema import dump_yaml
from edgenas.core.version import __version__
from edgenas.oneshot.description import (
    SUFFIX,
    Description,
    Source,
    WeightsSpace,
    description_path,
    load_description,
)
from edgenas.oneshot.foreign import check_values, read_tensors
from edgenas.oneshot.ofa_differences import Match, recognise
from edgenas.oneshot.ofa_names import public_tensors
from edgenas.oneshot.supernet import Supernet, load_supernet, save_supernet
from edgenas.spaces.base import SearchSpace


def import_checkpoint(
    source: Path,
    out: Path,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Description:
    """Write the weights of a public checkpoint as a supernet of edgenas, with a description.

    Args:
        source: what torch.save or safetensors wrote (see `read_tensors`).
        out: the ``.safetensors`` file to write; the description goes beside it.
        preset: of the space; None: told from the shapes.
        settings: changes of the preset's.

    Raises:
        CheckpointError: the file cannot be read, or is not of the space (or of none that is
            known); the message says in what it differs.
        StorageError: `out` cannot be written.
        UsageError: `out` is no ``.safetensors`` file or is the source, or the public code has no
            supernet of that space.
    """
    if out.suffix != SUFFIX:
        raise UsageError(f"weights are written to a {SUFFIX} file; {out} is not called so")
    if out.resolve() == source.resolve():
        raise UsageError(f"{out} is the checkpoint itself; give another --out")
    tensors = read_tensors(source)
    supernet, matched = supernet_of(source, tensors, preset=preset, settings=settings)
    save_supernet(supernet, out)
    space, parameters = matched.space, matched.space.parameters
    description = Description(
        schema_version=1,
        kind="once-for-all supernet",
        space=WeightsSpace(
            name=space.name,
            preset=parameters["preset"],
            settings={key: value for key, value in parameters.items() if key != "preset"},
            weights_fingerprint=supernet.weights_fingerprint,
        ),
        source=Source(file=source.name, sha256=sha256_of(source), keys=matched.style),
        sha256=sha256_of(out),
        n_params=sum(parameter.numel() for parameter in supernet.parameters()),
        n_tensors=len(supernet.state_dict()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=__version__,
    )
    write_text(description_path(out), dump_yaml(description))
    return description


def supernet_of(
    source: Path,
    tensors: Mapping[str, Tensor],
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Supernet, Match]:
    """Return a supernet with the weights and statistics of a public checkpoint, and its space.

    Errors and arguments: see `import_checkpoint`; `source` is named in messages only.
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    try:
        matched = recognise(shapes, preset=preset, settings=settings)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    used = {name: t.ours for t, name in matched.found.items() if not t.optional}
    check_values(source, {name: tensors[name] for name in used})
    supernet = Supernet(matched.space, statistics=True)
    own = supernet.state_dict()
    with torch.no_grad():
        for name, ours in used.items():
            own[ours].copy_(tensors[name])
    return supernet, matched


def public_state(supernet: Supernet, space: SearchSpace) -> dict[str, Tensor]:
    """Return the tensors of a supernet that keeps statistics, as the public code names them.

    They are the supernet's own, not copies.

    Raises:
        UsageError: the public code has no such supernet, or this one keeps no statistics.
    """
    if not supernet.statistics:
        raise UsageError("the public code's supernets have batch norm statistics; this has none")
    own = supernet.state_dict()
    return {tensor.public: own[tensor.ours] for tensor in public_tensors(space)}


def load_imported(path: Path) -> tuple[SearchSpace, Supernet]:
    """Return the supernet that `import_checkpoint` wrote, with its space.

    Raises:
        SchemaError: the description beside it breaks its schema.
        StorageError: a file is missing or damaged, or the description is of other weights.
    """
    description = load_description(path)
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if digest != description.sha256:
        raise StorageError(
            f"{path} is not what {description_path(path)} describes: its SHA-256 is {digest}, "
            f"described is {description.sha256}; import {description.source.file} again"
        )
    space = description.space.make()
    return space, load_supernet(space, path)
