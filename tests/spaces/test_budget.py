"""Budget programmes against brute force over small spaces; refusals; uniform samples."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from edgenas.core.architecture import Genes
from edgenas.core.errors import InfeasibleError, SpaceError
from edgenas.core.ops import OpSpec
from edgenas.spaces import budget, fold, get
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import Fold
from edgenas.testing.space_contract import every_genes, width_space


def all_networks(space: SearchSpace) -> Genes:
    genes: Genes = np.unique(space.canonical(every_genes(space)), axis=0)
    return genes


def nothing(*options: object) -> tuple[OpSpec, ...]:
    return ()


def nested_space() -> SearchSpace:
    """Genes that hang on genes that hang on genes; some are read by no factor with a parent."""
    genes = (
        Gene("leaf", (0, 1, 2), "twig", (0, 2)),  # active under the first option of the twig
        Gene("twig", (0, 1, 2), "branch", (1,)),
        Gene("free", (0, 1)),
        Gene("branch", (0, 1)),
        Gene("far", (0, 1, 2), "branch", (0,)),
        Gene("unread", (0, 1), "leaf", (0,)),
    )
    factors = (
        Factor("one", ("leaf", "free"), nothing),
        Factor("two", ("branch", "free"), nothing),
        Factor("three", ("far",), nothing),
        Factor("none", (), nothing),
        Factor("four", ("far", "twig"), nothing),
    )
    return SearchSpace("nested", genes, factors, parameters={}, n_classes=1)


def sequence_space() -> SearchSpace:
    """Two sequences, one of which is out of order and read together with another gene."""
    genes = (
        Gene("b", (0, 1, 2)),
        Gene("wide", (0, 1)),
        Gene("a", (0, 1, 2)),
        Gene("c", (0, 1, 2)),
        Gene("x", (0, 1)),
        Gene("y", (0, 1)),
    )
    factors = (
        Factor("first", ("wide", "a"), nothing),
        Factor("second", ("b",), nothing),
        Factor("third", ("c", "wide"), nothing),
        Factor("fourth", ("x",), nothing),
    )
    sequences = (("a", "b", "c"), ("x", "y"))
    return SearchSpace("sequence", genes, factors, parameters={}, n_classes=1, sequences=sequences)


def repeated_space() -> SearchSpace:
    """A cell of up to three parts, which the network repeats with what its length decides."""
    genes = (
        Gene("first", (0, 1, 2)),
        Gene("length", (1, 2, 3)),
        Gene("second", (0, 1, 2), "length", (2, 3)),
        Gene("third", (0, 1), "length", (3,)),
    )
    parts = [("length", part) for part in ("first", "second", "third")]
    factors = [Factor(f"{stage}.{part[1]}", part, nothing) for stage in range(3) for part in parts]
    factors.insert(4, Factor("between", ("length",), nothing))
    factors.append(Factor("head", ("length",), nothing))
    return SearchSpace("repeated", genes, tuple(factors), parameters={}, n_classes=1)


def random_fold(space: SearchSpace, seed: int, *, whole: bool, offset: float = 0.0) -> Fold:
    rng = np.random.default_rng(seed)
    sizes = [len(table) for table in space.combination_ops]
    tables = [
        rng.integers(0, 12, n).astype(float) if whole else rng.gamma(2.0, 1.0, n) for n in sizes
    ]
    return Fold(space, tables, offset=offset)


SPACES: dict[str, Callable[[], SearchSpace]] = {
    "nested": nested_space,
    "width": width_space,
    "sequence": sequence_space,
    "repeated": repeated_space,
}


@pytest.mark.parametrize("make", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("whole", [True, False])
def test_extremes_and_size_are_exact(
    make: Callable[[], SearchSpace], seed: int, *, whole: bool
) -> None:
    space = make()
    networks = all_networks(space)
    cost = random_fold(space, seed, whole=whole, offset=1.5)
    program = BudgetProgram(cost)
    values = cost(networks)
    for (value, genes), wanted in (
        (program.least(), values.min()),
        (program.greatest(), values.max()),
    ):
        assert value == pytest.approx(wanted, rel=1e-12)
        assert value == cost(genes[None])[0]
        assert np.array_equal(space.canonical(genes[None])[0], genes)
    assert program.size() == len(networks)


@pytest.mark.parametrize("make", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("seed", range(6))
def test_whole_numbers_are_counted_exactly(make: Callable[[], SearchSpace], seed: int) -> None:
    space = make()
    cost = random_fold(space, seed, whole=True, offset=2.0)
    program = BudgetProgram(cost)
    values = cost(all_networks(space))
    for limit in np.arange(values.min() - 2, values.max() + 2, 0.5):
        assert program.count(float(limit)) == (values <= limit).sum()


@pytest.mark.parametrize("make", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("seed", range(6))
def test_other_numbers_are_counted_from_below(make: Callable[[], SearchSpace], seed: int) -> None:
    space = make()
    cost = random_fold(space, seed, whole=False, offset=0.3)
    values = np.sort(cost(all_networks(space)))
    fine, coarse = BudgetProgram(cost), BudgetProgram(cost, n_bins=200)
    for limit in np.linspace(values[0], values[-1], 8):
        exact = (values <= limit).sum()
        for program in (fine, coarse):
            slack = (limit - 0.3) * len(space.factors) / program.n_bins
            least = max(1, (values <= limit - slack).sum())
            assert least <= program.count(float(limit)) <= exact
    assert fine.count(float(values[-1])) == len(values)
    assert fine.count(float(values[0]) * 0.999) == 0


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1), whole=st.booleans(), n=st.integers(1, 9))
def test_samples_never_cost_more_than_the_budget(
    seed: int, share: float, whole: bool, n: int
) -> None:
    space = nested_space()
    cost = random_fold(space, seed, whole=whole, offset=0.7)
    program = BudgetProgram(cost, n_bins=300)
    least, greatest = program.least()[0], program.greatest()[0]
    limit = least + share * (greatest - least)
    rows = program.sample(n, limit, np.random.default_rng(seed))
    assert rows.shape == (n, space.n_genes)
    assert rows.dtype == np.int8
    assert np.array_equal(rows, space.canonical(rows))
    space.check(rows)
    assert cost(rows).max() <= limit


@pytest.mark.parametrize("make", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("whole", [True, False])
def test_samples_are_uniform_over_the_networks_in_the_budget(
    make: Callable[[], SearchSpace], share: float, *, whole: bool
) -> None:
    space = make()
    networks = all_networks(space)
    cost = random_fold(space, 4, whole=whole)
    values = cost(networks)
    limit = float(values.min() + share * np.ptp(values))
    program = BudgetProgram(cost)
    allowed = [tuple(row) for row in networks[values <= limit].tolist()]
    sample = program.sample(200 * len(allowed), limit, np.random.default_rng(7))
    found, counts = np.unique(sample, axis=0, return_counts=True)
    # Where costs are no whole numbers, the very last networks under the budget may be left out.
    assert {tuple(row) for row in found.tolist()} <= set(allowed)
    assert len(found) <= program.count(limit)
    assert len(found) >= len(allowed) * (1.0 if whole else 0.9)
    if len(found) > 1:
        assert chisquare(counts).pvalue > 0.001


def test_a_repeated_cell_leaves_no_more_open_than_the_cell() -> None:
    space = repeated_space()
    together = [places for _, places in budget.groups(space)]
    assert together == [[0, 3, 7], [1, 5, 8], [2, 6, 9], [4], [10]]
    steps = BudgetProgram(random_fold(space, 1, whole=True))._steps
    assert max(len(step.cost) for step in steps) == 3  # the lengths
    cell = get("nas_bench_201", width=4)
    assert [step.cost.shape for step in BudgetProgram(fold.macs(cell))._steps] == [
        (1, 5**6),
        (1, 1),
    ]


def test_samples_follow_from_the_seed() -> None:
    program = BudgetProgram(fold.macs(get("mbv3_tiny")))
    limit = program.least()[0] * 2
    first, again, other = (program.sample(20, limit, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_least_budget_has_its_one_network_and_all_that_tie_with_it() -> None:
    space = get("mbv3_tiny")
    program = BudgetProgram(fold.macs(space))
    least, smallest = program.least()
    assert program.count(least) == 1
    assert np.array_equal(program.sample(3, least, np.random.default_rng(0)), [smallest] * 3)
    tied = Fold(width_space(), [np.ones(len(t)) for t in width_space().combination_ops])
    assert BudgetProgram(tied).count(4.0) == 40
    assert len(
        np.unique(BudgetProgram(tied).sample(800, 4.0, np.random.default_rng(0)), axis=0)
    ) == (40)


@pytest.mark.parametrize("name", ["mbv3_tiny", "ofa_mbv3_w1.0", "fbnet"])
def test_a_tight_latency_budget_is_kept_on_real_spaces(name: str) -> None:
    space = get(name)
    scale = 1 / 3e7
    macs = fold.macs(space)
    cost = Fold(space, [table * scale for table in macs.tables], offset=0.123)
    program = BudgetProgram(cost)
    least, greatest = program.least()[0], program.greatest()[0]
    for share in (0.0, 1e-9, 0.001, 0.1, 0.9, 1.0):
        limit = least + share * (greatest - least)
        sample = program.sample(100, limit, np.random.default_rng(1))
        assert cost(sample).max() <= limit
    assert len(np.unique(sample, axis=0)) == 100


def test_an_impossible_budget_is_refused_with_the_least() -> None:
    space = nested_space()
    cost = random_fold(space, 1, whole=True)
    program = BudgetProgram(cost)
    least = program.least()[0]
    with pytest.raises(InfeasibleError, match=f"or less; the least is {least:g}"):
        program.sample(1, least - 0.5, np.random.default_rng(0))
    assert program.count(least - 0.5) == 0


def test_limits_on_a_maximum_are_kept() -> None:
    space = width_space()
    networks = all_networks(space)
    cost, peak = fold.macs(space), fold.peak_activation_kib(space)
    peaks = peak(networks)
    for limit in np.unique(peaks):
        program = BudgetProgram(cost, limits=[(peak, float(limit))])
        allowed = networks[peaks <= limit]
        assert program.size() == len(allowed)
        assert program.least()[0] == cost(allowed).min()
        assert program.greatest()[0] == cost(allowed).max()
        middle = float(np.median(cost(allowed)))
        sample = program.sample(300, middle, np.random.default_rng(0))
        assert peak(sample).max() <= limit
        assert cost(sample).max() <= middle
    none = BudgetProgram(cost, limits=[(peak, float(peaks.min()) * 0.99)])
    assert none.size() == none.count(1e12) == 0
    for refused in (
        none.least,
        none.greatest,
        lambda: none.sample(1, 1e12, np.random.default_rng(0)),
    ):
        with pytest.raises(InfeasibleError, match="the limits forbid every architecture"):
            refused()


def test_an_offset_counts_towards_a_limit() -> None:
    space = width_space()
    peak = Fold(space, [np.ones(len(t)) for t in space.combination_ops], how="max", offset=2.0)
    cost = fold.macs(space)
    assert BudgetProgram(cost, limits=[(peak, 3.0)]).size() == 40
    assert BudgetProgram(cost, limits=[(peak, 2.9)]).size() == 0


def test_sums_and_maxima_are_not_mixed_up() -> None:
    space = width_space()
    with pytest.raises(SpaceError, match="needs a cost that is a sum"):
        BudgetProgram(fold.peak_activation_kib(space))
    with pytest.raises(SpaceError, match="a limit is on a cost that is a maximum"):
        BudgetProgram(fold.macs(space), limits=[(fold.params(space), 1.0)])


def test_entangled_factors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    space = width_space()
    monkeypatch.setattr(budget, "MAX_STATES", 7)
    with pytest.raises(SpaceError, match="exceed 7; order its factors"):
        BudgetProgram(fold.macs(space))
