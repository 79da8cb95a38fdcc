"""The order of timing: every round is a random permutation, and an anchor is timed in between.

Repeats in a row share the machine's state and are wrong together, so the visits to one artefact are
spread over the whole run. The order follows from the seed alone: a run that was cut off knows
what is left.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def schedule(visits: Mapping[str, int], *, anchor: str, anchor_every: int, seed: int) -> list[str]:
    """Return keys in the order in which to visit them.

    Args:
        visits: how often each key is visited.
        anchor: key that is visited at both ends and after every `anchor_every` others.
        anchor_every: distance between two visits of the anchor.
        seed: decides the order.
    """
    rng = np.random.default_rng(seed)
    keys = list(visits)
    n_rounds = max(visits.values(), default=0)
    rounds: list[list[str]] = [[] for _ in range(n_rounds)]
    for key in keys:
        # Fewer visits than rounds are spaced evenly, from a random first round.
        gap = n_rounds / visits[key]
        start = rng.random() * gap
        for k in range(visits[key]):
            rounds[int(start + k * gap) % n_rounds].append(key)
    order = [anchor]
    since = 0
    for keys_of_round in rounds:
        for key in rng.permutation(np.array(keys_of_round, dtype=object)):
            order.append(str(key))
            since += 1
            if since == anchor_every:
                order.append(anchor)
                since = 0
    if order[-1] != anchor:
        order.append(anchor)
    return order
