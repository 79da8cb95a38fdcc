"""Regularised evolution."""

from typing import ClassVar

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.searchers import make_searcher
from edgenas.searchers.neighbours import neighbours
from edgenas.searchers.regularized_evolution import RegularizedEvolutionSettings
from edgenas.testing.searcher_contract import SearcherContract, run, tiny_problem


class TestContract(SearcherContract):
    factory = "edgenas.searchers.regularized_evolution:RegularizedEvolutionSearcher"
    settings: ClassVar = {"population_size": 8, "sample_size": 4}


def test_the_paper_s_defaults() -> None:
    searcher = make_searcher("regularized_evolution", tiny_problem())
    assert searcher.settings == RegularizedEvolutionSettings(100, 25)


def test_a_child_differs_in_one_gene_from_one_of_the_youngest() -> None:
    settings = {"population_size": 10, "sample_size": 5}
    searcher = make_searcher("regularized_evolution", tiny_problem(), settings=settings)
    told = [e.arch.row for e in run(searcher, 60)]
    space = searcher.problem.space
    for i in range(10, 60):
        around = np.concatenate([neighbours(space, row) for row in told[i - 10 : i]])
        assert (around == told[i]).all(axis=1).any()


@pytest.mark.parametrize("sample_size", [0, 9])
def test_a_sample_is_part_of_the_population(sample_size: int) -> None:
    with pytest.raises(UsageError, match="sample_size is at least 1 and at most"):
        RegularizedEvolutionSettings(8, sample_size)
