"""The predictor that the authors of once-for-all published, on edgenas' genes.

Cai et al. 2020, arXiv:1908.09791: a perceptron with three layers of 400 units over the kernels,
expansions and the resolution of their MobileNetV3 space, zeros for blocks that do not run. It was
fitted to subnets of the supernet of width 1.2; on width 1.0 it ranks, but predicts too much.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError, StorageError
from edgenas.core.extras import require
from edgenas.evaluators.predictors.base import AccuracyPredictor, Floats
from edgenas.evaluators.predictors.dense import DenseNetwork
from edgenas.evaluators.predictors.features import OneHots, Singles
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.ofa_mbv3 import PRESETS, OfaMbv3Space

KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
RESOLUTIONS = tuple(range(112, 225, 16))
N_BLOCKS = 20
BLOCKS_PER_STAGE = 4
N_FEATURES = N_BLOCKS * (len(KERNELS) + len(EXPANSIONS)) + len(RESOLUTIONS)
N_UNITS = 400

_SHAPES: dict[str, tuple[int, ...]] = {
    "w0": (N_UNITS, N_FEATURES),
    "b0": (N_UNITS,),
    "w2": (N_UNITS, N_UNITS),
    "b2": (N_UNITS,),
    "w4": (N_UNITS, N_UNITS),
    "b4": (N_UNITS,),
    "w6": (1, N_UNITS),
    "b6": (1,),
}
_KNOWN = ("ofa_mbv3_w1.0", "ofa_mbv3_w1.2")


class PublishedPredictor(AccuracyPredictor):
    """The published perceptron; ImageNet top-1 of the public supernet's subnets, a fraction.

    Args:
        space: ``ofa_mbv3_w1.0`` or ``w1.2``; kernels, expansions, depths and resolutions may be
            changed to any that the predictor knows.
        weights: by the names of layers, ``w0 b0 w2 b2 w4 b4 w6 b6``.

    Raises:
        SpaceError: the space is another, or has an option that the predictor does not know.
        StorageError: an array is missing, or has another shape.
    """

    def __init__(self, space: SearchSpace, weights: Mapping[str, Singles]) -> None:
        super().__init__(space)
        _check_space(space)
        _check_weights(weights)
        first = np.zeros((N_UNITS, int(space.n_options.sum())), dtype=np.float32)
        place = 0
        for gene in space.genes:
            for option in gene.options:
                column = _column(gene.name, option)
                if column is not None:
                    first[:, place] = weights["w0"][:, column]
                place += 1
        self.network = DenseNetwork(
            OneHots(space),
            [
                (first, weights["b0"]),
                *((weights[f"w{i}"], weights[f"b{i}"]) for i in (2, 4, 6)),
            ],
        )

    def __call__(self, population: Genes) -> Floats:
        """Return predicted accuracies (see `AccuracyPredictor.__call__`)."""
        return self.network(population)


def load_published(path: Path, space: SearchSpace) -> PublishedPredictor:
    """Return the published predictor from a file of its weights.

    Args:
        path: an ``.npz`` with the arrays ``w0 b0 ... w6 b6``, or the authors' own
            ``acc_predictor.pth`` (which needs torch, and is read without running its code).
        space: whose genes it takes (see `PublishedPredictor`).

    Raises:
        StorageError: the file cannot be read or holds something else.
        SpaceError: the predictor is not for this space.
        MissingExtraError: a ``.pth`` file and no torch.
    """
    read = _read_npz if path.suffix == ".npz" else _read_state_dict
    return PublishedPredictor(space, read(path))


def _read_npz(path: Path) -> dict[str, Singles]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise StorageError(
            f"cannot read {path} as the arrays {', '.join(_SHAPES)} of the published predictor: "
            f"{error}"
        ) from error


def _read_state_dict(path: Path) -> dict[str, Singles]:
    torch = require("torch")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # torch reports a broken file in many ways, its refusal to run code as UnpicklingError.
    except Exception as error:
        raise StorageError(
            f"cannot read {path} as the state of the published predictor (or as .npz): {error}"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    # The layers stand in one sequence, whose name depends on the version of the public code.
    found: dict[str, Singles] = {}
    for name, tensor in tensors.items():
        layer, _, what = str(name).rpartition(".")
        short = f"{'w' if what == 'weight' else 'b'}{layer.rpartition('.')[2]}"
        found[short] = tensor.float().numpy()
    return found


def _check_weights(weights: Mapping[str, Singles]) -> None:
    wrong = [
        f"{name} is {weights[name].shape if name in weights else 'missing'}, not {shape}"
        for name, shape in _SHAPES.items()
        if name not in weights or weights[name].shape != shape
    ]
    extra = sorted(set(weights) - set(_SHAPES))
    wrong += [f"{name} is unknown" for name in extra]
    if wrong:
        raise StorageError(f"these are no weights of the published predictor: {'; '.join(wrong)}")
    broken = [name for name in _SHAPES if not np.isfinite(weights[name]).all()]
    if broken:
        raise StorageError(f"weights of the predictor are not finite: {', '.join(broken)}")


def _check_space(space: SearchSpace) -> None:
    allowed = f"allowed: {', '.join(_KNOWN)}"
    if not isinstance(space, OfaMbv3Space):
        raise SpaceError(f"the published predictor does not know {space.name}; {allowed}")
    own, public = space.settings, PRESETS[_KNOWN[0]]
    stages = zip(own.stages, public.stages, strict=False)
    like = replace(
        public,
        stages=tuple(replace(theirs, depths=ours.depths) for ours, theirs in stages),
        kernels=own.kernels,
        expansions=own.expansions,
        resolutions=own.resolutions,
        width_multiplier=own.width_multiplier,
    )
    if own != like or own.width_multiplier not in (1.0, 1.2):
        raise SpaceError(f"the published predictor does not know {space.name}; {allowed}")
    choices = {
        "kernels": (own.kernels, KERNELS),
        "expansions": (own.expansions, EXPANSIONS),
        "resolutions": (own.resolutions, RESOLUTIONS),
        "depths": (tuple(d for stage in own.stages for d in stage.depths), (2, 3, 4)),
    }
    for what, (asked, known) in choices.items():
        strange = sorted(set(asked) - set(known))
        if strange:
            raise SpaceError(
                f"{space.name} has {what} {', '.join(map(str, strange))}, which the published "
                f"predictor does not know; allowed: {', '.join(map(str, known))}"
            )


def _column(gene: str, option: Any) -> int | None:
    """Return the published feature of a gene's option, None for depths, which have none."""
    if gene == "resolution":
        return N_BLOCKS * (len(KERNELS) + len(EXPANSIONS)) + RESOLUTIONS.index(option)
    if gene.endswith(".depth"):
        return None
    stage, block, what = gene.split(".")
    number = (int(stage.removeprefix("stage")) - 1) * BLOCKS_PER_STAGE
    number += int(block.removeprefix("block"))
    if what == "kernel":
        return number * len(KERNELS) + KERNELS.index(option)
    first = N_BLOCKS * len(KERNELS)
    return first + number * len(EXPANSIONS) + EXPANSIONS.index(option)
