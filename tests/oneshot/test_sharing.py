"""Which spaces a supernet can be made of, told without torch and before any work."""

import subprocess
import sys

import pytest

from edgenas import spaces
from edgenas.core.errors import SpaceError, UsageError
from edgenas.oneshot.sharing import (
    ByNode,
    Separate,
    Shared,
    shared_weights,
    weights_fingerprint,
    weights_of,
)


@pytest.mark.parametrize("name", ["mbv3_tiny", "ofa_mbv3_w1.0", "proxylessnas", "ofa_resnet50"])
def test_once_for_all_spaces_share_weights(name: str) -> None:
    space = spaces.get(name)
    assert weights_of(space) == shared_weights(space)
    assert {type(one) for one in weights_of(space, how="separate").values()} == {Separate}


@pytest.mark.parametrize("name", ["fbnet_cifar", "nas_bench_macro"])
def test_choices_of_operators_have_weights_of_their_own(name: str) -> None:
    space = spaces.get(name)
    with pytest.raises(SpaceError, match="has no shared weights"):
        shared_weights(space)
    found = weights_of(space)
    assert isinstance(found["stem"], Shared)
    factor = space.factors[1].name
    assert isinstance(found[factor], Separate)
    ops = {op for specs in space.combination_ops[1] for op in specs}
    assert set(found[factor].variants) == ops  # type: ignore[union-attr]
    with pytest.raises(SpaceError, match="is none of the"):
        found[factor].check(found["stem"].variants[0])  # type: ignore[union-attr]


def test_cells_share_what_an_edge_runs() -> None:
    space = spaces.get("nas_bench_201", n_cells=2)
    found = weights_of(space)
    cell = found["stage1.1"]
    assert isinstance(cell, ByNode)
    assert len(cell.layers) == 6 * 2  # two convolutions an edge
    for op in {op for specs in space.combination_ops[0] for op in specs[1:2]}:
        cell.check(op)
    with pytest.raises(SpaceError, match="has no weights of"):
        cell.check_layer("edge9to9", found["stem" if "stem" in found else "head"].variants[0])  # type: ignore[union-attr]


def test_another_way_of_sharing_is_refused() -> None:
    with pytest.raises(UsageError, match="weights 'none'"):
        weights_of(spaces.get("mbv3_tiny"), how="none")


def test_resolutions_and_narrower_choices_do_not_change_the_weights() -> None:
    whole = weights_fingerprint(spaces.get("mbv3_tiny"))
    assert weights_fingerprint(spaces.get("mbv3_tiny", resolutions=[16])) == whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", expansions=[2, 4])) == whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", expansions=[2, 3])) != whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", kernels=[3, 7])) != whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", n_classes=5)) != whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", norm_epsilon=1e-3)) != whole


def test_what_differs_is_told() -> None:
    shared = shared_weights(spaces.get("resnet_tiny"))
    assert shared["stem"].elastic == ("mid_channels", "out_channels", "residual")
    assert shared["stage1.block0"].elastic == ("in_channels", "mid_channels", "out_channels")
    assert shared["head"].elastic == ("in_channels",)
    block = shared_weights(spaces.get("mbv3_tiny"))["stage1.block1"]
    assert block.elastic == ("kernel", "mid_channels")
    assert block.kernels == (7, 5, 3)
    assert len(block.variants) == 9


def test_it_is_told_without_torch() -> None:
    code = "import sys, edgenas.oneshot.sharing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
