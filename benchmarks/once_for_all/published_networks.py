"""The specialised networks that once-for-all's authors published, as genes of edgenas' spaces."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from typing import Any

from benchmarks.once_for_all.devices import data
from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import make_divisible
from edgenas.spaces.ofa_mbv3 import OfaMbv3Space

PRESETS = ("ofa_mbv3_w1.0", "ofa_mbv3_w1.2", "ofa_proxyless_w1.3")
Signature = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class PublishedNetwork:
    """One of the networks: what is stated of it, and the space and genes that express it.

    `space` is None where no space of ours does, and `why` says what is in the way.
    """

    name: str
    device: str
    latency_ms: float | None
    top1: float
    params_millions: float
    macs_millions: float
    resolution: int
    space: SearchSpace | None
    genes: Genes | None
    why: str


def published_networks() -> list[PublishedNetwork]:
    """Return all of them, in the order of the file."""
    configs = json.loads(gzip.decompress((data() / "ofa_specialized_configs.json.gz").read_bytes()))
    found = []
    with gzip.open(data() / "ofa_specialized_nets.csv.gz", "rt") as stream:
        for line in csv.DictReader(stream):
            config = configs[line["net_id"]]
            space, genes, why = expressed(config)
            stated = line["latency_ms_stated"]
            found.append(
                PublishedNetwork(
                    name=line["net_id"],
                    device=line["device"],
                    latency_ms=float(stated) if stated else None,
                    top1=float(line["top1"]) / 100,
                    params_millions=float(line["params_M"]),
                    macs_millions=float(line["macs_M"]),
                    resolution=int(config["image_size"]),
                    space=space,
                    genes=genes,
                    why=why,
                )
            )
    return found


def expressed(config: dict[str, Any]) -> tuple[SearchSpace | None, Genes | None, str]:
    """Return the space and the genes whose operators are exactly those of a configuration."""
    reasons = []
    for preset in PRESETS:
        space = get(preset, resolutions=[int(config["image_size"])])
        assert isinstance(space, OfaMbv3Space)
        try:
            genes = genes_of(config, space)
        except SpaceError as error:
            reasons.append(f"{preset}: {error}")
            continue
        ours, theirs = signature(space, genes), stated_signature(config)
        if ours == theirs:
            return space, genes, ""
        different = next(pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1])
        reasons.append(f"{preset}: an operator is {different[1]}, ours {different[0]}")
    return None, None, "; ".join(reasons)


def genes_of(config: dict[str, Any], space: OfaMbv3Space) -> Genes:
    """Return the genes that a configuration's widths, kernels and expansions spell.

    Raises:
        SpaceError: its widths are not those of the space's stages, or a choice is no option.
    """
    blocks = [block["mobile_inverted_conv"] for block in config["net"]["blocks"]][1:]
    options: dict[str, Any] = {"resolution": int(config["image_size"])}
    place = 0
    for number, stage in enumerate(space.settings.stages, start=1):
        width, depth = space.settings.width(stage.width), 0
        while place < len(blocks) and blocks[place]["out_channels"] == width:
            block, name = blocks[place], f"stage{number}.block{depth}"
            options[f"{name}.kernel"] = block["kernel_size"]
            options[f"{name}.expansion"] = _expansion(block, space)
            depth, place = depth + 1, place + 1
        options[f"stage{number}.depth"] = depth
        if depth not in stage.depths:
            raise SpaceError(f"stage {number} has {depth} blocks of width {width}")
    if place < len(blocks):
        raise SpaceError(f"block {place + 1} is {blocks[place]['out_channels']} wide")
    return space.parse(options)


def _expansion(block: dict[str, Any], space: OfaMbv3Space) -> int:
    mid = block["mid_channels"] or round(block["in_channels"] * block["expand_ratio"])
    for option in space.settings.expansions:
        if make_divisible(round(block["in_channels"] * option)) == mid:
            return option
    raise SpaceError(f"{mid} middle channels on {block['in_channels']} are no expansion")


def signature(space: SearchSpace, genes: Genes) -> Signature:
    """Return what decides on a network's operators, from edgenas' own description."""
    found: list[tuple[Any, ...]] = [("norm", space.norm_epsilon)]
    for _, op in space.ops(genes):
        if op.kind == "mbconv":
            names = ("mid_channels", "out_channels", "kernel", "stride", "activation", "se")
            found.append(("block", op.in_shape[0], *(op[name] for name in names)))
        elif op.kind == "conv_block":
            found.append(("stem", op["out_channels"], op["stride"], op["activation"]))
        else:
            found += _head(op)
    return tuple(found)


def _head(op: OpSpec) -> list[tuple[Any, ...]]:
    names = ("final_channels", "mix_channels") if op.kind == "mbv3_head" else ("width",)
    return [*(("head", op[name]) for name in names), ("classes", op["n_classes"])]


def stated_signature(config: dict[str, Any]) -> Signature:
    """Return the same from the published configuration."""
    net = config["net"]
    stem = net["first_conv"]
    found: list[tuple[Any, ...]] = [("norm", net["bn"]["eps"])]
    found.append(("stem", stem["out_channels"], stem["stride"], stem["act_func"]))
    for entry in net["blocks"]:
        block = entry["mobile_inverted_conv"]
        mid = block["mid_channels"] or round(block["in_channels"] * block["expand_ratio"])
        names = ("out_channels", "kernel_size", "stride", "act_func")
        values = [block[name] for name in names]
        found.append(("block", block["in_channels"], mid, *values, int(block["use_se"])))
    for name in ("final_expand_layer", "feature_mix_layer"):
        if name in net:
            found.append(("head", net[name]["out_channels"]))
    found.append(("classes", net["classifier"]["out_features"]))
    return tuple(found)
