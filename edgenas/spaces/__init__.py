"""Search spaces: genes, and factors that turn them into operators. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from edgenas.core.registry import Registry
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.dpp_net import PRESETS as DPP_NET_PRESETS
from edgenas.spaces.dpp_net import dpp_net
from edgenas.spaces.fbnet import PRESETS as FBNET_PRESETS
from edgenas.spaces.fbnet import fbnet
from edgenas.spaces.mnasnet import PRESETS as MNASNET_PRESETS
from edgenas.spaces.mnasnet import mnasnet
from edgenas.spaces.mobilenets import PRESETS as MOBILENET_PRESETS
from edgenas.spaces.mobilenets import mobilenet
from edgenas.spaces.monas import ALEXNET_PRESETS as MONAS_ALEXNET_PRESETS
from edgenas.spaces.monas import CONDENSENET_PRESETS as MONAS_CONDENSENET_PRESETS
from edgenas.spaces.monas import monas_alexnet, monas_condensenet
from edgenas.spaces.nas_bench_201 import PRESETS as NAS_BENCH_201_PRESETS
from edgenas.spaces.nas_bench_201 import nas_bench_201
from edgenas.spaces.nas_bench_macro import PRESETS as NAS_BENCH_MACRO_PRESETS
from edgenas.spaces.nas_bench_macro import nas_bench_macro
from edgenas.spaces.ofa_mbv3 import PRESETS, ofa_mbv3
from edgenas.spaces.ofa_resnet50 import PRESETS as OFA_RESNET50_PRESETS
from edgenas.spaces.ofa_resnet50 import ofa_resnet50
from edgenas.spaces.proxylessnas import PRESETS as PROXYLESSNAS_PRESETS
from edgenas.spaces.proxylessnas import proxylessnas

SPACES: Registry[Callable[..., SearchSpace]] = Registry("space")
"""Name to a function that makes the space, given changes of its settings."""

_FAMILIES: tuple[tuple[Callable[..., SearchSpace], Iterable[str]], ...] = (
    (ofa_mbv3, PRESETS),
    (ofa_resnet50, OFA_RESNET50_PRESETS),
    (fbnet, FBNET_PRESETS),
    (dpp_net, DPP_NET_PRESETS),
    (monas_alexnet, MONAS_ALEXNET_PRESETS),
    (monas_condensenet, MONAS_CONDENSENET_PRESETS),
    (nas_bench_201, NAS_BENCH_201_PRESETS),
    (nas_bench_macro, NAS_BENCH_MACRO_PRESETS),
    (proxylessnas, PROXYLESSNAS_PRESETS),
    (mnasnet, MNASNET_PRESETS),
    (mobilenet, MOBILENET_PRESETS),
)
for _family, _presets in _FAMILIES:
    for _preset in _presets:
        SPACES.add(_preset)(partial(_family, _preset))


def get(name: str, **changes: Any) -> SearchSpace:
    """Return the space called `name`, its settings changed as asked.

    Raises:
        RegistryError: no such space.
        SpaceError: no such setting.
    """
    return SPACES.get(name)(**changes)


def from_parameters(parameters: dict[str, Any]) -> SearchSpace:
    """Return the space whose `SearchSpace.parameters` these are."""
    changes = {key: value for key, value in parameters.items() if key != "preset"}
    return get(parameters["preset"], **changes)
