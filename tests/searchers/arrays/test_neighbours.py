"""Moves: all of one part's choices, applied to whole populations."""

from itertools import combinations

import numpy as np

from edgenas.searchers.arrays.neighbours import Moves
from edgenas.spaces import get


def test_moves_reach_every_choice_of_a_block_that_begins_to_run() -> None:
    space = get("mbv3_tiny")
    moves = Moves(space)
    shallow = space.smallest()
    singles = moves.singles(shallow[None])
    described = [space.describe(row) for row in np.unique(singles, axis=0)]
    deeper = [d for d in described if d["stage1.depth"] == 2]
    kinds = {(d["stage1.block1.kernel"], d["stage1.block1.expansion"]) for d in deeper}
    assert kinds == {(k, e) for k in (3, 5, 7) for e in (2, 3, 4)}
    assert {d["resolution"] for d in described} == {20, 24, 28, 32}
    np.testing.assert_array_equal(space.canonical(singles), singles)


def test_a_move_sets_what_it_says() -> None:
    space = get("ofa_mbv3_w1.0")
    moves = Moves(space)
    rng = np.random.default_rng(0)
    rows = space.sample(50, rng)
    chosen = rng.integers(0, len(moves), (50, 2))
    after = moves.apply(rows, chosen)
    for row, changed, (first, second) in zip(rows, after, chosen, strict=True):
        wanted = np.where(moves.masks[first], moves.options[first], row)
        wanted = np.where(moves.masks[second], moves.options[second], wanted)
        np.testing.assert_array_equal(changed, space.canonical(wanted[None])[0])


def test_independent_moves_set_different_genes() -> None:
    space = get("mbv3_tiny")
    moves = Moves(space)
    promising = np.stack([np.random.default_rng(s).permutation(len(moves))[:9] for s in (0, 1)])
    places = np.array(list(combinations(range(9), 3)))
    free = moves.independent(promising, places)
    for row, chosen in enumerate(promising):
        set_by = moves.masks[chosen[places]].sum(axis=1)
        np.testing.assert_array_equal(free[row], (set_by <= 1).all(axis=1))
    assert 0 < free.sum() < free.size


def test_factors_of_many_genes_move_gene_by_gene() -> None:
    for name in ("fbnet", "proxylessnas", "resnet_tiny", "nas_bench_macro"):
        space = get(name)
        moves = Moves(space)
        moved = moves.masks.any(axis=0)
        assert moved.all()
        for gene, n in enumerate(space.n_options):
            assert set(moves.options[moves.masks[:, gene], gene].tolist()) == set(range(n))
