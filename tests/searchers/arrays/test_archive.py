"""Elites: best by cell and unlike each other, best by budget, what was seen."""

import numpy as np

from edgenas.searchers.arrays.archive import Archive, Seen
from edgenas.searchers.arrays.evolution import gene_weights
from edgenas.spaces import get


def archive(**changes: int) -> Archive:
    settings = {"n_elites": 2, "distance": 2, **changes}
    edges = [np.array([1.0, 2.0, 3.0])]
    return Archive(4, edges, np.array([[2.0], [3.0]]), **settings)


def test_elites_are_the_best_unlike_ones_of_their_cell() -> None:
    kept = archive()
    genes = np.array(
        [[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0], [2, 2, 2, 2], [0, 1, 2, 3], [3, 3, 3, 3]],
        dtype=np.int8,
    )
    accuracy = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.99])
    costs = np.array([[0.5], [0.5], [0.5], [0.5], [2.5], [3.5]])
    kept.merge(genes, accuracy, costs)
    # The second is like the first; the fourth is one too many; the last costs too much.
    assert kept.accuracy.tolist() == [0.9, 0.7, 0.5]
    assert kept.best.tolist() == [0.9, 0.9]
    kept.merge(np.array([[2, 0, 2, 0]], dtype=np.int8), np.array([0.95]), np.array([[2.5]]))
    assert kept.best.tolist() == [0.9, 0.95]
    np.testing.assert_array_equal(kept.best_genes[1], [2, 0, 2, 0])
    assert kept.within(np.array([[1.0], [3.0], [3.1]])).tolist() == [True, True, False]


def test_every_elite_is_looked_at_once() -> None:
    kept = archive(n_elites=9, distance=1)
    genes = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [2, 2, 2, 2]], dtype=np.int8)
    kept.merge(genes, np.array([0.9, 0.8, 0.7]), np.array([[0.5], [2.5], [0.5]]))
    rows, owners = kept.to_expand(np.array([0, 1]), 1)
    assert kept.accuracy[rows].tolist() == [0.9, 0.8]  # the second keeps only the second budget
    assert owners.tolist() == [0, 1]
    kept.merge(np.array([[0, 0, 1, 0]], dtype=np.int8), np.array([0.95]), np.array([[0.5]]))
    rows, _ = kept.to_expand(np.array([0, 1]), 1)
    assert kept.accuracy[rows].tolist() == [0.95, 0.7]
    assert len(kept.to_expand(np.array([0, 1]), 1)[0]) == 0


def test_seen_returns_the_first_of_equals_once() -> None:
    seen = Seen(3)
    rows = np.array([[0, 0, 1], [0, 1, 0], [0, 0, 1]], dtype=np.int8)
    assert seen.missing(rows).tolist() == [0, 1]
    assert seen.fresh(rows).tolist() == [0, 1]
    assert seen.missing(rows).tolist() == []
    assert seen.fresh(rows).tolist() == []
    assert seen.fresh(np.array([[2, 0, 1], [0, 1, 0]], dtype=np.int8)).tolist() == [0]
    assert len(np.unique(seen.keys(np.array(list(np.ndindex(9, 9, 9)), dtype=np.int8)))) == 729


def test_an_archive_of_several_costs() -> None:
    edges = [np.array([1.0, 2.0]), np.array([10.0, np.inf])]
    budgets = np.array([[1.0, np.inf], [2.0, 10.0]])
    kept = Archive(2, edges, budgets, n_elites=1, distance=1)
    genes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int8)
    costs = np.array([[0.5, 99.0], [0.6, 5.0], [1.5, 5.0], [1.5, 50.0]])
    kept.merge(genes, np.array([0.4, 0.3, 0.6, 0.9]), costs)
    assert sorted(kept.accuracy.tolist()) == [0.3, 0.4, 0.6, 0.9]
    assert kept.best.tolist() == [0.4, 0.6]
    asked = np.array([[0.1, 1.0], [0.1, 99.0], [2.0, 1.0], [2.0, 99.0], [2.1, 1.0]])
    assert kept.best_within(asked).tolist() == [0.3, 0.4, 0.6, 0.9, np.inf]
    assert Archive(2, edges, budgets, n_elites=1, distance=1).best_within(asked)[0] == -np.inf


def test_genes_that_make_other_designs_count_most() -> None:
    space = get("ofa_mbv3_w1.0")
    weights = dict(zip((gene.name for gene in space.genes), gene_weights(space), strict=True))
    assert weights["resolution"] == weights["stage1.depth"] == 5
    assert {weights[f"stage3.block{i}.kernel"] for i in range(4)} == {1}


def test_elites_differ_by_weight() -> None:
    genes = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 0, 0]], dtype=np.int8)
    archive = Archive(
        3,
        [np.array([1.0])],
        np.array([[1.0]]),
        n_elites=4,
        distance=2,
        weights=np.array([2, 1, 1]),
    )
    archive.merge(genes, np.array([0.9, 0.8, 0.7, 0.6]), np.zeros((4, 1)))
    assert archive.genes.tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 0]]


def test_merging_bit_by_bit_keeps_the_best_of_every_cell() -> None:
    rng = np.random.default_rng(0)
    edges, budgets = [np.linspace(0.1, 1.0, 10)], np.array([[1.0]])
    kept = Archive(6, edges, budgets, n_elites=3, distance=2)
    genes = rng.integers(0, 4, (4000, 6)).astype(np.int8)
    accuracy, costs = rng.random(4000), rng.random((4000, 1))
    for part in np.split(np.arange(4000), 40):
        kept.merge(genes[part], accuracy[part], costs[part])
        # Looked-at elites stay looked at while other cells change.
        kept.expanded |= kept.accuracy > 0.999
    assert (np.diff(kept.cells) >= 0).all()
    for cell in range(10):
        inside = (costs[:, 0] > cell / 10) & (costs[:, 0] <= (cell + 1) / 10)
        own = kept.cells == cell
        assert own.sum() == 3
        assert kept.accuracy[own].max() == accuracy[inside].max()
        assert (np.diff(kept.accuracy[own]) <= 0).all()
        apart = (kept.genes[own][:, None] != kept.genes[own]).sum(axis=2)
        assert (apart[np.triu_indices(3, 1)] >= 2).all()
        # Three unlike ones stand above: a fourth has no place, however often it is offered.
        again = np.flatnonzero(inside & (accuracy < kept.accuracy[own].min()))[:50]
        before = kept.genes.copy()
        kept.merge(genes[again], accuracy[again], costs[again])
        np.testing.assert_array_equal(kept.genes, before)
    assert kept.expanded.tolist() == (kept.accuracy > 0.999).tolist()


def test_budgets_that_others_include_do_not_widen_what_is_allowed() -> None:
    budgets = np.array([[1.0, 9.0], [2.0, 5.0], [1.0, 9.0], [0.5, 9.0], [2.0, 4.0]])
    edges = [np.array([1.0, 2.0]), np.array([5.0, 9.0])]
    kept = Archive(1, edges, budgets, n_elites=1, distance=1)
    costs = np.random.default_rng(0).uniform(0, 10, (500, 2))
    costs[0] = (1.0, 9.0)
    expected = (costs[:, None, :] <= budgets).all(axis=2).any(axis=1)
    np.testing.assert_array_equal(kept.within(costs), expected)
    assert expected.any()
    assert not expected.all()
