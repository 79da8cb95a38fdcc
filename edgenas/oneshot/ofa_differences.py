"""What a checkpoint of the public once-for-all code is of, and in what it differs from that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgenas import spaces
from edgenas.core.errors import CheckpointError, UsageError
from edgenas.core.ops import Shape
from edgenas.oneshot.ofa_names import PRESETS, PublicTensor, public_tensors, spellings
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.ofa_mbv3 import PRESETS as MOBILENETS

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Match:
    """A checkpoint held against the supernet of a space.

    Attributes:
        space: whose supernet.
        found: what the checkpoint calls each tensor that it has, once, with the right shape.
        n_tensors: how many the supernet has, counters left out.
        problems: by what is wrong, the names and shapes that it is wrong with.
    """

    space: SearchSpace
    found: dict[PublicTensor, str]
    n_tensors: int
    problems: dict[str, list[str]]

    @property
    def n_problems(self) -> int:
        """How many tensors are missing, extra, doubled or of another shape."""
        return sum(len(names) for names in self.problems.values())

    @property
    def in_words(self) -> str:
        """The problems, the first ten of a sort by name."""
        return "; ".join(
            f"{len(names)} {what}: {_some(names)}" for what, names in self.problems.items() if names
        )

    @property
    def style(self) -> Literal["current", "older"]:
        """Whether all names are as the public code writes them today: ``current``, ``older``."""
        current = all(name == tensor.public for tensor, name in self.found.items())
        return "current" if current else "older"


def match(space: SearchSpace, shapes: Mapping[str, Shape]) -> Match:
    """Hold a checkpoint, as the shapes of its tensors by name, against the supernet of `space`.

    Raises:
        UsageError: the public code has no such supernet.
    """
    tensors = public_tensors(space)
    found: dict[PublicTensor, str] = {}
    missing: list[str] = []
    doubled: list[str] = []
    reshaped: list[str] = []
    used: set[str] = set()
    for tensor in tensors:
        names = [name for name in spellings(tensor.public) if name in shapes]
        used.update(names)
        if len(names) > 1:
            doubled.append(" = ".join(names))
        elif names and shapes[names[0]] != tensor.shape:
            reshaped.append(f"{names[0]} ({_text(shapes[names[0]])} for {_text(tensor.shape)})")
        elif names:
            found[tensor] = names[0]
        elif not tensor.optional:
            missing.append(f"{tensor.public} ({_text(tensor.shape)})")
    extra = [f"{name} ({_text(shapes[name])})" for name in shapes if name not in used]
    problems = {
        "missing": missing,
        "of another shape": reshaped,
        "that it has not": extra,
        "under two names": doubled,
    }
    return Match(space, found, sum(not tensor.optional for tensor in tensors), problems)


def recognise(
    shapes: Mapping[str, Shape],
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Match:
    """Return the space that a checkpoint is of, held against it without a problem.

    Classes, input channels and kernels are read off the shapes, unless `settings` has them.

    Args:
        shapes: of the checkpoint's tensors, by name.
        preset: the space's; None: whichever fits.
        settings: changes of the preset's.

    Raises:
        CheckpointError: something is missing, extra, or of another shape.
        UsageError: the public code has no supernet of the preset.
    """
    if preset is not None and preset not in PRESETS:
        space = spaces.get(preset)
        raise UsageError(
            f"the public once-for-all code has no supernet of {space.name}; allowed: "
            f"{', '.join(PRESETS)}"
        )
    matches = [
        match(spaces.get(name, **{**_read_settings(name, shapes), **(settings or {})}), shapes)
        for name in (PRESETS if preset is None else (preset,))
    ]
    best = min(matches, key=lambda one: one.n_problems)
    if best.n_problems == 0:
        return best
    if preset is not None:
        raise CheckpointError(
            f"not the weights of {best.space.name}; of its {best.n_tensors} tensors {best.in_words}"
        )
    if not best.found:
        near = f"none of its tensors is one of theirs: {_some(list(shapes))}"
    else:
        near = (
            f"nearest is {best.space.name}; of its {best.n_tensors} tensors {best.in_words}; if "
            "it is one with other settings, name it with --space and --set"
        )
    raise CheckpointError(
        f"not the weights of a once-for-all supernet that edgenas knows ({', '.join(PRESETS)}); "
        f"{near}"
    )


def _read_settings(preset: str, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Return the settings of `preset` that shapes tell, where they tell any."""
    classifier = _shape(shapes, "classifier.linear.weight", 2)
    first = "first_conv.conv.weight" if preset in MOBILENETS else "input_stem.0.conv.weight"
    stem = _shape(shapes, first, 4)
    found: dict[str, Any] = {}
    if classifier is not None:
        found["n_classes"] = classifier[0]
    if stem is not None:
        found["input_channels"] = stem[1]
    if preset in MOBILENETS:
        depthwise = _shape(shapes, "blocks.1.conv.depth_conv.conv.weight", 4)
        kernels = {depthwise[-1]} if depthwise is not None else set()
        for name in shapes:
            smaller = re.fullmatch(r"blocks\.1\..*\.\d+to(\d{1,2})_matrix", name)
            kernels |= {int(smaller[1])} if smaller else set()
        if kernels and all(size % 2 for size in kernels):
            found["kernels"] = tuple(sorted(kernels))
    return found


def _shape(shapes: Mapping[str, Shape], name: str, n_dimensions: int) -> Shape | None:
    """Return the shape of a tensor under any of its names, if it is whole and nothing is 0."""
    found = [shapes[one] for one in spellings(name) if one in shapes]
    sound = [shape for shape in found if len(shape) == n_dimensions and all(shape)]
    return sound[0] if sound else None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _text(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
