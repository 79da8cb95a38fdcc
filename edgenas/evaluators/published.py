"""Published benchmarks as tables of values: every cell, network or sample that others trained.

Dong and Yang 2020 (NAS-Bench-201), arXiv:2001.00326; Su et al. 2021 (NAS-Bench-Macro),
arXiv:2103.11922; Ahmad et al. 2024 (Accel-NASBench), arXiv:2404.08005. The files are CSV, gzip or
not, with the columns that each function names; other columns are passed over. Percents become
fractions.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import DataError, SpaceError, choices
from edgenas.evaluators.tabular import TabularValues
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.nas_bench_201 import NasBench201Space
from edgenas.spaces.nas_bench_macro import NasBenchMacroSpace

Floats = npt.NDArray[np.float64]

_ACCEL_BLOCKS = 7


def read_columns(path: Path, needed: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the columns of a CSV file as they are written, shape (n_rows,) each, by name.

    Raises:
        DataError: the file cannot be read, or lacks a column that is needed.
    """
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", newline="") as stream:
            header, *lines = csv.reader(stream)
    except (OSError, EOFError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    for name in needed:
        if name not in header:
            raise DataError(f"{path} has no column {name!r}; {choices(name, header)}")
    uneven = [i for i, line in enumerate(lines, start=2) if len(line) != len(header)]
    if uneven:
        raise DataError(f"{path}: line {uneven[0]} has not the {len(header)} columns of the first")
    return {name: [line[i] for line in lines] for i, name in enumerate(header)}


def nas_bench_201(path: Path, space: SearchSpace, *, data: str = "cifar10") -> TabularValues:
    """Return the test accuracy of every cell after 200 epochs.

    Args:
        path: columns ``arch_str`` (the benchmark's text) and ``test_acc_200ep_<data>``, percent.
        space: ``nas_bench_201``.
        data: on which images.

    Raises:
        DataError: the file is something else.
        SpaceError: another space.
    """
    if not isinstance(space, NasBench201Space):
        raise _other_space(space, "nas_bench_201")
    column = f"test_acc_200ep_{data}"
    table = read_columns(path, ("arch_str", column))
    rows = [space.from_code(text) for text in table["arch_str"]]
    return _values(space, rows, accuracy=_numbers(table[column]) / 100)


def nas_bench_macro(path: Path, space: SearchSpace) -> TabularValues:
    """Return the test accuracy of every network on CIFAR-10, means over seeds and equal entries.

    Args:
        path: columns ``arch`` (the benchmark's digits) and ``mean_acc``, percent.
        space: ``nas_bench_macro``.

    Raises:
        DataError: the file is something else.
        SpaceError: another space.
    """
    if not isinstance(space, NasBenchMacroSpace):
        raise _other_space(space, "nas_bench_macro")
    table = read_columns(path, ("arch", "mean_acc"))
    rows = [space.from_code(code) for code in table["arch"]]
    return _values(space, rows, accuracy=_numbers(table["mean_acc"]) / 100)


def mnasnet_accel(path: Path, space: SearchSpace) -> TabularValues:
    """Return accuracy (a short training on ImageNet) and FPGA latencies of 5,125 networks.

    Args:
        path: columns ``block<i>_<e|k|l|se>`` for seven blocks, ``val_top1`` in percent and
            ``latency_ms_<zcu102|vck190>_mean``, empty where nothing was measured.
        space: ``mnasnet_accel``.

    Raises:
        DataError: the file is something else.
        SpaceError: another space.
    """
    genes = {f"block{b + 1}.{name}" for b in range(_ACCEL_BLOCKS) for name in ("op", "n_layers")}
    if not genes <= space.index.keys():
        raise _other_space(space, "mnasnet_accel")
    latencies = {f"latency_ms.{d}": f"latency_ms_{d}_mean" for d in ("zcu102", "vck190")}
    names = [f"block{b}_{what}" for b in range(_ACCEL_BLOCKS) for what in ("e", "k", "l", "se")]
    table = read_columns(path, (*names, "val_top1", *latencies.values()))
    rows = [
        space.parse(_accel_config(space, {name: table[name][i] for name in names}))
        for i in range(len(table["val_top1"]))
    ]
    columns = {name: _numbers(table[column]) for name, column in latencies.items()}
    return _values(space, rows, accuracy=_numbers(table["val_top1"]) / 100, **columns)


def _accel_config(space: SearchSpace, line: dict[str, str]) -> dict[str, object]:
    """Return the options of a line; genes with one option are the benchmark's constants."""
    config: dict[str, object] = {g.name: g.options[0] for g in space.genes if len(g.options) == 1}
    for b in range(_ACCEL_BLOCKS):
        e, kernel, n_layers, se = (line[f"block{b}_{what}"] for what in ("e", "k", "l", "se"))
        name = f"block{b + 1}"
        config |= {f"{name}.op": f"mbconv_e{e}", f"{name}.kernel": int(kernel)}
        config |= {f"{name}.n_layers": int(n_layers), f"{name}.se": 0.25 if int(se) else 0.0}
    return config


def _values(space: SearchSpace, rows: Sequence[Genes], **columns: Floats) -> TabularValues:
    return TabularValues(space, np.array(rows, dtype=np.int8), columns)


def _numbers(texts: Sequence[str]) -> Floats:
    """Return a column as numbers, NaN where it is empty.

    Raises:
        DataError: something else stands there.
    """
    try:
        return np.array([float(text) if text else np.nan for text in texts])
    except ValueError as error:
        raise DataError(f"a column of numbers holds something else: {error}") from error


def _other_space(space: SearchSpace, wanted: str) -> SpaceError:
    return SpaceError(f"this table is of {wanted}, not of {space.name}; give that space")
