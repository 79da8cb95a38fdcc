"""The contract of spaces, held by every preset, by a changed one and by one with shared widths."""

import numpy as np

from edgenas.spaces import SPACES, from_parameters, get
from edgenas.spaces.dpp_net import PRESETS as DPP_NET
from edgenas.spaces.fbnet import PRESETS as FBNET
from edgenas.spaces.mnasnet import PRESETS as MNASNET
from edgenas.spaces.mobilenets import PRESETS as MOBILENETS
from edgenas.spaces.monas import ALEXNET_PRESETS as MONAS_ALEXNET
from edgenas.spaces.monas import CONDENSENET_PRESETS as MONAS_CONDENSENET
from edgenas.spaces.nas_bench_201 import PRESETS as NAS_BENCH_201
from edgenas.spaces.nas_bench_macro import PRESETS as NAS_BENCH_MACRO
from edgenas.spaces.ofa_mbv3 import PRESETS as OFA_MBV3
from edgenas.spaces.ofa_resnet50 import PRESETS as OFA_RESNET50
from edgenas.spaces.proxylessnas import PRESETS as PROXYLESSNAS
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


class TestOfaProxyless(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "ofa_proxyless_w1.3", "resolutions": [160, 208]}  # noqa: RUF012


class TestOfaResnet50(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "ofa_resnet50", "resolutions": [160, 208]}  # noqa: RUF012


class TestResnetTiny(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "resnet_tiny"}  # noqa: RUF012


class TestWidths(SpaceContract):
    factory = "edgenas.testing.space_contract:width_space"
    settings = {"size": 6}  # noqa: RUF012


class TestFbnet(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "fbnet"}  # noqa: RUF012


class TestFbnetCifar(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "fbnet_cifar", "input_channels": 1}  # noqa: RUF012


class TestFbnetTiny(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "fbnet_tiny"}  # noqa: RUF012


class TestProxylessNas(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "proxylessnas", "first_kernels": [3, 7]}  # noqa: RUF012


class TestMnasNet(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "mnasnet"}  # noqa: RUF012


class TestMnasNetOfAccelNasBench(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "mnasnet_accel", "resolution": 96}  # noqa: RUF012


class TestNasBenchMacro(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "nas_bench_macro"}  # noqa: RUF012


class TestDppNet(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "dpp_net"}  # noqa: RUF012


class TestDppNetTiny(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "dpp_net_tiny", "max_layers": 3}  # noqa: RUF012


class TestMonasAlexNet(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "monas_alexnet", "input_channels": 1}  # noqa: RUF012


class TestMonasCondenseNet(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "monas_condensenet"}  # noqa: RUF012


class TestMobileNetV2(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "mobilenet_v2_tiny"}  # noqa: RUF012


class TestMobileNetV3(SpaceContract):
    factory = "edgenas.spaces:get"
    settings = {"name": "mobilenet_v3_large", "resolutions": [128, 224]}  # noqa: RUF012


def test_presets_are_spaces_by_name() -> None:
    presets = {*OFA_MBV3, *OFA_RESNET50, *FBNET, *NAS_BENCH_MACRO, *PROXYLESSNAS, *MNASNET}
    presets |= {*MOBILENETS, *NAS_BENCH_201, *DPP_NET, *MONAS_ALEXNET, *MONAS_CONDENSENET}
    assert set(SPACES.names()) >= presets
    for name in presets:
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
