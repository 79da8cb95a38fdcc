"""Architectures that differ in one gene."""

import numpy as np

from edgenas.searchers.neighbours import changes_by_gene, neighbours
from edgenas.testing.searcher_contract import every_architecture, tiny_space


def test_every_option_of_every_active_gene_is_there() -> None:
    space = tiny_space()
    for genes in every_architecture(space)[::7]:
        wanted = set()
        for column in np.flatnonzero(space.active(genes[None])[0]):
            for option in range(space.n_options[column]):
                changed = genes.copy()
                changed[column] = option
                wanted.add(tuple(space.canonical(changed[None])[0].tolist()))
        wanted.discard(tuple(genes.tolist()))
        assert set(map(tuple, neighbours(space, genes).tolist())) == wanted


def test_changes_come_gene_by_gene() -> None:
    space = tiny_space()
    groups = list(changes_by_gene(space, space.largest()))
    assert [len(group) for group in groups] == [2] * 6
    assert {tuple(row) for group in groups for row in group.tolist()} == set(
        map(tuple, neighbours(space, space.largest()).tolist())
    )
