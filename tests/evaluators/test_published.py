"""Published benchmarks as tables: figures that their papers state, and files that are none."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.errors import DataError, SpaceError
from edgenas.evaluators import published


def test_the_best_cells_are_those_of_the_benchmark(bench_data: Path) -> None:
    path = bench_data / "nb201_hw/nb201_arch_accuracy.csv.gz"
    space = spaces.get("nas_bench_201")
    for data, best in (("cifar10", 0.943733), ("cifar100", 0.735033)):
        table = published.nas_bench_201(path, space, data=data)
        assert table.values["accuracy"].shape == (15625,)
        assert table.values["accuracy"].max() == pytest.approx(best, abs=1e-6)
    arch = space.architectures(table.rows[table.values["accuracy"].argmax()][None])
    (found,) = table.evaluate(arch)
    assert found.values["accuracy"] == pytest.approx(0.735033, abs=1e-6)


def test_equal_networks_are_one(bench_data: Path) -> None:
    path = bench_data / "nas_bench_macro/nas_bench_macro_cifar10.csv.gz"
    space = spaces.get("nas_bench_macro")
    table = published.nas_bench_macro(path, space)
    assert len(table.rows) == 3969
    best = space.from_code("22212202")
    assert table(best[None])["accuracy"][0] == pytest.approx(0.931267, abs=1e-6)
    columns = published.read_columns(path)
    same = [
        float(columns["mean_acc"][i]) / 100
        for i, code in enumerate(columns["arch"])
        if np.array_equal(space.from_code(code), space.from_code("20120000"))
    ]
    assert len(same) > 1
    assert table(space.from_code("20120000")[None])["accuracy"][0] == pytest.approx(np.mean(same))


def test_sampled_networks_have_accuracies_and_latencies(bench_data: Path) -> None:
    path = bench_data / "accel_nasbench_mnasnet/anb_mnasnet_imagenet.csv.gz"
    table = published.mnasnet_accel(path, spaces.get("mnasnet_accel"))
    assert len(table.rows) == 5125
    accuracy = table.values["accuracy"]
    assert 0.42 < accuracy.min() < accuracy.max() < 0.672
    assert np.isnan(table.values["latency_ms.zcu102"]).sum() <= 2
    assert set(table.values) == {"accuracy", "latency_ms.zcu102", "latency_ms.vck190"}


def test_what_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    space = spaces.get("nas_bench_macro")
    with pytest.raises(DataError, match="cannot read"):
        published.nas_bench_macro(path, space)
    path.write_text("arch,mean\n00000000,1\n")
    with pytest.raises(DataError, match=r"no column 'mean_acc'.*nearest: mean"):
        published.nas_bench_macro(path, space)
    path.write_text("arch,mean_acc\n00000000\n")
    with pytest.raises(DataError, match="line 2 has not the 2 columns"):
        published.nas_bench_macro(path, space)
    path.write_text("arch,mean_acc\n00000000,good\n")
    with pytest.raises(DataError, match="holds something else"):
        published.nas_bench_macro(path, space)
    zipped = tmp_path / "a.csv.gz"
    zipped.write_bytes(gzip.compress(b"arch,mean_acc\n00000000,50\n")[:-9])
    with pytest.raises(DataError, match="cannot read"):
        published.nas_bench_macro(zipped, space)
    path.write_text("arch,mean_acc\n00000000,50\n")
    assert published.nas_bench_macro(path, space).values["accuracy"].tolist() == [0.5]
    for read in (published.nas_bench_201, published.mnasnet_accel):
        with pytest.raises(SpaceError, match="not of nas_bench_macro"):
            read(path, space)
