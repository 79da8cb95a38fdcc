"""A small space of every kind, and a slice of the digits."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.spaces.base import SearchSpace
from tests.oneshot.mixed.small_spaces import KINDS, small


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def space(kind: str) -> SearchSpace:
    return small(kind)


@pytest.fixture
def dataset() -> ImageDataset:
    digits = load_dataset("digits")
    digits.train = digits.train.take(np.arange(160))
    return digits
