"""The contract of spaces, held by every preset, by a changed one and by one with shared widths."""

import numpy as np

from edgenas.spaces import PRESETS, SPACES, from_parameters, get
from edgenas.testing.space_contract import SpaceContract, every_genes, width_space


class TestTiny(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "mbv3_tiny"}  # noqa: RUF012


class TestOfa(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "ofa_mbv3_w1.0"}  # noqa: RUF012


class TestOfaWide(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "ofa_mbv3_w1.2", "resolutions": [160, 224]}  # noqa: RUF012


class TestWidths(SpaceContract):
    factory = "edgenas.testing.space_contract:width_space"
    settings = {"size": 6}  # noqa: RUF012


def test_presets_are_spaces_by_name() -> None:
    assert set(SPACES.names()) >= set(PRESETS)
    for name in PRESETS:
        assert get(name).name == name
        assert from_parameters(get(name).parameters).fingerprint == get(name).fingerprint


def test_equal_networks_are_equal_genes_in_the_whole_width_space() -> None:
    space = width_space()
    networks: dict[tuple[str, ...], set[tuple[int, ...]]] = {}
    everything = every_genes(space)
    for raw, genes in zip(everything, space.canonical(everything), strict=True):
        keys = tuple(op.key for _, op in space.ops(raw))
        networks.setdefault(keys, set()).add(tuple(genes.tolist()))
    assert all(len(genes) == 1 for genes in networks.values())
    assert len(networks) == len(np.unique(space.canonical(everything), axis=0)) == 40
