"""Exact fronts against listing every network."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from edgenas.core.errors import InfeasibleError, UsageError
from edgenas.pareto import non_dominated
from edgenas.searchers.arrays.exact import ExactFront, FrontProgram, efficient
from edgenas.searchers.arrays.terms import Additive, GeneSum
from edgenas.spaces import get
from edgenas.spaces.fold import Fold, macs, params
from edgenas.spaces.listing import listing


def linear(space: object, seed: int = 5) -> GeneSum:
    rng = np.random.default_rng(seed)
    n = int(space.n_options.sum())  # type: ignore[attr-defined]
    return GeneSum.from_linear(space, rng.normal(size=n), offset=0.5)  # type: ignore[arg-type]


def listed(
    every: np.ndarray,
    objectives: Mapping[str, Additive],
    large: Sequence[str] = (),
    limits: Sequence[tuple[Additive, float]] = (),
) -> np.ndarray:
    """Returns the values of the true front, minimised, each once."""
    signs = np.array([-1.0 if name in large else 1.0 for name in objectives])
    values = np.stack([quantity(every) for quantity in objectives.values()], axis=1) * signs
    fine = np.ones(len(every), dtype=bool)
    for quantity, limit in limits:
        own = [s for s, o in zip(signs, objectives.values(), strict=True) if o is quantity]
        sign = own[0] if own else 1.0
        fine &= sign * quantity(every) <= sign * limit
    values = values[fine]
    return np.unique(np.round(values[non_dominated(values)], 9), axis=0)


def minimised(
    front: ExactFront, objectives: Mapping[str, Additive], large: Sequence[str]
) -> np.ndarray:
    signs = np.array([-1.0 if name in large else 1.0 for name in objectives])
    return np.unique(np.round(front.values * signs, 9), axis=0)


CASES = [
    (("latency", "macs"), ("macs",), ()),
    (("latency", "linear"), ("linear",), ()),
    (("latency", "linear", "params"), ("linear",), ()),
    (("latency", "linear", "params", "macs"), ("linear", "macs"), ()),
    (("latency", "peak"), (), ()),
    (("linear", "peak"), ("linear",), ()),
    (("latency", "linear"), ("linear",), ("peak", "macs")),
    (("latency", "linear"), ("linear",), ("latency", "linear")),
    (("linear",), ("linear",), ("latency",)),
]


@pytest.mark.parametrize(("names", "large", "limited"), CASES)
def test_the_front_is_the_listed_one(
    small, names: Sequence[str], large: Sequence[str], limited: Sequence[str]
) -> None:
    known = {
        "latency": small.latency,
        "macs": small.macs,
        "params": small.params,
        "peak": small.peak,
        "linear": linear(small.space),
    }
    objectives = {name: known[name] for name in names}
    limits = [(known[name], float(np.median(known[name](small.every)))) for name in limited]
    front = FrontProgram(objectives, maximised=large, limits=limits).front()
    assert front.exact
    wanted = listed(small.every, objectives, large, limits)
    np.testing.assert_allclose(minimised(front, objectives, large), wanted, atol=2e-9)
    for quantity, column in zip(objectives.values(), front.values.T, strict=True):
        np.testing.assert_array_equal(quantity(front.genes), column)
    np.testing.assert_array_equal(small.space.canonical(front.genes), front.genes)


def test_the_front_of_a_repeated_cell_is_the_listed_one() -> None:
    """Its factors are taken together: sums of them, and the greatest of their peaks."""
    space = get("dpp_net_tiny", max_layers=2)
    every = listing(space)
    assert every is not None
    assert len(every) == 18 + 18**2
    rng = np.random.default_rng(2)
    tables = [rng.integers(1, 100, len(table)).astype(float) for table in space.combination_ops]
    latency = Fold(space, tables, offset=3.0)
    peak = Fold(space, [rng.permutation(table) for table in tables], how="max")
    for objectives, limits in (
        ({"latency": latency, "linear": linear(space)}, [(macs(space), 2e6)]),
        ({"peak": peak, "linear": linear(space), "macs": macs(space)}, []),
    ):
        program = FrontProgram(objectives, maximised=("linear",), limits=limits)
        wanted = listed(every, objectives, ("linear",), limits)
        found = minimised(program.front(), objectives, ("linear",))
        np.testing.assert_allclose(found, wanted, atol=2e-9)
        assert max(len(step.values) for step in program._steps) == 2  # the lengths


def test_boxes_keep_the_error_that_they_tell(small) -> None:
    objectives = {"latency": small.latency, "linear": linear(small.space)}
    true = FrontProgram(objectives, maximised=("linear",)).front()
    rough = FrontProgram(objectives, maximised=("linear",), max_labels=6).front()
    assert true.exact
    assert not rough.exact
    assert rough.errors[1] == 0  # all of the error is in the first
    assert len(rough.genes) < len(true.genes)
    signs = np.array([1.0, -1.0])
    for member in true.values * signs:
        reach = rough.values * signs <= member + np.array(rough.errors) + 1e-9
        assert reach.all(axis=1).any()


def test_a_space_of_ten_to_the_nineteen() -> None:
    space = get("ofa_mbv3_w1.2", resolutions=[160, 224])
    objectives = {"macs": macs(space), "linear": linear(space)}
    front = FrontProgram(objectives, maximised=("linear",), limits=[(params(space), 6e6)]).front()
    assert front.exact
    assert (params(space)(front.genes) <= 6e6).all()
    assert len(front.genes) > 10
    rng = np.random.default_rng(0)
    rows = space.sample(3000, rng)
    rows = rows[params(space)(rows) <= 6e6]
    points = np.column_stack([macs(space)(rows), -linear(space)(rows)])
    members = np.column_stack([front.values[:, 0], -front.values[:, 1]])
    for point in points:  # nothing that was drawn is better than the front
        assert (members <= point + 1e-9).all(axis=1).any()


def test_refusals(small) -> None:
    with pytest.raises(InfeasibleError, match=r"keeps the limits 0\.001 together"):
        FrontProgram({"m": small.macs}, limits=[(small.latency, 0.001)]).front()
    with pytest.raises(UsageError, match="at least one objective"):
        FrontProgram({})
    with pytest.raises(UsageError, match="max_labels is 0"):
        FrontProgram({"m": small.macs}, max_labels=0)
    with pytest.raises(UsageError, match="of one space"):
        FrontProgram({"m": small.macs, "p": params(get("mbv3_tiny"))})
    with pytest.raises(UsageError, match="cannot be maximised"):
        FrontProgram({"p": small.peak}, maximised=("p",))


@pytest.mark.parametrize("n_columns", [1, 2, 3])
def test_efficient_rows_by_group(n_columns: int) -> None:
    rng = np.random.default_rng(n_columns)
    values = rng.integers(0, 6, (200, n_columns)).astype(float)
    groups = rng.integers(0, 4, 200)
    kept = efficient(values, groups)
    for group in range(4):
        rows = np.flatnonzero(groups == group)
        wanted = np.unique(values[rows][non_dominated(values[rows])], axis=0)
        found = values[kept[groups[kept] == group]]
        assert len(found) == len(np.unique(found, axis=0))
        np.testing.assert_array_equal(np.unique(found, axis=0), wanted)
    assert len(efficient(values[:0], groups[:0])) == 0
