"""Listing of small spaces: each network once, large spaces not at all."""

import numpy as np

from edgenas import spaces
from edgenas.spaces import fold
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.listing import listing
from edgenas.testing.space_contract import every_genes, width_space


def test_every_architecture_is_there_once() -> None:
    space = width_space()
    every = listing(space)
    assert every is not None
    expected = np.unique(space.canonical(every_genes(space)), axis=0)
    assert every.tolist() == expected.tolist()
    assert len(every) == BudgetProgram(fold.macs(space)).size()


def test_large_spaces_are_not_listed() -> None:
    assert listing(spaces.get("mbv3_tiny")) is None
