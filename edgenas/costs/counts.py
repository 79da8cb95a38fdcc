"""How often networks run operators: the numbers that costs of operators are multiplied by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.ops import OpSpec
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]


def operator_counts(space: SearchSpace, networks: Genes, ops: Sequence[OpSpec]) -> Floats:
    """Return how often each network runs each operator, shape (n_networks, n_ops)."""
    place = {op: j for j, op in enumerate(ops)}
    counts = np.zeros((len(networks), len(ops)))
    for i, row in enumerate(networks):
        for _, op in space.ops(row):
            counts[i, place[op]] += 1
    return counts
