"""Linear predictors as sums over canonical genes."""

import numpy as np
import pytest

from edgenas.core.errors import SpaceError
from edgenas.searchers.arrays.terms import GeneSum
from edgenas.spaces import get
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.blocks import conv_block


@pytest.mark.parametrize("name", ["mbv3_tiny", "ofa_mbv3_w1.2", "proxylessnas", "resnet_tiny"])
def test_a_linear_function_of_the_features_is_a_sum_over_genes(name: str) -> None:
    space, rng = get(name), np.random.default_rng(1)
    rows = space.sample(200, rng)
    coefficients = rng.normal(size=int(space.n_options.sum()))
    found = GeneSum.from_linear(space, coefficients, offset=0.5)
    np.testing.assert_allclose(found(rows), space.encode(rows) @ coefficients + 0.5, rtol=1e-6)


def test_chains_of_conditions_whose_first_options_are_active() -> None:
    stem = conv_block((1, 8, 8), 8, kernel=3, stride=1, activation="relu")
    genes = (
        Gene("a", (0, 1, 2)),
        Gene("b", (0, 1), parent="a", active_under=(0, 2)),
        Gene("c", (0, 1, 2), parent="b", active_under=(0,)),
    )
    factor = Factor("all", ("a", "b", "c"), lambda a, b, c: (stem,))
    space = SearchSpace("chain", genes, (factor,), parameters={}, n_classes=2)
    rng = np.random.default_rng(2)
    rows = np.unique(space.sample(300, rng), axis=0)
    coefficients = rng.normal(size=8)
    found = GeneSum.from_linear(space, coefficients)
    np.testing.assert_allclose(found(rows), space.encode(rows) @ coefficients, atol=1e-6)


def test_shapes_are_checked() -> None:
    space = get("mbv3_tiny")
    with pytest.raises(SpaceError, match="features, got coefficients of shape"):
        GeneSum.from_linear(space, [1.0, 2.0])
    with pytest.raises(SpaceError, match="one array of weights a gene"):
        GeneSum(space, [[1.0]])
