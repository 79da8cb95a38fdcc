"""Proposals of what a differentiable search has learned."""

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.core.objective import objective
from edgenas.searchers import make_searcher
from edgenas.searchers.probabilities import (
    Probabilities,
    ProbabilitiesSearcher,
    ProbabilitiesSettings,
)
from edgenas.searchers.problem import SearchProblem
from edgenas.spaces.fold import macs
from edgenas.spaces.listing import listing
from edgenas.testing.searcher_contract import SearcherContract, run, tiny_problem
from tests.oneshot.mixed.small_spaces import small


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


def test_the_likeliest_is_near_its_limit_where_that_is_asked() -> None:
    """A broad distribution's likeliest network is cheap: the limit would go unused."""
    space = small("fbnet")
    fold = macs(space)
    problem = SearchProblem(
        space, (objective("n_macs"),), cheap=lambda rows: {"n_macs": fold(rows)}
    )
    options = {
        gene.name: [0.2, *[0.8 / (n - 1)] * (n - 1)]
        for gene, n in zip(space.genes, space.n_options.tolist(), strict=True)
    }
    every = listing(space)
    assert every is not None
    limit = float(np.quantile(fold(every), 0.6))
    used = {}
    for share in (0.0, 0.95):
        one = Probabilities(options, (f"n_macs <= {limit}",), least_use=share)
        searcher = ProbabilitiesSearcher(problem, settings=ProbabilitiesSettings([one]))
        found = searcher.likeliest(0)
        assert found is not None
        np.testing.assert_array_equal(searcher.ask(1)[0].row, found)
        used[share] = float(fold(found[None])[0]) / limit
    assert used[0.0] < 0.5
    assert 0.95 <= used[0.95] <= 1
    # Where no network is so near, the likeliest that is allowed is better than none.
    low = Probabilities(options, (f"n_macs <= {10 * fold(every).max()}",), least_use=0.95)
    searcher = ProbabilitiesSearcher(problem, settings=ProbabilitiesSettings([low]))
    np.testing.assert_array_equal(searcher.likeliest(0), space.smallest())
