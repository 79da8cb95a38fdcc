"""A small space, a slice of the digits, and a supernet that saw them for a moment."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas import spaces
from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.supernet import Supernet
from edgenas.oneshot.training import train_supernet
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.ofa_mbv3 import Stage

SETTINGS = TrainingSettings(epochs=2, batch_size=32, lr=0.05)


def small_space() -> SearchSpace:
    return spaces.get(
        "mbv3_tiny",
        stem_width=8,
        first_width=8,
        stages=(
            Stage(16, 2, (1, 2), squeeze_excite=True, activation="h_swish"),
            Stage(24, 1, (1, 2), squeeze_excite=False, activation="relu"),
        ),
        final_width=32,
        mix_width=40,
        expansions=(2, 4),
        resolutions=(12, 16),
    )


def few_digits(n_train: int = 200) -> ImageDataset:
    dataset = load_dataset("digits")
    dataset.train = dataset.train.take(np.arange(n_train))
    return dataset


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return small_space()


@pytest.fixture
def dataset() -> ImageDataset:
    return few_digits()


@pytest.fixture
def settings() -> TrainingSettings:
    return SETTINGS


@pytest.fixture(scope="session")
def trained() -> Supernet:
    supernet = Supernet(small_space())
    train_supernet(supernet, small_space(), few_digits(), SETTINGS)
    return supernet
