"""Search spaces in figures and samples, for people and for pipes."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgenas import spaces
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import macs, params


def describe_spaces() -> list[dict[str, Any]]:
    """Return the figures of every registered space."""
    return [describe_space(spaces.get(name)) for name in spaces.SPACES]


def describe_space(space: SearchSpace) -> dict[str, Any]:
    """Return size, operators and range of MACs of a space."""
    program = BudgetProgram(macs(space))
    return {
        "name": space.name,
        "fingerprint": space.fingerprint,
        "n_genes": space.n_genes,
        "n_architectures": program.size(),
        "n_operators": len(space.distinct_ops()),
        "least_macs": round(program.least()[0]),
        "greatest_macs": round(program.greatest()[0]),
        "largest_input": list(space.input_shape(space.largest())),
        "n_classes": space.n_classes,
    }


def sample_space(
    space: SearchSpace, n: int, *, seed: int = 0, most_macs: float | None = None
) -> list[dict[str, Any]]:
    """Return `n` random architectures: uniform genes, or uniform networks under `most_macs`.

    Raises:
        InfeasibleError: no architecture has so few MACs; the message has the least.
    """
    rng = np.random.default_rng(seed)
    cost = macs(space)
    if most_macs is None:
        rows = space.sample(n, rng)
    else:
        rows = BudgetProgram(cost).sample(n, most_macs, rng)
    n_macs, n_params = cost(rows), params(space)(rows)
    return [
        {
            "id": arch.id,
            "genes": list(arch.genes),
            "config": space.describe(arch.row),
            "n_macs": round(float(n_macs[i])),
            "n_params": round(float(n_params[i])),
        }
        for i, arch in enumerate(space.architectures(rows))
    ]
