"""PNAS and DPP-Net: progressive search."""

from typing import ClassVar

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, objective
from edgenas.searchers import DppNetSearcher, PnasSearcher, SearchProblem, make_searcher
from edgenas.searchers.dpp_net import DppNetSettings
from edgenas.searchers.neural.recurrent import RecurrentSurrogate
from edgenas.searchers.pnas import PnasSettings
from edgenas.searchers.progressive import ProgressiveSearcher
from edgenas.spaces.base import Factor, Gene, SearchSpace
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


@pytest.mark.parametrize("kind", [PnasSearcher, DppNetSearcher])
def test_a_level_sets_one_more_gene_of_what_the_last_one_kept(
    kind: type[ProgressiveSearcher],
) -> None:
    searcher = kind(tiny_problem(), settings=kind.Settings(beam_size=2, n_hidden=8, n_steps=5))
    levels, seen = searcher.levels, {tuple(tiny_space().smallest().tolist())}
    while searcher._level < len(levels):
        level, beam = searcher._level, set(map(tuple, searcher._beam.tolist()))
        assert len(beam) <= 2
        assert beam <= seen
        for evaluation in run(searcher, searcher._round_size()):
            genes = evaluation.arch.genes
            assert {c for c, option in enumerate(genes) if option} <= set(levels[: level + 1])
            assert any(_others(genes, levels[level]) == _others(b, levels[level]) for b in beam)
            seen.add(genes)


def _others(genes: tuple[int, ...], column: int) -> tuple[int, ...]:
    return genes[:column] + genes[column + 1 :]


def binary(n: int) -> SearchSpace:
    genes = tuple(Gene(f"g{i}", (0, 1)) for i in range(n))
    factors = tuple(Factor(gene.name, (gene.name,), lambda _: ()) for gene in genes)
    return SearchSpace("binary", genes, factors, parameters={}, n_classes=2)


@pytest.mark.parametrize("kind", [PnasSearcher, DppNetSearcher])
@pytest.mark.parametrize("best", [0, 1])
def test_first_options_are_kept_where_they_are_better(
    kind: type[ProgressiveSearcher], best: int
) -> None:
    space = binary(8)
    problem = SearchProblem(space, (objective("accuracy"),))
    searcher = kind(problem, settings=kind.Settings(beam_size=2, n_hidden=8))
    while searcher._level < 8:
        for arch in searcher.ask(1):
            accuracy = np.mean(np.array(arch.genes) == best)
            searcher.tell([Evaluation(arch, "complete", {"accuracy": float(accuracy)})])
    assert searcher._beam[0].tolist() == [best] * 8
    assert searcher.n_told <= 1 + 2 * 8  # nothing but extensions


def test_what_breaks_a_limit_on_accuracy_is_learned_from_too() -> None:
    problem = SearchProblem(binary(6), (objective("accuracy"),), (Constraint("accuracy", 0.95),))
    searcher = PnasSearcher(problem, settings=PnasSettings(beam_size=2, n_hidden=8))
    for _ in range(14):
        (arch,) = searcher.ask(1)
        accuracy = float(np.mean(arch.genes))
        searcher.tell([Evaluation(arch, "infeasible", {"accuracy": accuracy}, None, 0.1)])
    assert searcher._beam[0].sum() >= 4


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
    fresh = pnas._candidates_now
    assert not {e.arch.genes for e in told} & set(map(tuple, fresh.tolist()))
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
