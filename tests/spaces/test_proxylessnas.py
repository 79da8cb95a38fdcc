"""ProxylessNAS: its size, its choices, and the operators of the published latency table."""

from pathlib import Path

import pytest
import yaml

from edgenas.spaces import fold, get
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.ofa_mbv3 import ofa_mbv3
from edgenas.spaces.proxylessnas import proxylessnas


def test_the_space_has_its_size() -> None:
    # Six blocks a layer; of four layers in a stage the last three may be skipped.
    lists = sum(6**n for n in range(4))
    program = BudgetProgram(fold.macs(proxylessnas("proxylessnas")))
    assert program.size() == (6 * lists) ** 5 * 6


def test_a_layer_is_skipped_only_where_the_shape_is_kept() -> None:
    space = proxylessnas("proxylessnas")
    blocks = ("k3_e3", "k5_e3", "k7_e3", "k3_e6", "k5_e6", "k7_e6")
    for gene in space.genes:
        if gene.name == "first":
            assert gene.options == ("k3_e1",)
        elif gene.name.endswith("layer0"):
            assert gene.options == blocks
        else:
            assert gene.options == ("skip", *blocks)


def test_networks_without_skips_are_those_of_the_once_for_all_space() -> None:
    """The other family builds the same networks: depth d is four layers of which 4 - d skip."""
    other = ofa_mbv3("ofa_proxyless_w1.3", width_multiplier=1.0, resolutions=[224])
    space = proxylessnas("proxylessnas")
    kernels, expansions = ([7, 3, 5, 3] * 6)[:21], ([6, 3, 3, 6] * 6)[:21]
    theirs = other.from_ofa(kernels, expansions, [2, 4, 3, 2, 4, 1], 224)
    names = [f"k{k}_e{e}" for k, e in zip(kernels, expansions, strict=True)]
    for skipped in (2, 3, 11, 14, 15):
        names[skipped] = "skip"
    row = space.from_blocks(["k3_e1", *names])
    assert [op for _, op in space.ops(row)][2:] == [op for _, op in other.ops(theirs)][2:]
    assert space.network(row).nodes[-1].op == other.network(theirs).nodes[-1].op
    assert fold.params(space)(row[None]) == fold.params(other)(theirs[None])
    assert fold.macs(space)(row[None]) == fold.macs(other)(theirs[None])


def test_its_operators_are_those_of_the_published_latency_table(bench_data: Path) -> None:
    published = yaml.safe_load((bench_data / "proxyless_mobile_lut/mobile_trim.yaml").read_text())
    space = proxylessnas("proxylessnas", first_kernels=[3, 5, 7])
    keys = {"Conv-input:224x224x3-output:112x112x32", "Logits-input:7x7x1280-output:1000"}
    keys.add("Conv_1-input:7x7x320-output:7x7x1280")
    for op in space.distinct_ops():
        if op.kind != "mbconv":
            continue
        channels, size, _ = op.in_shape
        stride, width = op.integer("stride"), op.integer("out_channels")
        kept = int(stride == 1 and width == channels)
        keys.add(
            f"expanded_conv-input:{size}x{size}x{channels}-output:{size // stride}x"
            f"{size // stride}x{width}-expand:{op.integer('mid_channels') // channels}-"
            f"kernel:{op['kernel']}-stride:{stride}-idskip:{kept}"
        )
    assert keys == set(published)
    assert len(space.distinct_ops()) == len(published) - 1  # head is one operator here


@pytest.mark.parametrize(
    ("name", "n_params", "n_macs"),
    # Parameters as those who rebuilt the released networks count them; the paper states 320 million
    # multiply-accumulates of the mobile one.
    [
        ("proxylessnas_mobile", 4_080_512, 320e6),
        ("proxylessnas_gpu", 7_119_848, None),
        ("proxylessnas_cpu", 4_361_648, None),
    ],
)
def test_published_networks_have_their_counts(
    name: str, n_params: int, n_macs: float | None
) -> None:
    space = get(name)
    row = space.largest()[None]
    assert BudgetProgram(fold.macs(space)).size() == 1
    assert fold.params(space)(row)[0] == n_params
    if n_macs is not None:
        assert fold.macs(space)(row)[0] == pytest.approx(n_macs, rel=0.005)
