"""Importers of the published formats: keys map strictly, published sums come out exactly."""

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import (
    MissingCostError,
    RegistryError,
    SchemaError,
    TableError,
    UsageError,
)
from edgenas.core.ops import OpSpec
from edgenas.costs.importers import Published, import_table
from edgenas.costs.importers.columns import importer_of
from edgenas.costs.model import LatencyModel
from edgenas.costs.table import CostTable
from edgenas.spaces import get
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.blocks import conv_block, mbconv, mbv3_head

NOTE10 = Published("Samsung Note10", runtime="tflite", note="once-for-all's tables")
HEAD = """\
Conv-input:32x32x1-output:16x16x16: {count: 9, mean: 0.5, std: 0.1}
Conv_1-input:2x2x80-output:2x2x320: {count: 8, mean: 0.25, std: 0.03}
AvgPool2D-input:2x2x320-output:1x1x320: {count: 7, mean: 0.125, std: 0.04}
Conv_2-input:1x1x320-output:1x1x480: {count: 6, mean: 0.0625}
Logits-input:1x1x480-output:10: {count: 5, mean: 0.03125, std: 0.0}
"""


@pytest.fixture
def tiny() -> SearchSpace:
    """Two operators: a stem and a head, as once-for-all's tables have them."""
    stem = conv_block((1, 32, 32), 16, kernel=3, stride=2, activation="h_swish")
    head = mbv3_head((80, 2, 2), final_channels=320, mix_channels=480, n_classes=10)
    return SearchSpace(
        "two",
        (Gene("k", (3,)),),
        (Factor("stem", ("k",), lambda k: (stem,)), Factor("head", ("k",), lambda k: (head,))),
        parameters={"preset": "two"},
        n_classes=10,
    )


def write(folder: Path, text: str, name: str = "table.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_an_operators_parts_are_added_up(tmp_path: Path, tiny: SearchSpace) -> None:
    text = HEAD.replace("mean: 0.0625", "mean: 0.0625, std: 0.0")
    found = import_table(importer_of("ofa"), [write(tmp_path, text)], tiny, NOTE10)
    assert found.unused == found.missing == ()
    stem, head = (found.table[op] for op in tiny.distinct_ops())
    assert (stem.cost, stem.std, stem.isolated, stem.n_visits) == (0.5, 0.1, None, 9)
    assert (head.cost, head.n_visits) == (0.46875, 5)
    assert head.std == pytest.approx(0.05)


def test_the_passport_of_an_import(tmp_path: Path, tiny: SearchSpace) -> None:
    path = write(tmp_path, HEAD)
    table = import_table(importer_of("ofa"), [path], tiny, NOTE10).table
    own = table.passport
    assert (own.provenance, own.device.slug) == ("published", "samsung-note10")
    assert (own.calibration, own.plan, own.drift) == (None, None, None)
    assert own.source is not None
    assert (own.source.format, own.source.files[0].name) == ("ofa", "table.yaml")
    assert table[tiny.distinct_ops()[1]].std is None  # one part does not tell it
    table.save(tmp_path / "out.csv")
    read = CostTable.load(tmp_path / "out.csv")
    assert read.rows == table.rows
    assert read.passport == table.passport


def test_what_does_not_map_is_named(tmp_path: Path, tiny: SearchSpace) -> None:
    more = "expanded_conv-input:1x1x1-output:1x1x1: {count: 1, mean: 1}\n"
    with pytest.raises(TableError, match=r"1 entries are of no operator of two: expanded_conv-inp"):
        import_table(importer_of("ofa"), [write(tmp_path, HEAD + more)], tiny, NOTE10)
    found = import_table(
        importer_of("ofa"), [write(tmp_path, HEAD + more)], tiny, NOTE10, partial=True
    )
    assert [entry.key for entry in found.unused] == ["expanded_conv-input:1x1x1-output:1x1x1"]
    assert found.table.passport.source is not None
    assert found.table.passport.source.n_unused == 1

    less = "".join(line for line in HEAD.splitlines(keepends=True) if "Logits" not in line)
    parts = re.escape("Conv_1-input:2x2x80-output:2x2x320")
    with pytest.raises(TableError, match=f"3 entries are of no operator of two: {parts}"):
        import_table(importer_of("ofa"), [write(tmp_path, less)], tiny, NOTE10)
    only = HEAD.splitlines(keepends=True)[0]
    with pytest.raises(MissingCostError, match="1 operators of two have no entry: mbv3_head"):
        import_table(importer_of("ofa"), [write(tmp_path, only)], tiny, NOTE10)
    found = import_table(importer_of("ofa"), [write(tmp_path, only)], tiny, NOTE10, partial=True)
    assert [op.kind for op in found.missing] == ["mbv3_head"]
    with pytest.raises(MissingCostError, match="no row for mbv3_head"):
        LatencyModel(tiny, found.table)
    with pytest.raises(MissingCostError, match="another space"):
        import_table(importer_of("ofa"), [write(tmp_path, more)], tiny, NOTE10, partial=True)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mean: 0.5", "mean: 0", "greater than 0"),
        ("mean: 0.5", "mean: -1", "greater than 0"),
        ("mean: 0.5", "mean: .nan", "mean"),
        ("mean: 0.5", "mean: fast", "mean"),
        ("mean: 0.5", "average: 0.5", "average"),
        ("count: 9", "count: 0", "count"),
        ("std: 0.1", "std: -0.1", "std"),
        ("Conv_1-input", "Conv-input:32x32x1-output:16x16x16: {count: 1, mean: 1}\nC", "twice"),
        (HEAD, "[1, 2]", "mapping"),
        (HEAD, "", "empty"),
    ],
)
def test_broken_yaml_is_refused(
    tmp_path: Path, tiny: SearchSpace, old: str, new: str, words: str
) -> None:
    assert old in HEAD
    path = write(tmp_path, HEAD.replace(old, new, 1))
    with pytest.raises(SchemaError, match=words):
        import_table(importer_of("ofa"), [path], tiny, NOTE10)


def test_several_files(tmp_path: Path, tiny: SearchSpace) -> None:
    first = write(tmp_path, HEAD, "a.yaml")
    same = write(tmp_path, HEAD, "b.yaml")
    assert import_table(importer_of("ofa"), [first, same], tiny, NOTE10).table.rows
    other = write(tmp_path, HEAD.replace("count: 9, mean: 0.5", "count: 27, mean: 0.9"), "b.yaml")
    with pytest.raises(TableError, match=r"several costs: 0.5, 0.9 ms.*--duplicates mean"):
        import_table(importer_of("ofa"), [first, other], tiny, NOTE10)
    found = import_table(importer_of("ofa"), [first, other], tiny, NOTE10, duplicates="mean")
    row = found.table[tiny.distinct_ops()[0]]
    assert row.cost == pytest.approx((9 * 0.5 + 27 * 0.9) / 36)
    assert row.n_visits == 36
    # Within the files .1 and .1, between them .1 and .3 off the mean.
    assert row.std == pytest.approx((0.1**2 + (9 * 0.3**2 + 27 * 0.1**2) / 36) ** 0.5)
    silent = write(tmp_path, HEAD.replace("mean: 0.5, std: 0.1", "mean: 0.9"), "b.yaml")
    found = import_table(importer_of("ofa"), [first, silent], tiny, NOTE10, duplicates="mean")
    row = found.table[tiny.distinct_ops()[0]]
    assert row.cost == pytest.approx(0.7)
    assert row.std is None  # one file does not tell it, and it is not 0
    with pytest.raises(UsageError, match="two files are called"):
        import_table(importer_of("ofa"), [first, first], tiny, NOTE10)
    with pytest.raises(UsageError, match="no such file"):
        import_table(importer_of("ofa"), [tmp_path / "absent"], tiny, NOTE10)
    with pytest.raises(UsageError, match="no file was given"):
        import_table(importer_of("ofa"), [], tiny, NOTE10)


def test_names_are_checked(tmp_path: Path, tiny: SearchSpace) -> None:
    with pytest.raises(RegistryError, match="nearest: ofa"):
        importer_of("ofas")
    with pytest.raises(UsageError, match="--columns"):
        importer_of("csv")
    with pytest.raises(UsageError, match="csv"):
        importer_of("ofa", tmp_path / "columns.yaml")
    with pytest.raises(UsageError, match="no letter"):
        import_table(importer_of("ofa"), [write(tmp_path, HEAD)], tiny, Published("!?"))
    with pytest.raises(UsageError, match="unknown precision"):
        Published("x", precision="int4")  # type: ignore[arg-type]


def test_operators_that_a_format_has_no_words_for() -> None:
    relu = mbconv(
        (8, 4, 4), 8, mid_channels=24, kernel=3, stride=1, activation="relu", squeeze_excite=False
    )
    relu6 = mbconv(
        (8, 4, 4), 8, mid_channels=24, kernel=3, stride=1, activation="relu6", squeeze_excite=False
    )
    odd = mbconv(
        (8, 4, 4), 8, mid_channels=20, kernel=3, stride=1, activation="relu6", squeeze_excite=False
    )
    pool = OpSpec.make("global_avg_pool", (8, 4, 4))
    ofa, proxyless, nsga = (importer_of(name) for name in ("ofa", "proxylessnas", "nsganetv2"))
    assert ofa.keys(relu6) is None
    assert proxyless.keys(relu) is None
    assert proxyless.keys(odd) is None
    assert proxyless.keys(relu6)
    assert nsga.keys(odd) is None
    assert all(importer.keys(pool) is None for importer in (ofa, proxyless, nsga))


# -- the originals ---------------------------------------------------------------------------


def lines_of(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt") as stream:
        yield from csv.DictReader(stream)


def ofa_genes(space: SearchSpace, line: dict[str, str]) -> np.ndarray:
    """Returns the genes of a network that is written as lists of its blocks."""
    kernels, mids, outs = (
        [int(text) for text in line[name].split()]
        for name in ("kernels", "mid_channels", "out_channels")
    )
    config = {"resolution": int(line["image_size"])}
    block = 1  # the first is fixed
    for stage, width in enumerate((32, 48, 96, 136, 192), start=1):
        depth = outs[1:].count(width)
        config[f"stage{stage}.depth"] = depth
        for i in range(depth):
            config[f"stage{stage}.block{i}.kernel"] = kernels[block]
            config[f"stage{stage}.block{i}.expansion"] = mids[block] // outs[block - 1]
            block += 1
    return space.parse(config)[None]


def test_once_for_alls_published_sums(bench_data: Path) -> None:
    space = get("ofa_mbv3_w1.2", resolutions=[224])
    file = bench_data / "ofa_mbv3/raw/note10_224.yaml"
    found = import_table(importer_of("ofa"), [file], space, NOTE10)
    assert found.unused == found.missing == ()
    model = LatencyModel(space, found.table)
    nets = lines_of(bench_data / "ofa_mbv3/ofa_specialized_nets.csv.gz")
    lines = [line for line in nets if line["note10_lut_sum_ms_derived"]]
    assert len(lines) == 4
    for line in lines:
        (prediction,) = model.predictions(ofa_genes(space, line))
        assert prediction.value == pytest.approx(
            float(line["note10_lut_sum_ms_derived"]), rel=1e-12
        )
        assert (prediction.low, prediction.high) == (None, None)
        assert (prediction.coverage, prediction.provenance) == ("published", "published")
        if line["net_id"].startswith("note10_lat-30ms"):
            assert round(prediction.value, 3) == 29.965


def test_once_for_alls_five_resolutions(bench_data: Path) -> None:
    space = get("ofa_mbv3_w1.2")
    files = sorted((bench_data / "ofa_mbv3/raw").glob("note10_*.yaml"))
    assert len(files) == 5
    with pytest.raises(TableError, match="several costs"):  # equal sizes under two resolutions
        import_table(importer_of("ofa"), files, space, NOTE10)
    found = import_table(importer_of("ofa"), files, space, NOTE10, duplicates="mean")
    assert found.unused == found.missing == ()
    assert len(found.table.rows) == len(space.distinct_ops())


@pytest.mark.parametrize("width", ["1.0", "1.2"])
def test_the_i7_table_holds_both_widths_whole(bench_data: Path, width: str) -> None:
    space = get(f"ofa_mbv3_w{width}", resolutions=list(range(96, 257, 4)))
    file = bench_data / "ofa_mbv3/i7_8700k_block_lut_nsganetv2.csv.gz"
    i7 = Published("Intel i7-8700K")
    with pytest.raises(TableError, match="2025 entries are of no operator"):
        import_table(importer_of("nsganetv2"), [file], space, i7)
    found = import_table(importer_of("nsganetv2"), [file], space, i7, partial=True)
    assert found.missing == ()
    assert len(found.unused) == 2025  # the other width's
    model = LatencyModel(space, found.table)
    row = space.largest()[None]
    lines = {line["key"]: float(line["mean"]) for line in lines_of(file)}
    keys = [key for _, op in space.ops(row[0]) for key in importer_of("nsganetv2").keys(op) or ()]
    assert model.latency_ms(row)[0] == pytest.approx(sum(lines[key] for key in keys), rel=1e-12)
    assert len(keys) == 22 + 3  # stem, first, twenty blocks; three parts of the head


def test_proxylessnas_published_sum(bench_data: Path) -> None:
    space = get("proxylessnas")
    file = bench_data / "proxyless_mobile_lut/mobile_trim.yaml"
    pixel = Published("Pixel 1")
    found = import_table(importer_of("proxylessnas"), [file], space, pixel, partial=True)
    assert found.missing == ()
    first = "expanded_conv-input:112x112x32-output:112x112x16-expand:1-kernel:"
    unused = [entry.key for entry in found.unused]  # the space keeps the first kernel at 3
    assert [key.startswith(first) for key in unused] == [True, True]
    published = {
        line["key"]: float(line["mean_ms"])
        for line in lines_of(bench_data / "proxyless_mobile_lut/proxyless_block_luts.csv.gz")
        if line["table"] == "mobile_trim"
    }
    assert len(published) == 72
    total = sum(row.cost for row in found.table.rows.values())
    wanted = sum(cost for key, cost in published.items() if key not in unused)
    assert total == pytest.approx(wanted, rel=1e-12)
    block = "expanded_conv-input:14x14x96-output:14x14x96-expand:6-kernel:5-stride:1-idskip:1"
    row = found.table.rows[
        "mbconv(96x14x14;activation=relu6,kernel=5,mid_channels=576,out_channels=96,se=0,stride=1)"
    ]
    assert row.cost == published[block]
