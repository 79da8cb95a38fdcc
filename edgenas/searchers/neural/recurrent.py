"""A recurrent surrogate: an LSTM reads an architecture gene by gene and says how accurate it is.

Liu et al. 2018 (PNAS), arXiv:1712.00559, section 3.3; Dong et al. 2018 (DPP-Net), arXiv:1806.08198,
section 3.3. It goes on learning where it stood as evaluations come in.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from edgenas.core.architecture import Genes
from edgenas.searchers.gene_order import gene_order
from edgenas.searchers.problem import Floats
from edgenas.spaces.base import SearchSpace

_CHUNK = 4096


class RecurrentSurrogate:
    """Learns one objective, standardised; the same calls give the same numbers.

    Args:
        space: what it reads architectures of.
        n_hidden: of the embedding and the LSTM.
        rate: of Adam.
        n_steps: on everything that is known, at every update.
        seed: of the first weights.
    """

    def __init__(
        self, space: SearchSpace, *, n_hidden: int, rate: float, n_steps: int, seed: int
    ) -> None:
        self.space, self.n_steps = space, n_steps
        self._order = gene_order(space)
        self._offsets = np.concatenate([[0], np.cumsum(space.n_options)[:-1]])
        n_tokens = int(space.n_options.sum()) + 1  # and one for genes that are not active
        with torch.random.fork_rng(devices=[]):  # torch's own seed is somebody else's
            self._embedding = nn.Embedding(n_tokens, n_hidden)
            self._cell = nn.LSTM(n_hidden, n_hidden, batch_first=True)
            self._head = nn.Linear(n_hidden, 1)
        self._modules = nn.ModuleList([self._embedding, self._cell, self._head])
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weights in self._modules.parameters():
                weights.uniform_(-(n_hidden**-0.5), n_hidden**-0.5, generator=generator)
            self._embedding.weight.normal_(generator=generator)
        self._optimizer = torch.optim.Adam(self._modules.parameters(), lr=rate)
        self._mean, self._spread = 0.0, 1.0

    def update(self, population: Genes, values: Floats) -> None:
        """Learn the values of all architectures known so far, shape (n,)."""
        self._mean, self._spread = float(values.mean()), float(values.std()) or 1.0
        wanted = torch.from_numpy(((values - self._mean) / self._spread).astype(np.float32))
        tokens = self._tokens(population)
        for _ in range(self.n_steps):
            loss = nn.functional.mse_loss(self._read(tokens), wanted)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()

    def __call__(self, population: Genes) -> Floats:
        """Return predicted values, shape (n,)."""
        tokens = self._tokens(population)
        with torch.no_grad():
            parts = [self._read(part) for part in torch.split(tokens, _CHUNK)]
        found = torch.cat(parts).numpy().astype(np.float64) if parts else np.zeros(0)
        return self._mean + self._spread * found

    def _read(self, tokens: torch.Tensor) -> torch.Tensor:
        outputs, _ = self._cell(self._embedding(tokens))
        found: torch.Tensor = self._head(outputs[:, -1])[:, 0]
        return found

    def _tokens(self, population: Genes) -> torch.Tensor:
        """Return what is read, gene by gene, shape (n, n_genes)."""
        tokens = np.where(
            self.space.active(population),
            self._offsets + population,
            int(self.space.n_options.sum()),
        )
        return torch.from_numpy(tokens[:, self._order].astype(np.int64))
