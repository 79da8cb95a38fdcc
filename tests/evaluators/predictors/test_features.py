"""Features: the one-hots of the space, sizes of options, scaled counts."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas import spaces
from edgenas.evaluators.predictors.features import Features, OneHots, standardised
from edgenas.spaces.base import Gene, SearchSpace
from edgenas.spaces.fold import macs, params


@pytest.mark.parametrize("name", ["mbv3_tiny", "ofa_mbv3_w1.0", "ofa_proxyless_w1.3"])
def test_one_hots_are_those_of_the_space(name: str) -> None:
    space = spaces.get(name)
    rng = np.random.default_rng(0)
    raw = rng.integers(0, space.n_options, (70, space.n_genes)).astype(np.int8)
    before = raw.copy()
    for population in (raw, space.canonical(raw), np.asfortranarray(raw), raw[:1], raw[:0]):
        found = OneHots(space)(population)
        np.testing.assert_array_equal(found, space.encode(population).T)
        assert found.flags.c_contiguous
    np.testing.assert_array_equal(raw, before)


def test_counts_are_scaled_over_the_population(space: SearchSpace) -> None:
    population = space.sample(50, np.random.default_rng(1))
    features = Features.scaled_to(space, population)
    rows = features(population)
    assert rows.shape == (features.n_features, 50)
    assert rows.dtype == np.float32
    counts = rows[features.n_options :]
    np.testing.assert_allclose(counts.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(counts.std(axis=1), 1, atol=1e-5)
    for own, fold in zip(counts, (macs(space), params(space)), strict=True):
        logs = np.log(fold(population))
        np.testing.assert_allclose(own, (logs - logs.mean()) / logs.std(), atol=1e-5)


def test_counts_that_do_not_vary_are_zero(space: SearchSpace) -> None:
    one = np.repeat(space.smallest()[None], 4, axis=0)
    features = Features.scaled_to(space, one)
    np.testing.assert_allclose(features(one)[features.n_options :], 0)


def test_sizes_grow_with_the_option_and_are_zero_where_nothing_runs(space: SearchSpace) -> None:
    features = Features.scaled_to(space, space.sample(9, np.random.default_rng(0)))
    gene = space.index["stage1.block2.kernel"]
    assert space.genes[gene].options == (3, 5, 7)
    shallow = space.parse(space.describe(space.smallest()))
    deep = space.largest()
    rows = np.repeat(deep[None], 3, axis=0)
    rows[:, gene] = [0, 1, 2]
    found = features.sizes @ features.one_hots(np.vstack([shallow, rows]))
    np.testing.assert_allclose(found[gene], [0, 0.5, 0.5 + np.log(5 / 3), 0.5 + np.log(7 / 3)])


def test_options_that_are_no_numbers_have_no_size() -> None:
    space = spaces.get("nas_bench_macro")
    words = [any(isinstance(option, str) for option in gene.options) for gene in space.genes]
    assert any(words)
    sizes = Features.scaled_to(space, space.sample(5, np.random.default_rng(0))).sizes
    for row, word in zip(sizes, words, strict=True):
        assert row.any() != word


def test_sizes_from_zero_are_even() -> None:
    genes = (Gene("depth", (0, 1, 2)), Gene("width", (8,)), Gene("word", ("a", "b")))
    space = SearchSpace("three", genes, (), parameters={}, n_classes=2)
    sizes = Features(space, np.zeros(2), np.ones(2)).sizes
    np.testing.assert_allclose(sizes, [[0.5, 1.0, 1.5, 0, 0, 0], [0] * 6, [0] * 6])


def test_groups_hold_every_option_once(space: SearchSpace) -> None:
    features = Features.scaled_to(space, space.sample(5, np.random.default_rng(0)))
    assert sorted(place for group in features.groups for place in group) == list(
        range(features.n_options)
    )
    assert len(features.groups) == 4  # three stages and the resolution


def test_standardised_rows_have_unit_length_on_average() -> None:
    table = np.random.default_rng(0).normal(size=(40, 6)) * [1, 10, 0, 3, 0.1, 1] + 5
    scale, shift = standardised(table)
    scaled = table * scale + shift
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    assert (scaled**2).sum(axis=1).mean() == pytest.approx(1)
