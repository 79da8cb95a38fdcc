"""Measured ImageNet accuracies of once-for-all subnets that others published, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.costs.published.data import folder, read_csv
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.evaluators.predictors import PublishedPredictor, load_published
from edgenas.evaluators.predictors.fitting import distinct
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import macs
from edgenas.spaces.ofa_mbv3 import OfaMbv3Space

Floats = npt.NDArray[np.float64]

PREDICTOR = "ofa_mbv3/ofa_acc_predictor_mlp_weights.npz"
_ROWS = "ofa_mbv3/ofa_mbv3_w1.0_imagenet_acc_dynast.csv.gz"


@dataclass(frozen=True, slots=True)
class Measured:
    """2,373 evaluations of 2,162 subnets of the public supernet, width 1.0, 224 pixels.

    `rows`: distinct architectures; `accuracy`: the mean of each one's evaluations, a fraction;
    `n_macs`: of each; `every_row`, `every_accuracy`: all evaluations, in the order of the file.
    """

    space: SearchSpace
    rows: Genes
    accuracy: Floats
    n_macs: Floats
    every_row: Genes
    every_accuracy: Floats

    def published(self) -> PublishedPredictor:
        """Return the published predictor for these."""
        return load_published(folder() / PREDICTOR, self.space)


def measured() -> Measured:
    """Return the published evaluations."""
    space = spaces.get("ofa_mbv3_w1.0")
    assert isinstance(space, OfaMbv3Space)
    lines = read_csv(_ROWS)
    lists = [[[int(n) for n in line[key].split()] for key in ("ks", "e", "d")] for line in lines]
    every = np.stack(
        [space.from_ofa(*chosen, int(line["r"])) for chosen, line in zip(lists, lines, strict=True)]
    )
    top1 = np.array([float(line["top1"]) / 100 for line in lines])
    rows, accuracy, _ = distinct(space, every, top1)
    return Measured(space, rows, accuracy, macs(space)(rows), every, top1)
