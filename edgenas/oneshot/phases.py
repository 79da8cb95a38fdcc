"""Phases of a supernet's training as data: how long, how fast, and which options are open in each.

Cai et al. 2020 (Once-for-All), arXiv:1908.09791, section 3.3: progressive shrinking opens one
dimension after the other, from the largest network down.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError, UsageError
from edgenas.spaces.base import Gene, Option, SearchSpace

_LOG = logging.getLogger(__name__)

DIMENSIONS = ("kernel", "depth", "expansion", "width", "resolution")
"""What can be elastic; a gene is of the dimension in which its name ends."""

RULES = ("largest", "random", "sandwich")

Opening = Literal["all"] | int | tuple[Option, ...]
"""Open options: all, that many of the last (by convention the largest), or these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase; what is None is as the settings around it say.

    Attributes:
        name: for the job file, progress and records.
        epochs: passes over the training images.
        lr: peak learning rate for a batch of one process.
        rule: who learns in a step: the ``largest`` network; `n_subnets` ``random`` ones; or the
            largest, the smallest and `n_subnets` random ones (``sandwich``).
        n_subnets: random architectures a step, whose gradients add up to one update.
        elastic: open options by dimension; one that is not named stays at its largest. None
            opens everything, in any space.
        opens: dimension that is new in this phase; a space without it passes over the phase.
        distillation: weight of the loss against the opinion of the frozen full network, beside
            the loss of the labels (weight 1); 0 needs no such network. Not for ``sandwich``.
        sort_stage: sort the channels before the phase (`edgenas.oneshot.sorting`); None does not.
        batch_size: images a step and process.
        warmup_fraction: of all steps of the phase, linear from zero.
    """

    name: str
    epochs: int
    lr: float
    rule: str = "random"
    n_subnets: int = 0
    elastic: Mapping[str, Opening] | None = field(default_factory=dict)
    opens: str = ""
    distillation: float = 0.0
    sort_stage: int | None = None
    batch_size: int | None = None
    warmup_fraction: float | None = None

    def __post_init__(self) -> None:
        rules = {
            "epochs": self.epochs >= 0,
            "lr": self.lr > 0,
            "rule": self.rule in RULES,
            "n_subnets": self.n_subnets >= (1 if self.rule == "random" else 0),
            "distillation": self.distillation >= 0,
            "sort_stage": self.sort_stage is None or self.sort_stage >= 0,
            "batch_size": self.batch_size is None or self.batch_size >= 2,
            "warmup_fraction": self.warmup_fraction is None or 0 <= self.warmup_fraction < 1,
        }
        broken = [f"{name}={getattr(self, name)}" for name, kept in rules.items() if not kept]
        if broken:
            raise UsageError(f"settings of phase {self.name} out of range: {', '.join(broken)}")
        for dimension, opening in (self.elastic or {}).items():
            if opening != "all" and (not opening or (isinstance(opening, int) and opening < 1)):
                raise UsageError(
                    f"phase {self.name}: {opening!r} of {dimension}; allowed: all, how many of "
                    "the largest options (at least 1), or the options"
                )
        named = {*(self.elastic or {}), *([self.opens] if self.opens else [])}
        if unknown := sorted(named - set(DIMENSIONS)):
            raise UsageError(
                f"phase {self.name}: {', '.join(unknown)} is no dimension; allowed: "
                f"{', '.join(DIMENSIONS)}"
            )


class OpenPart:
    """The architectures of `space` that a phase trains: every gene keeps its open options.

    Raises:
        SpaceError: the phase names options that a gene lacks, or the space has genes of no
            dimension that a phase could name.
    """

    def __init__(self, space: SearchSpace, phase: Phase) -> None:
        self.space = space
        self.options = [_open(space, gene, phase) for gene in space.genes]

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """Return `n` of them, every gene uniform, canonical, shape (n, n_genes)."""
        chosen = [options[rng.integers(0, len(options), n)] for options in self.options]
        return self.space.canonical(np.stack(chosen, axis=1).astype(np.int8))

    def largest(self) -> Genes:
        """Return the genes of the last open options."""
        return self._canonical([options[-1] for options in self.options])

    def smallest(self) -> Genes:
        """Return the genes of the first open options."""
        return self._canonical([options[0] for options in self.options])

    def sample_size(self, rng: np.random.Generator) -> tuple[int, int]:
        """Return height and width of the input of a random one of them."""
        _, height, width = self.space.input_shape(self.sample(1, rng)[0])
        return height, width

    def _canonical(self, genes: list[int]) -> Genes:
        row: Genes = self.space.canonical(np.array([genes], dtype=np.int8))[0]
        return row


def phases_of(space: SearchSpace, plan: Sequence[Phase]) -> tuple[Phase, ...]:
    """Return the phases of `plan` that train something in `space`, and log those passed over."""
    kept = []
    for phase in plan:
        if phase.opens and not _has_choice(space, phase.opens):
            _LOG.info("%s has no elastic %s: no phase %s", space.name, phase.opens, phase.name)
        elif phase.epochs:
            kept.append(phase)
    return tuple(kept)


def _has_choice(space: SearchSpace, dimension: str) -> bool:
    return any(_dimension(gene) == dimension and len(gene.options) > 1 for gene in space.genes)


def _dimension(gene: Gene) -> str:
    return gene.name.rpartition(".")[2]


def _open(space: SearchSpace, gene: Gene, phase: Phase) -> np.ndarray:
    """Return the indices of the options of `gene` that are open."""
    n, dimension = len(gene.options), _dimension(gene)
    every = np.arange(n)
    if phase.elastic is None or n == 1:
        return every
    if dimension not in DIMENSIONS:
        raise SpaceError(
            f"{space.name}: gene {gene.name} is of no dimension that phases open "
            f"({', '.join(DIMENSIONS)}); train it with the schedule sandwich"
        )
    opening = phase.elastic.get(dimension, 1)
    if opening == "all":
        return every
    if isinstance(opening, int):
        return every[max(0, n - opening) :]
    if missing := [option for option in opening if option not in gene.options]:
        raise SpaceError(
            f"phase {phase.name} opens {dimension} {', '.join(map(str, missing))}, gene "
            f"{gene.name} of {space.name} has {', '.join(map(str, gene.options))}"
        )
    return np.array(sorted(gene.options.index(option) for option in opening))
