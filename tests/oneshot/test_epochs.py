"""Epochs: every image once, shares for threads and processes, and any step as the first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgenas.core.errors import DataError
from edgenas.oneshot.data import ImageDataset
from edgenas.oneshot.epochs import Epoch, n_steps_of
from tests.oneshot.conftest import few_digits


def epoch(dataset: ImageDataset, **settings: Any) -> Epoch:
    given: dict[str, Any] = {"seed": (0, 1, 2), "batch_size": 32, "n_shares": 2, "augment": True}
    return Epoch(dataset, **{**given, "sample_size": sizes, **settings})


def sizes(rng: np.random.Generator) -> tuple[int, int]:
    side = int(rng.choice([12, 16, 20]))
    return side, side


def test_every_image_comes_at_most_once(dataset: ImageDataset) -> None:
    plans = [epoch(dataset).plan(i) for i in range(6)]
    seen = np.concatenate([request.index for plan in plans for request in plan.requests])
    assert len(seen) == len(set(seen)) == 192
    assert n_steps_of(dataset, 32) == 6
    other = epoch(dataset, seed=(0, 1, 3)).plan(0).requests[0].index
    assert not np.array_equal(other, plans[0].requests[0].index)


def test_sizes_and_seeds_change_from_step_to_step(dataset: ImageDataset) -> None:
    plans = [epoch(dataset).plan(i) for i in range(6)]
    assert len({plan.seed for plan in plans}) == 6
    assert len({plan.size for plan in plans}) > 1
    assert len({request.seed for plan in plans for request in plan.requests}) == 12
    assert all(request.size == plan.size for plan in plans for request in plan.requests)


def test_an_epoch_entered_in_its_middle_goes_on_as_if_from_its_beginning(
    dataset: ImageDataset,
) -> None:
    whole = dict(epoch(dataset).steps())
    rest = dict(epoch(dataset).steps(4))
    assert list(rest) == [4, 5]
    for i, shares in rest.items():
        for share, other in zip(shares, whole[i], strict=True):
            assert torch.equal(share.images, other.images)
            assert torch.equal(share.labels, other.labels)
            assert (share.size, share.seed) == (other.size, other.seed)


def test_processes_have_the_shares_that_threads_have(dataset: ImageDataset) -> None:
    (_, threads), *_ = epoch(dataset).steps()
    for rank in (0, 1):
        (_, (share,)), *_ = epoch(dataset, n_shares=1, n_processes=2, rank=rank).steps()
        assert torch.equal(share.images, threads[rank].images)
        assert share.seed == threads[0].seed


@pytest.mark.parametrize(("batch_size", "n_shares", "lengths"), [(5, 8, [3, 2]), (2, 8, [2])])
def test_a_share_has_two_images_at_least(
    dataset: ImageDataset, batch_size: int, n_shares: int, lengths: list[int]
) -> None:
    (_, shares), *_ = epoch(dataset, batch_size=batch_size, n_shares=n_shares).steps()
    assert [len(share.labels) for share in shares] == lengths


def test_too_few_images_are_refused(dataset: ImageDataset) -> None:
    assert n_steps_of(few_digits(20), 32) == 1
    with pytest.raises(DataError, match="1 training images; batch norms need at least 2"):
        n_steps_of(few_digits(1), 32)
