"""Deterministic stratified splits: the same seed and labels give the same parts anywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import DataError
from edgenas.oneshot.data.base import Part


def complete_parts(
    official: Mapping[str, Part], *, fractions: Mapping[str, float], seed: int
) -> dict[str, Part]:
    """Return train, validation and test; a part that `official` lacks is carved out of train.

    Args:
        official: at least ``train``.
        fractions: of the official train part, for ``validation`` and ``test``.
        seed: decides which images go where.

    Raises:
        DataError: a fraction is out of range or a class has too few images.
    """
    parts = dict(official)
    wanted = {name: share for name, share in fractions.items() if name not in official}
    if min(wanted.values(), default=0.1) <= 0 or sum(wanted.values()) > 0.8:
        raise DataError(
            f"cannot split off {wanted}: each fraction must be above 0 and together at most 0.8"
        )
    if not wanted:
        return parts
    train = parts["train"]
    chosen: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in ("train", *wanted)}
    for label in np.unique(train.labels):
        members = np.flatnonzero(train.labels == label)
        order = np.random.default_rng([seed, int(label)]).permutation(members)
        if len(order) <= len(wanted):
            raise DataError(
                f"class {label} has {len(order)} images; needed: at least {len(wanted) + 1}, "
                f"one for each of train, {', '.join(wanted)}"
            )
        start = 0
        for name, share in wanted.items():
            count = max(1, round(len(order) * share))
            chosen[name].append(order[start : start + count])
            start += count
        chosen["train"].append(order[start:])
    for name, pieces in chosen.items():
        parts[name] = train.take(np.sort(np.concatenate(pieces)))
    return parts
