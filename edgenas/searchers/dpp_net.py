"""DPP-Net: progressive search that keeps a Pareto front of predicted accuracy and known costs.

Dong et al. 2018, DPP-Net: Device-aware Progressive Search for Pareto-optimal Neural Architectures,
arXiv:1806.08198, section 3.2. The objectives may hold the costs of several devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.pareto import ordered
from edgenas.searchers.problem import Floats, minimised
from edgenas.searchers.progressive import ProgressiveSearcher, check_progressive


@dataclass(frozen=True, slots=True)
class DppNetSettings:
    """Settings.

    Attributes:
        beam_size: K, architectures kept at every level (8).
        n_hidden: of embedding and LSTM; with the two below a default of ours.
        rate: of Adam.
        n_steps: of the surrogate at every update.
    """

    beam_size: int = 8
    n_hidden: int = 64
    rate: float = 0.01
    n_steps: int = 40

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        check_progressive(self)


class DppNetSearcher(ProgressiveSearcher):
    """Keeps candidates front by front, the loneliest first.

    Costs that are not cheap are not predicted: they decide nothing before they are evaluated.
    """

    name = "dpp_net"
    Settings = DppNetSettings

    def _order(self, population: Genes, predicted: Floats) -> np.ndarray:
        columns = [predicted]
        if self.problem.cheap is not None:
            costs = self.problem.cheap(population)
            for goal in self.goals.costs:
                if goal.name in costs:
                    columns.append(minimised(goal, costs[goal.name]))
        return ordered(np.stack(columns, axis=1))
