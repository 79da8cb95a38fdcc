"""Proposals of what a differentiable search has learned."""

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.searchers import make_searcher
from edgenas.searchers.probabilities import (
    Probabilities,
    ProbabilitiesSearcher,
    ProbabilitiesSettings,
)
from edgenas.testing.searcher_contract import SearcherContract, run, tiny_problem


class TestContract(SearcherContract):
    factory = "edgenas.searchers.probabilities:ProbabilitiesSearcher"


def skewed(strength: float = 0.9) -> dict[str, list[float]]:
    """Return probabilities that prefer the last option of every gene."""
    space = tiny_problem().space
    found = {}
    for gene in space.genes:
        n = len(gene.options)
        if n > 1:
            found[gene.name] = [*[(1 - strength) / (n - 1)] * (n - 1), strength]
    return found


def test_the_likeliest_comes_first_and_then_draws() -> None:
    settings = ProbabilitiesSettings((Probabilities(skewed()),))
    searcher = ProbabilitiesSearcher(tiny_problem(), settings=settings)
    asked = searcher.ask(20)
    space = searcher.problem.space
    assert asked[0].row.tolist() == space.largest().tolist()
    others = np.array([arch.row for arch in asked[1:]])
    uniform = np.array([a.row for a in ProbabilitiesSearcher(tiny_problem()).ask(20)])
    assert others.mean() > uniform.mean()


def test_every_distribution_keeps_its_own_limits() -> None:
    problem = tiny_problem()
    assert problem.cheap is not None
    costs = problem.cheap(problem.space.sample(200, np.random.default_rng(0)))["latency_ms"]
    low, high = np.quantile(costs, [0.3, 0.7])
    settings = ProbabilitiesSettings(
        tuple(Probabilities(skewed(), (f"latency_ms <= {limit}",)) for limit in (low, high))
    )
    asked = ProbabilitiesSearcher(problem, settings=settings).ask(10)
    found = problem.cheap(np.array([arch.row for arch in asked]))["latency_ms"]
    assert (found[0::2] <= low).all()
    assert (found[1::2] <= high).all()
    assert found[1] > low


def test_settings_come_from_a_file_too() -> None:
    plain = [{"options": skewed(), "limits": ["latency_ms <= 3"]}]
    searcher = make_searcher("probabilities", tiny_problem(), settings={"distributions": plain})
    assert len(run(searcher, 10)) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nothing": [1.0]}, "probabilities of nothing, which is no gene"),
        ({tiny_problem().space.genes[0].name: [0.5, 0.6]}, "allowed: .* that are not negative"),
    ],
)
def test_what_are_no_probabilities_is_refused(
    options: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ProbabilitiesSearcher(
            tiny_problem(), settings=ProbabilitiesSettings((Probabilities(options),))
        )
