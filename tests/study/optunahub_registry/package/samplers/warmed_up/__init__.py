"""A package in the form of OptunaHub's registry, for tests."""

from .sampler import WarmedUpSampler  # noqa: TID252  # as packages there do

__all__ = ["WarmedUpSampler"]
