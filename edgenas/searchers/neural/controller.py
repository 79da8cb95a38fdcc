"""A recurrent controller: an LSTM that writes an architecture gene by gene.

Zoph and Le 2017, arXiv:1611.01578, section 3.1: what was chosen last goes in, the probabilities of
the next gene's options come out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgenas.core.architecture import Genes
from edgenas.searchers.gene_order import gene_order
from edgenas.spaces.base import SearchSpace

Doubles = npt.NDArray[np.float64]
_INITIAL_RANGE = 0.08


class Controller(nn.Module):
    """Probabilities of architectures, one distribution for each condition.

    A condition (which reward is wanted) is given with every step, one-hot. Inactive genes are
    not chosen and count nothing. Double precision: it is small, and differences between
    machines stay far from the choices.

    Args:
        space: what it writes architectures of.
        n_conditions: at least 1.
        n_hidden: of the LSTM.
        seed: of the first weights, uniform within 0.08 as in the paper.
    """

    def __init__(self, space: SearchSpace, *, n_conditions: int, n_hidden: int, seed: int) -> None:
        super().__init__()
        self.space, self.n_conditions = space, n_conditions
        self.order = gene_order(space)
        widest = int(space.n_options.max())
        self._offsets = np.concatenate([[0], np.cumsum(space.n_options)[:-1]])
        n_tokens = int(space.n_options.sum()) + 1  # and the start
        with torch.random.fork_rng(devices=[]):  # torch's own seed is somebody else's
            self.cell = nn.LSTMCell(n_tokens + n_conditions, n_hidden, dtype=torch.float64)
            self.heads = nn.Linear(n_hidden, space.n_genes * widest, dtype=torch.float64)
        self._widest = widest
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weights in self.parameters():
                weights.uniform_(-_INITIAL_RANGE, _INITIAL_RANGE, generator=generator)

    def sample(self, conditions: npt.NDArray[np.int64], rng: np.random.Generator) -> Genes:
        """Return an architecture for each of `conditions`, canonical, shape (n, n_genes)."""
        n, space = len(conditions), self.space
        genes = np.zeros((n, space.n_genes), dtype=np.int8)
        draws = rng.random((n, space.n_genes))
        with torch.no_grad():
            state = self._start(n)
            token = np.full(n, self._start_token)
            for column in self.order:
                logits, state = self._step(column, token, conditions, state)
                p = logits.softmax(dim=1).numpy().cumsum(axis=1)
                chosen = (draws[:, column, None] * p[:, -1:] >= p).sum(axis=1)
                active = self._chosen(genes)[:, column]
                genes[:, column] = np.where(active, np.minimum(chosen, p.shape[1] - 1), 0)
                token = np.where(active, self._offsets[column] + genes[:, column], token)
        return space.canonical(genes)

    def log_probabilities(
        self, population: Genes, conditions: npt.NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log probabilities and the mean entropies of the choices, each (n,).

        Args:
            population: canonical, shape (n, n_genes).
            conditions: under which each is asked for, shape (n,).
        """
        n = len(population)
        active = self._chosen(population)
        total, entropy = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        state, token = self._start(n), np.full(n, self._start_token)
        for column in self.order:
            logits, state = self._step(column, token, conditions, state)
            logs = logits.log_softmax(dim=1)
            counts = torch.from_numpy(active[:, column].astype(np.float64))
            chosen = torch.from_numpy(population[:, column].astype(np.int64))
            total = total + counts * logs.gather(1, chosen[:, None])[:, 0]
            entropy = entropy - counts * (logs.exp() * logs).sum(dim=1)
            token = np.where(
                active[:, column], self._offsets[column] + population[:, column], token
            )
        return total, entropy / max(1, active.sum(axis=1).max())

    def _chosen(self, population: Genes) -> npt.NDArray[np.bool_]:
        """Return which genes are a choice, shape (n, n_genes): active ones.

        Of a sequence, whose zeros come last, those up to the first zero.
        """
        chosen = np.asarray(self.space.active(population))
        for columns in self.space.sequence_columns:
            runs = np.cumprod(population[:, columns] != 0, axis=1, dtype=np.int64) > 0
            chosen[:, columns[1:]] &= runs[:, :-1]
        return chosen

    def log_table(self, population: Genes) -> Doubles:
        """Return log probabilities under every condition, shape (n, n_conditions)."""
        n = len(population)
        conditions = np.tile(np.arange(self.n_conditions), n)
        with torch.no_grad():
            logs, _ = self.log_probabilities(
                np.repeat(population, self.n_conditions, axis=0), conditions
            )
        return logs.numpy().reshape(n, self.n_conditions)

    def mixture(self, population: Genes) -> Doubles:
        """Return log probabilities when all conditions are equally likely, shape (n,)."""
        table = torch.from_numpy(self.log_table(population))
        found: Doubles = (table.logsumexp(dim=1) - np.log(self.n_conditions)).numpy()
        return found

    @property
    def _start_token(self) -> int:
        return int(self.space.n_options.sum())

    def _start(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        zeros = torch.zeros((n, self.cell.hidden_size), dtype=torch.float64)
        return zeros, zeros

    def _step(
        self,
        column: int,
        token: npt.NDArray[np.int64],
        conditions: npt.NDArray[np.int64],
        state: tuple[torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Return the logits of a gene's options, shape (n, n_options), and the next state."""
        read = torch.zeros((len(token), self.cell.input_size), dtype=torch.float64)
        rows = torch.arange(len(token))
        read[rows, torch.from_numpy(token)] = 1.0
        read[rows, self._start_token + 1 + torch.from_numpy(conditions)] = 1.0
        state = self.cell(read, state)
        first = column * self._widest
        logits = self.heads(state[0])[:, first : first + int(self.space.n_options[column])]
        return logits, state
