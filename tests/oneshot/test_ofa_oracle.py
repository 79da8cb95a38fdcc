"""Recorded outputs of the public once-for-all code: every subnet, through the import of weights.

`EDGENAS_BENCH_DATA`/ofa_oracle/README.md says how the weights and the images are made again.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgenas import spaces
from edgenas.core import counts
from edgenas.core.architecture import Genes
from edgenas.oneshot.ofa_import import (
    import_checkpoint,
    load_imported,
    public_state,
    supernet_of,
)
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.ofa_mbv3 import OfaMbv3Space
from edgenas.spaces.ofa_resnet50 import OfaResnet50Space

TOLERANCE = 1e-5
"""Of the largest logit."""


@dataclass(frozen=True)
class Case:
    """One subnet of a recorded network."""

    path: Path
    index: int

    @property
    def recorded(self) -> dict[str, Any]:
        return next(s for s in _recorded(self.path)["subnets"] if s["index"] == self.index)


def _recorded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _networks() -> list[Path]:
    folder = os.environ.get("EDGENAS_BENCH_DATA")
    return sorted(Path(folder, "ofa_oracle").glob("*.json")) if folder else []


def _cases() -> list[Any]:
    return [
        pytest.param(Case(path, subnet["index"]), id=f"{path.stem}-{subnet['index']}")
        for path in _networks()
        for subnet in _recorded(path)["subnets"]
    ] or [_ABSENT]


_ABSENT = pytest.param(
    None,
    marks=pytest.mark.skipif(
        "EDGENAS_BENCH_DATA" not in os.environ,
        reason="EDGENAS_BENCH_DATA is not set: it names the folder of recorded data",
    ),
    id="no-data",
)
"""Skipped where there is no data; an error where there should be some and is none."""


def _weight(name: str, shape: tuple[int, ...]) -> Tensor:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        values = rng.normal(0, 0.1, shape)
    elif "matrix" in name:
        values = np.eye(shape[0]) + rng.normal(0, 0.05, shape)
    elif name.endswith("bn.weight") or (name.endswith("weight") and len(shape) == 1):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("bias"):
        values = rng.normal(0, 0.05, shape)
    else:
        fan = prod(shape[1:]) if len(shape) > 1 else shape[0]
        values = rng.normal(0, sqrt(2 / fan), shape)
    return torch.from_numpy(values.astype(np.float32))


def _weights(path: Path) -> dict[str, Tensor]:
    shapes = _recorded(path)["state_dict"]
    return {name: _weight(name, tuple(shape)) for name, shape in shapes.items()}


def _imported(content: object, folder: Path) -> tuple[SearchSpace, Supernet]:
    checkpoint, out = folder / "public.pth", folder / "imported.safetensors"
    torch.save(content, checkpoint)
    import_checkpoint(checkpoint, out)
    found = load_imported(out)
    checkpoint.unlink()
    out.unlink()
    return found


@pytest.fixture(scope="module")
def load(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Path], tuple[SearchSpace, Supernet]]:
    """Imports a network's weights, and keeps the last: its subnets follow each other."""
    last: dict[Path, tuple[SearchSpace, Supernet]] = {}

    def imported(path: Path) -> tuple[SearchSpace, Supernet]:
        if path not in last:
            last.clear()
            last[path] = _imported(_weights(path), tmp_path_factory.mktemp(path.stem))
        return last[path]

    return imported


def _listed(value: Any, n: int) -> list[Any]:
    return list(value) if isinstance(value, list) else [value] * n


def _row(space: SearchSpace, config: Any, resolution: int) -> Genes:
    """Return the genes of what the reference's ``set_active_subnet`` is given."""
    if config == "max":
        return space.largest()
    if isinstance(space, OfaResnet50Space):
        stages = len(space.settings.stages)
        n_blocks = sum(max(stage.depths) for stage in space.settings.stages)
        return space.from_ofa(
            d=_listed(config["d"], stages + 1),
            e=_listed(config["e"], n_blocks),
            w=_listed(config["w"], stages + 2),
            resolution=resolution,
        )
    assert isinstance(space, OfaMbv3Space)
    deepest = [max(stage.depths) for stage in space.settings.stages]
    return space.from_ofa(
        _listed(config["ks"], sum(deepest)),
        _listed(config["e"], sum(deepest)),
        [min(d, most) for d, most in zip(_listed(config["d"], len(deepest)), deepest, strict=True)],
        resolution,
    )


@pytest.mark.parametrize("case", _cases())
def test_subnets_compute_what_the_public_code_computes(
    case: Case, load: Callable[[Path], tuple[SearchSpace, Supernet]]
) -> None:
    imported, supernet = load(case.path)
    recorded = case.recorded
    size = recorded["resolution"]
    parameters = {**imported.parameters, "resolutions": [size]}
    space = spaces.from_parameters(parameters)
    supernet.check_space(space)
    row = _row(space, recorded["config"], size)
    graph = space.network(row)
    assert counts.n_params(graph) == recorded["n_params"]
    assert counts.n_macs(graph) == recorded["n_macs"]
    rng = np.random.default_rng(recorded["input_seed"])
    images = torch.from_numpy(rng.normal(0, 1, (1, 3, size, size)).astype(np.float32))
    module = extract(supernet, space, row).eval()
    assert sum(parameter.numel() for parameter in module.parameters()) == recorded["n_params"]
    expected = np.load(case.path.with_suffix(".npz"))[f"logits_{case.index}"]
    largest = np.abs(expected).max()
    with torch.inference_mode():
        inside = supernet.evaluate(images, space.ops(row)).numpy()
        alone = module(images).numpy()
        error = max(np.abs(logits - expected).max() for logits in (inside, alone)) / largest
        if error <= TOLERANCE:
            return
        # Random weights can make a network that no float32 arithmetic determines: half a unit in
        # the last place of a value within it moves logits by percents. Then the order in which
        # sums are taken, which differs between processors, decides; ours against float64 tells.
        exact = module.double()(images.double()).numpy()
        rounding = np.abs(alone - exact).max() / largest
    assert rounding > 10 * TOLERANCE, f"differs by {error:.2g}, where rounding is {rounding:.2g}"
    assert error < 0.2, f"differs by {error:.2g}, where rounding is {rounding:.2g}"


def _short(name: str) -> str:
    name = name.replace(".bn.bn.", ".bn.").replace(".linear.linear.", ".linear.")
    return name.replace(".conv.conv.weight", ".conv.weight")


def _nested(name: str) -> str:
    name = _short(name).replace(".bn.", ".bn.bn.").replace(".linear.", ".linear.linear.")
    return re.sub(r"\.conv\.weight$", ".conv.conv.weight", name)


def _renamed(name: str, *, layers: Callable[[str], str]) -> str:
    return re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", layers(name))


STYLES: dict[str, tuple[Callable[[str], str], bool]] = {
    "old-blocks": (partial(_renamed, layers=str), True),
    "old-blocks-short-layers": (partial(_renamed, layers=_short), False),
    "nested-layers": (_nested, True),
}
"""How names are written, and whether the counters of batch norms are there."""


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("path", _networks() or [_ABSENT], ids=lambda path: path.stem)
def test_older_names_are_the_same_weights(path: Path, style: str) -> None:
    rename, counted = STYLES[style]
    weights = _weights(path)
    older = {
        rename(name): value
        for name, value in weights.items()
        if counted or not name.endswith("num_batches_tracked")
    }
    supernet, matched = supernet_of(path, older)
    assert matched.style == ("current" if older.keys() <= weights.keys() else "older")
    found = public_state(supernet, matched.space)
    assert found.keys() == weights.keys()
    assert [name for name, value in weights.items() if not torch.equal(found[name], value)] == []
