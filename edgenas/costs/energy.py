"""What operators' energies are first thought to be: the power of their kind times their time.

No meter is fast enough for one operator. What can be measured is the energy of whole networks; an
operator's share of it is taken as its time times a power that all operators of its kind have, and
that is the prior of the regression which fits operators to networks (`costs.network_fit`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from edgenas.core.errors import CostError
from edgenas.core.ops import OpSpec

Floats = npt.NDArray[np.float64]

_LEAST_NETWORKS = 20
_RIDGE = 0.1


def power_by_kind(
    ops: Sequence[OpSpec], time_ms: Floats, counts: Floats, network_mj: Floats
) -> dict[str, float]:
    """Return the mean power in mW of each kind of operator.

    Non-negative least squares of energies on the time that networks spend in each kind, drawn
    towards the power that all kinds would have in common: kinds that no network tells apart get
    that one.

    Args:
        ops: the operators.
        time_ms: what each takes inside a network, shape (n_operators,).
        counts: how often each network runs each operator, shape (n_networks, n_operators).
        network_mj: the networks' energies, shape (n_networks,).

    Raises:
        CostError: an energy, a time or a number of networks that cannot be fitted.
    """
    if len(network_mj) < _LEAST_NETWORKS:
        raise CostError(
            f"energies of {len(network_mj)} networks; at least {_LEAST_NETWORKS} are needed"
        )
    return _powers(ops, time_ms, counts, network_mj)


def _powers(
    ops: Sequence[OpSpec], time_ms: Floats, counts: Floats, network_mj: Floats
) -> dict[str, float]:
    _check(time_ms, counts, network_mj)
    kinds = sorted({op.kind for op in ops})
    column = np.array([kinds.index(op.kind) for op in ops])
    by_kind_ms = np.stack(
        [counts[:, column == i] @ time_ms[column == i] for i in range(len(kinds))], axis=1
    )
    common = float(network_mj.sum() / by_kind_ms.sum())  # W: mJ per ms
    # Relative errors, so that small networks count as much as large ones.
    rows = by_kind_ms / network_mj[:, None]
    scale = _RIDGE * np.sqrt((rows**2).mean(axis=0)) * np.sqrt(len(kinds))
    system = np.vstack([rows, np.diag(scale)])
    target = np.concatenate([np.ones(len(network_mj)), scale * common])
    watts, _ = nnls(system, target)
    return {kind: float(power) * 1e3 for kind, power in zip(kinds, watts, strict=True)}


def energy_prior(
    ops: Sequence[OpSpec], time_ms: Floats, counts: Floats, network_mj: Floats
) -> Floats:
    """Return what operators are first thought to cost inside a network, mJ, shape (n_operators,).

    Arguments and errors are those of `power_by_kind`, but for the number of networks: a fit leaves
    some of them out.
    """
    powers = _powers(ops, time_ms, counts, network_mj)
    least = 0.1 * float(network_mj.sum() / (counts @ time_ms).sum()) * 1e3
    return np.array(
        [max(powers[op.kind], least) * time / 1e3 for op, time in zip(ops, time_ms, strict=True)]
    )


def _check(time_ms: Floats, counts: Floats, network_mj: Floats) -> None:
    for name, values in (("an energy", network_mj), ("a time", time_ms)):
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise CostError(f"{name} is zero, negative or not finite; nothing is fitted to it")
    if not (counts.sum(axis=1) > 0).all():
        raise CostError("a network runs no operators; nothing is fitted to it")
