"""Costs that only measuring tells: no gradient, so that rewards alone learn from them.

Cai et al. 2019 (ProxylessNAS), arXiv:1812.00332, section 3.3.2: REINFORCE serves objectives that
are not differentiable.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from edgenas.core.architecture import Genes

_N_LATEST = 50
_ONE_AT_A_TIME = threading.Lock()
"""Threads share a device, and what is measured beside something else is another number."""


class MeasuredCost:
    """A cost of single architectures, measured once each.

    Args:
        measure: from canonical genes, shape (n_genes,), to the cost, in its own unit; never called
            by two threads at once.
    """

    def __init__(self, measure: Callable[[Genes], float]) -> None:
        self.measure = measure
        self._known: dict[bytes, float] = {}
        self._latest: deque[float] = deque(maxlen=_N_LATEST)

    def of(self, row: Genes) -> float:
        """Return the cost of one canonical architecture, shape (n_genes,)."""
        key = row.tobytes()
        with _ONE_AT_A_TIME:
            if key not in self._known:
                self._known[key] = float(self.measure(row))
            self._latest.append(self._known[key])
        return self._known[key]

    def __call__(self, probabilities: Mapping[int, Tensor]) -> Tensor:
        """Return the mean of the latest draws, a scalar, float64; NaN before there are any."""
        del probabilities  # they are known by their draws alone
        found = torch.tensor(list(self._latest), dtype=torch.float64)
        return found.mean()
