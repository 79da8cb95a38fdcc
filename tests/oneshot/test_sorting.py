"""Channel sorting: the same function, important channels first, trained widths kept."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from edgenas import spaces
from edgenas.oneshot.sorting import sort_channels
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.spaces.base import SearchSpace

JUDGES = {
    "mbv3_tiny": ("stage2.block1", ("project", "se_expand")),
    "resnet_tiny": ("stage2.block1", ("conv3", "conv2")),
}
"""A block of each space, and the layers that judge the channels that they read."""


def _random_supernet(space: SearchSpace) -> Supernet:
    """Return one in which every tensor that goes with a channel differs from channel to channel."""
    supernet = Supernet(space, seed=3, statistics=True)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in supernet.state_dict().items():
            if name.endswith(("norm.weight", "running_var")):
                value.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith(("bias", "running_mean")):
                value.normal_(0, 0.1, generator=generator)
            elif name.endswith(("conv2.weight", "project.weight", "se_expand.weight")):
                shape = (1, value.shape[1], 1, 1)
                value.mul_(torch.empty(shape).uniform_(0.2, 2, generator=generator))
    return supernet


def _importance(supernet: Supernet, part: str, layer: str) -> torch.Tensor:
    weight = supernet.slot(part).get_parameter(f"{layer}.weight").detach()
    return weight.abs().sum(dim=(0, 2, 3))


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_largest_network_computes_what_it_did(name: str, stage: int) -> None:
    space = spaces.get(name)
    supernet = _random_supernet(space).double()  # so that another order of sums is no difference
    row = space.largest()
    images = torch.randn(3, *space.input_shape(row), generator=torch.Generator().manual_seed(0))
    images = images.double()
    with torch.no_grad():
        before = supernet.evaluate(images, space.ops(row)), supernet(images, space.ops(row))
        sort_channels(supernet, stage=stage)
        after = supernet.evaluate(images, space.ops(row)), supernet(images, space.ops(row))
        alone = extract(supernet, space, row).eval().double()(images)
    for old, new in zip((*before, before[0]), (*after, alone), strict=True):
        assert (new - old).abs().max() <= 1e-6 * old.abs().max()


@pytest.mark.parametrize("name", JUDGES)
def test_important_channels_come_first(name: str) -> None:
    supernet = _random_supernet(spaces.get(name))
    part, layers = JUDGES[name]
    before = [_importance(supernet, part, layer) for layer in layers]
    assert all((one.diff() > 0).any() for one in before)
    sort_channels(supernet)
    for layer, old in zip(layers, before, strict=True):
        found = _importance(supernet, part, layer)
        assert (found.diff() <= 0).all()
        torch.testing.assert_close(found, old.sort(descending=True).values)


def test_channels_that_narrower_networks_use_stay_in_front() -> None:
    space = spaces.get("mbv3_tiny")  # expansions 2, 3, 4
    for stage, widths in ((1, [120]), (2, [80, 120])):
        supernet = _random_supernet(space)
        old = _importance(supernet, "stage2.block1", "project")
        assert len(old) == 160
        sort_channels(supernet, stage=stage)
        found = _importance(supernet, "stage2.block1", "project")
        bounds = [0, *widths, 160]
        for start, stop in pairwise(bounds):
            expected = old[start:stop].sort(descending=True).values
            torch.testing.assert_close(found[start:stop], expected)


def test_sorting_again_changes_nothing() -> None:
    supernet = _random_supernet(spaces.get("mbv3_tiny"))
    sort_channels(supernet)
    once = {name: value.clone() for name, value in supernet.state_dict().items()}
    sort_channels(supernet)
    assert all(torch.equal(value, once[name]) for name, value in supernet.state_dict().items())


def test_blocks_of_one_width_stay_as_they_are() -> None:
    space = spaces.get("mbv3_tiny", expansions=[3])
    supernet = _random_supernet(space)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    sort_channels(supernet)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
