"""Shared weights: slices, kernel maps, extraction, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgenas import spaces
from edgenas.core.errors import SpaceError, StorageError
from edgenas.core.ops import OpSpec
from edgenas.lowering.torch import GraphModule
from edgenas.oneshot.checkpoint import write_tensors
from edgenas.oneshot.elastic import Slot
from edgenas.oneshot.sharing import share
from edgenas.oneshot.supernet import Supernet, extract, load_supernet, save_supernet
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import conv_block, mbconv


def _block(kernel: int, mid: int, **changes: object) -> OpSpec:
    settings = {"out_channels": 16, "stride": 1, "activation": "relu", "se": 1}
    return OpSpec.make(
        "mbconv",
        (16, 8, 8),
        **{**settings, "kernel": kernel, "mid_channels": mid, **changes},  # type: ignore[arg-type]
    )


def test_every_extracted_network_computes_what_the_supernet_computes(space: SearchSpace) -> None:
    supernet = Supernet(space, seed=5)
    with torch.no_grad():  # so that the kernel maps do something
        for name, parameter in supernet.named_parameters():
            if "kernel_transform" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    rows = [space.largest(), space.smallest(), *space.sample(8, np.random.default_rng(0))]
    for row in rows:
        images = torch.randn(6, *space.input_shape(row))
        module = extract(supernet, space, row).train()
        with torch.no_grad():
            mine, theirs = module(images), supernet(images, space.ops(row))
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


def test_presets_have_supernets_of_the_size_of_their_largest_network() -> None:
    space = spaces.get("mbv3_tiny")
    supernet = Supernet(space)
    largest = GraphModule(space.network(space.largest()))
    shared = {n: p for n, p in supernet.named_parameters() if "kernel_transform" not in n}
    assert sum(p.numel() for p in shared.values()) == sum(p.numel() for p in largest.parameters())


def test_smaller_kernels_are_centre_crops_at_first_and_learn_their_own_map() -> None:
    ops = [_block(kernel, 64) for kernel in (3, 5, 7)]
    slot = Slot(share("block", ops), torch.Generator().manual_seed(0))
    whole = slot.tensors(ops[2])["depthwise.weight"]
    assert torch.equal(slot.tensors(ops[1])["depthwise.weight"], whole[..., 1:6, 1:6])
    assert torch.equal(slot.tensors(ops[0])["depthwise.weight"], whole[..., 2:5, 2:5])
    slot.tensors(ops[0])["depthwise.weight"].square().sum().backward()
    gradients = {name: p.grad is not None for name, p in slot.named_parameters()}
    assert gradients["kernel_transform_3"]
    assert gradients["kernel_transform_5"]
    with torch.no_grad():
        slot.get_parameter("kernel_transform_5").mul_(2)
    assert torch.equal(slot.tensors(ops[1])["depthwise.weight"], 2 * whole[..., 1:6, 1:6])
    assert torch.equal(slot.tensors(ops[2])["depthwise.weight"], whole)


def test_narrower_blocks_are_the_first_channels() -> None:
    wide, narrow = _block(3, 64), _block(3, 32)
    slot = Slot(share("block", [narrow, wide]), torch.Generator().manual_seed(0))
    full, cut = slot.tensors(wide), slot.tensors(narrow)
    assert torch.equal(cut["expand.weight"], full["expand.weight"][:32])
    assert torch.equal(cut["project.weight"], full["project.weight"][:, :32])
    assert torch.equal(cut["se_reduce.weight"], full["se_reduce.weight"][:8, :32])
    assert torch.equal(cut["se_expand.bias"], full["se_expand.bias"][:32])
    assert cut["depthwise.norm.weight"].shape == (32,)
    assert cut["project.norm.weight"].shape == (16,)


@pytest.mark.parametrize(
    "odd", [_block(3, 128), _block(9, 64), _block(3, 32, stride=2), _block(3, 32, se=0)]
)
def test_what_cannot_be_cut_is_refused(odd: OpSpec) -> None:
    slot = Slot(share("block", [_block(3, 64), _block(7, 32), _block(7, 64)]), torch.Generator())
    with pytest.raises(SpaceError, match="cannot be cut from the weights of"):
        slot.tensors(odd)


def test_fixed_slots_serve_their_operator_at_any_resolution_and_no_other() -> None:
    def stem(size: int, width: int = 8) -> OpSpec:
        return conv_block((1, size, size), width, kernel=3, stride=2, activation="relu")

    slot = Slot(share("stem", [stem(16), stem(20)]), torch.Generator())
    assert set(slot.tensors(stem(32))) == {"conv.weight", "conv.norm.weight", "conv.norm.bias"}
    with pytest.raises(SpaceError, match="cannot be cut"):
        slot.tensors(stem(16, width=4))


@pytest.mark.parametrize(
    "ops",
    [
        [_block(3, 64), _block(3, 64, activation="h_swish")],
        [_block(3, 64), _block(4, 64)],
        [_block(7, 32), _block(3, 64)],
        [_block(3, 64), conv_block((16, 8, 8), 16, kernel=3, stride=1, activation="relu")],
    ],
)
def test_factors_without_common_weights_are_refused(ops: list[OpSpec]) -> None:
    with pytest.raises(SpaceError, match="factor odd has no shared weights"):
        Slot(share("odd", ops), torch.Generator())


@pytest.mark.parametrize("name", ["fbnet_cifar", "nas_bench_macro", "nas_bench_201"])
def test_a_supernet_of_operators_with_weights_of_their_own(name: str, tmp_path: Path) -> None:
    space = spaces.get(name, n_classes=10, **({"n_cells": 1} if name == "nas_bench_201" else {}))
    supernet = Supernet(space, seed=3)
    path = tmp_path / "supernet.safetensors"
    save_supernet(supernet, path)
    again = load_supernet(space, path)
    for row in space.sample(3, np.random.default_rng(1)):
        images = torch.randn(2, *space.input_shape(row))
        with torch.no_grad():
            own = extract(again, space, row).train()(images)
            torch.testing.assert_close(own, supernet(images, space.ops(row)), rtol=1e-4, atol=1e-5)
    apart = Supernet(space, seed=3, weights="separate")
    save_supernet(apart, path)
    assert load_supernet(space, path).weights == "separate"


def test_layers_that_are_skipped_have_weights_of_their_own() -> None:
    stages = [{"width": 8, "stride": 2, "n_layers": 3}]
    space = spaces.get("proxylessnas", stages=stages, resolution=16, head_width=24, n_classes=3)
    supernet = Supernet(space)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for row in (space.smallest(), *space.sample(3, np.random.default_rng(0)), space.largest()):
        module = extract(supernet, space, row).train()
        with torch.no_grad():
            torch.testing.assert_close(module(images), supernet(images, space.ops(row)))


def test_a_block_that_does_not_expand_shares_weights_too() -> None:
    def block(mid: int) -> OpSpec:
        return mbconv(
            (16, 8, 8),
            16,
            mid_channels=mid,
            kernel=3,
            stride=1,
            activation="relu",
            squeeze_excite=False,
        )

    slot = Slot(share("block", [block(16), block(32)]), torch.Generator())
    assert "expand.weight" not in slot.tensors(block(16))
    assert slot.tensors(block(16))["project.weight"].shape == (16, 16, 1, 1)


def test_bottlenecks_stems_and_heads_are_cut_in_all_their_widths() -> None:
    space = spaces.get("resnet_tiny")
    supernet = Supernet(space, seed=1)
    rows = [space.smallest(), *space.sample(4, np.random.default_rng(0)), space.largest()]
    for row in rows:
        images = torch.randn(3, *space.input_shape(row), generator=torch.Generator().manual_seed(0))
        module = extract(supernet, space, row).train()
        with torch.no_grad():
            torch.testing.assert_close(module(images), supernet(images, space.ops(row)))
    parts = dict(space.ops(space.smallest()))
    largest = dict(space.ops(space.largest()))
    assert "conv2.weight" not in supernet.slot("stem").tensors(parts["stem"])
    cut = supernet.slot("stage2.block0").tensors(parts["stage2.block0"])
    whole = supernet.slot("stage2.block0").tensors(largest["stage2.block0"])
    n_out, n_in = cut["downsample.weight"].shape[:2]
    assert (n_out, n_in) == (64, 32)
    assert torch.equal(cut["downsample.weight"], whole["downsample.weight"][:64, :32])
    assert torch.equal(cut["conv2.weight"], whole["conv2.weight"][:16, :16])
    other = largest["stage2.block0"]
    wider = OpSpec.make(other.kind, other.in_shape, **{**dict(other.attrs), "mid_channels": 104})
    with pytest.raises(SpaceError, match="cannot be cut from the weights of bottleneck"):
        supernet.slot("stage2.block0").tensors(wider)


def test_cut_tensors_are_views_and_whole_ones_the_parameters_themselves() -> None:
    narrow, wide = _block(5, 32), _block(5, 64)
    slot = Slot(share("block", [narrow, wide]), torch.Generator())
    own = dict(slot.named_parameters())
    assert all(tensor is own[name] for name, tensor in slot.tensors(wide).items())
    for name, tensor in slot.tensors(narrow).items():
        assert tensor.data_ptr() == own[name].data_ptr(), name


def _random_statistics(supernet: Supernet) -> Supernet:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in supernet.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith(("running_mean", "bias")):
                value.normal_(0, 0.1, generator=generator)
    return supernet


@pytest.mark.parametrize("name", ["mbv3_tiny", "resnet_tiny"])
def test_kept_statistics_are_cut_and_extracted_like_weights(name: str) -> None:
    space = spaces.get(name)
    supernet = _random_statistics(Supernet(space, statistics=True))
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    for row in (space.smallest(), *space.sample(3, np.random.default_rng(1)), space.largest()):
        images = torch.randn(2, *space.input_shape(row))
        module = extract(supernet, space, row).eval()
        with torch.no_grad():
            supernet(images, space.ops(row))  # leaves the statistics alone
            mine, theirs = module(images), supernet.evaluate(images, space.ops(row))
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
        assert not torch.equal(module.norms()[0].running_mean, torch.zeros(()))
    assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())


def test_without_statistics_nothing_is_evaluated(space: SearchSpace) -> None:
    row = space.smallest()
    with pytest.raises(SpaceError, match="keeps no batch norm statistics; extract the network"):
        Supernet(space).evaluate(torch.zeros(1, *space.input_shape(row)), space.ops(row))


def test_what_batch_norms_add_is_that_of_the_space(space: SearchSpace) -> None:
    rough = spaces.from_parameters({**space.parameters, "norm_epsilon": 0.5})
    row = rough.largest()
    module = extract(Supernet(rough), rough, row).train()
    images = torch.randn(4, *rough.input_shape(row), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mine, theirs = module(images), Supernet(rough)(images, rough.ops(row))
        usual = Supernet(space)(images, space.ops(row))
    torch.testing.assert_close(mine, theirs)
    assert (mine - usual).abs().max() > 1e-3
    assert {norm.eps for norm in module.norms()} == {0.5}


def test_a_supernet_serves_other_resolutions_and_fewer_choices(space: SearchSpace) -> None:
    supernet = Supernet(space)
    sizes = spaces.from_parameters({**space.parameters, "resolutions": [20]})
    fewer = spaces.from_parameters({**space.parameters, "expansions": [4], "kernels": [3, 7]})
    for other in (space, sizes, fewer):
        supernet.check_space(other)
        row = other.largest()
        images = torch.zeros(2, *other.input_shape(row))
        assert supernet(images, other.ops(row)).shape == (2, 10)
    assert Supernet(sizes).weights_fingerprint == supernet.weights_fingerprint
    assert Supernet(fewer).weights_fingerprint != supernet.weights_fingerprint


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_classes": 3}, "cannot be cut from the weights of mbv3_head"),
        ({"expansions": [2, 6]}, "cannot be cut from the weights of mbconv"),
        ({"norm_epsilon": 1e-3}, "batch norms add 0.001 to variances, the supernet's 1e-05"),
    ],
)
def test_spaces_that_a_supernet_has_not_the_weights_of_are_refused(
    space: SearchSpace, changes: dict[str, object], reason: str
) -> None:
    other = spaces.from_parameters({**space.parameters, **changes})
    with pytest.raises(SpaceError, match=f"{reason}.*train a supernet for this space"):
        Supernet(space).check_space(other)


def test_an_unknown_part_is_named(space: SearchSpace) -> None:
    with pytest.raises(SpaceError, match="no part 'tail'; parts: stem, first"):
        Supernet(space).slot("tail")


def test_weights_survive_a_file(space: SearchSpace, trained: Supernet, tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    save_supernet(trained, path)
    again = load_supernet(space, path)
    for name, value in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_files_that_are_no_supernet_of_the_space_are_refused(
    space: SearchSpace, trained: Supernet, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="cannot load the weights in"):
        load_supernet(space, tmp_path / "absent.safetensors")
    path = tmp_path / "supernet.safetensors"
    save_supernet(trained, path)
    with pytest.raises(StorageError, match=r"holds the weights .* delete the file to train again"):
        load_supernet(spaces.get("mbv3_tiny"), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StorageError, match="cannot load the weights in"):
        load_supernet(space, path)


def test_files_serve_every_space_with_the_same_slots(
    space: SearchSpace, trained: Supernet, tmp_path: Path
) -> None:
    path = tmp_path / "supernet.safetensors"
    save_supernet(trained, path)
    other = spaces.from_parameters({**space.parameters, "resolutions": [8]})
    assert load_supernet(other, path).weights_fingerprint == trained.weights_fingerprint
    # The same shapes, another function.
    rough = spaces.from_parameters({**space.parameters, "norm_epsilon": 1e-3})
    with pytest.raises(StorageError, match="holds the weights"):
        load_supernet(rough, path)


def test_statistics_survive_a_file(space: SearchSpace, tmp_path: Path) -> None:
    supernet = _random_statistics(Supernet(space, statistics=True))
    path = tmp_path / "supernet.safetensors"
    save_supernet(supernet, path)
    again = load_supernet(space, path)
    assert again.statistics
    for name, value in supernet.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_files_of_earlier_versions_are_read_for_their_own_space(
    space: SearchSpace, trained: Supernet, tmp_path: Path
) -> None:
    path = tmp_path / "supernet.safetensors"
    write_tensors(path, trained.state_dict(), {"space": space.fingerprint})
    assert torch.equal(
        load_supernet(space, path).get_parameter("stem.conv.weight"),
        trained.get_parameter("stem.conv.weight"),
    )
    other = spaces.from_parameters({**space.parameters, "resolutions": [8]})
    with pytest.raises(StorageError, match=r"holds the weights .* delete the file to train again"):
        load_supernet(other, path)
