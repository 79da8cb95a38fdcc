"""PNAS and DPP-Net: progressive search."""

from typing import ClassVar

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.searchers import DppNetSearcher, PnasSearcher, make_searcher
from edgenas.searchers.dpp_net import DppNetSettings
from edgenas.searchers.neural.recurrent import RecurrentSurrogate
from edgenas.searchers.pnas import PnasSettings
from edgenas.searchers.progressive import ProgressiveSearcher
from edgenas.testing.searcher_contract import (
    SearcherContract,
    every_architecture,
    run,
    tiny_costs,
    tiny_problem,
    tiny_space,
)

SMALL = {"beam_size": 4, "n_hidden": 8, "n_steps": 5}


class TestPnasContract(SearcherContract):
    factory = "edgenas.searchers.pnas:PnasSearcher"
    settings: ClassVar = SMALL


class TestDppNetContract(SearcherContract):
    factory = "edgenas.searchers.dpp_net:DppNetSearcher"
    settings: ClassVar = SMALL


def changed_columns(rows: np.ndarray) -> set[int]:
    return set(np.flatnonzero((rows != 0).any(axis=0)).tolist())


@pytest.mark.parametrize("kind", [PnasSearcher, DppNetSearcher])
def test_a_round_sets_one_more_gene_of_what_the_last_one_evaluated(
    kind: type[ProgressiveSearcher],
) -> None:
    searcher = kind(tiny_problem(), settings=kind.Settings(beam_size=2, n_hidden=8, n_steps=5))
    levels, beam = searcher.levels, [tiny_space().smallest()]
    for level in range(len(levels)):
        told = run(searcher, 2)
        rows = np.array([e.arch.genes for e in told], np.int8)
        assert changed_columns(rows) <= set(levels[: level + 1])
        for row in rows:
            others = [c for c in range(len(row)) if c != levels[level]]
            assert any((row[others] == np.array(before)[others]).all() for before in beam)
        beam = [e.arch.row for e in told if e.status == "complete"] or beam


class Oracle:
    """A surrogate that is right."""

    def __call__(self, population: np.ndarray) -> np.ndarray:
        return -tiny_costs(population)["accuracy"]

    def update(self, population: np.ndarray, values: np.ndarray) -> None:
        """Know everything already."""


def with_oracle(kind: type[ProgressiveSearcher]) -> ProgressiveSearcher:
    searcher = kind(tiny_problem(), settings=kind.Settings(beam_size=3))
    searcher.__dict__["_surrogate"] = Oracle()
    return searcher


def test_pnas_keeps_the_most_accurate_and_dpp_net_the_front() -> None:
    pnas, dpp_net = with_oracle(PnasSearcher), with_oracle(DppNetSearcher)
    told = run(pnas, 3)  # the three depths
    dpp_net.tell(told)
    around = pnas._extensions()
    known = {e.arch.genes for e in told}
    fresh = np.array([row for row in around if tuple(row.tolist()) not in known], np.int8)
    costs = tiny_costs(fresh)
    best = fresh[np.argsort(-costs["accuracy"])][:3]
    assert [arch.genes for arch in pnas.ask(3)] == list(map(tuple, best.tolist()))
    for arch in dpp_net.ask(3):
        own = tiny_costs(arch.row[None])
        beats = (costs["accuracy"] > own["accuracy"]) & (costs["latency_ms"] < own["latency_ms"])
        assert not beats.any()


def test_beyond_the_last_level_neighbours_of_the_front_follow() -> None:
    searcher = make_searcher("dpp_net", tiny_problem(), settings=SMALL)
    told = run(searcher, 200)
    assert len({e.arch for e in told}) == 200


def test_the_surrogate_learns_and_goes_on_learning() -> None:
    space, every = tiny_space(), every_architecture(tiny_space())
    rows = np.random.default_rng(0).permutation(every)
    truth = -tiny_costs(rows)["accuracy"]
    surrogate = RecurrentSurrogate(space, n_hidden=32, rate=0.01, n_steps=30, seed=0)
    errors = []
    for n in (20, 60, 120):
        surrogate.update(rows[:n], truth[:n])
        left = surrogate(rows[150:])
        errors.append(float(np.sqrt(np.mean((left - truth[150:]) ** 2))))
    assert errors[2] < 0.6 * errors[0]
    assert errors[2] < 0.35 * truth.std()


def test_two_of_one_seed_predict_the_same_and_leave_torch_s_own_seed_alone() -> None:
    import torch

    space, every = tiny_space(), every_architecture(tiny_space())
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    made = [RecurrentSurrogate(space, n_hidden=8, rate=0.01, n_steps=3, seed=5) for _ in range(2)]
    assert torch.rand(1) == expected
    for one in made:
        one.update(every[:10], np.arange(10.0))
    assert made[0](every).tolist() == made[1](every).tolist()


@pytest.mark.parametrize("kind", [PnasSettings, DppNetSettings])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_size": 0}, "beam_size is at least 1"),
        ({"n_steps": 0}, "n_steps is at least 1"),
        ({"rate": 0.0}, "rate is above 0"),
    ],
)
def test_wrong_settings_are_refused(
    kind: type[PnasSettings] | type[DppNetSettings], settings: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**settings)
