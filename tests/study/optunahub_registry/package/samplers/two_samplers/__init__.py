"""A package with two samplers, one of which cannot be seeded."""

import optuna


class First(optuna.samplers.RandomSampler):
    """Random."""


class Unseeded(optuna.samplers.RandomSampler):
    """Another one every time."""

    def __init__(self) -> None:
        super().__init__()
