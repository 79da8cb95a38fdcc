"""Graphs that the lowerings are tried on."""

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.ops import Graph
from edgenas.spaces.base import SearchSpace


@pytest.fixture(scope="session")
def tiny_space() -> SearchSpace:
    return spaces.get("mbv3_tiny")


@pytest.fixture(scope="session")
def tiny_network(tiny_space: SearchSpace) -> Graph:
    row = tiny_space.sample(1, np.random.default_rng(3))[0]
    return tiny_space.network(row)
