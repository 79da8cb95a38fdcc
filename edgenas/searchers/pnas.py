"""PNAS: progressive search, the K most accurate by a surrogate's prediction.

Liu et al. 2018, Progressive Neural Architecture Search, arXiv:1712.00559, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.searchers.problem import Floats
from edgenas.searchers.progressive import ProgressiveSearcher, check_progressive


@dataclass(frozen=True, slots=True)
class PnasSettings:
    """Settings.

    Attributes:
        beam_size: K; the paper's 256 needs thousands of evaluations, so the default is DPP-Net's.
        n_hidden: of embedding and LSTM (100 in the paper).
        rate: of Adam (0.01 on the first level in the paper).
        n_steps: of the surrogate at every update; a default of ours.
    """

    beam_size: int = 8
    n_hidden: int = 100
    rate: float = 0.01
    n_steps: int = 40

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        check_progressive(self)


class PnasSearcher(ProgressiveSearcher):
    """One objective decides, accuracy; costs only where constraints limit them."""

    name = "pnas"
    Settings = PnasSettings

    def _order(self, population: Genes, predicted: Floats) -> np.ndarray:
        return np.argsort(predicted, kind="stable")
