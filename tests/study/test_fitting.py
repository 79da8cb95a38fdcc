"""Tables from whole networks' timings: what the lines may be, what the table then says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.cli import main
from edgenas.core.errors import MissingCostError, UsageError
from edgenas.core.paths import data_folder
from edgenas.costs.active import Criterion
from edgenas.costs.counts import operator_counts
from edgenas.costs.model import LatencyModel
from edgenas.costs.store import locate
from edgenas.costs.table import CostTable
from edgenas.hardware.device import load_device
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.study.fitting import (
    Timings,
    entries_of,
    fit_timings,
    identity_of,
    networks_to_time,
    read_timings,
    table_from_timings,
)
from tests.costs.conftest import table_of_kind

PRIOR = next(
    iter(sorted(data_folder("latency_tables").glob("*/onnxruntime-float32/mbv3_tiny.csv")))
)
BOARD: dict[str, Any] = {
    "version": None,
    "precision": "float32",
    "threads": None,
    "delegate": None,
}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return get("mbv3_tiny")


@pytest.fixture(scope="module")
def prior() -> CostTable:
    return CostTable.load(PRIOR)


def lines_of(space: SearchSpace, prior: CostTable, n: int, **more: Any) -> list[dict[str, Any]]:
    """Returns timings of a device that is a third slower than the table's, with 1 % noise."""
    rng = np.random.default_rng(3)
    networks = space.sample(n, rng)
    times = LatencyModel(space, prior).latency_ms(networks) * 4 / 3
    return [
        {"genes": row.tolist(), "latency_ms": float(ms * rng.normal(1, 0.01)), **more}
        for row, ms in zip(networks, times, strict=True)
    ]


def text_of(lines: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(line) for line in lines) + "\n\n"


def test_timings_are_read(space: SearchSpace) -> None:
    config = space.describe(space.largest())
    lines = [
        {"genes": space.smallest().tolist(), "latency_ms": [1.0, 2], "at_s": 3},
        {"config": config, "latency_ms": [4.0, 5.0], "at_s": 6.5},
        {**config, "latency_ms": [7.0, 8.0], "at_s": 0},
    ]
    found = read_timings(text_of(lines), space)
    assert found.networks.tolist() == [
        space.smallest().tolist(),
        space.largest().tolist(),
        space.largest().tolist(),
    ]
    assert found.times_ms.tolist() == [[1.0, 4.0, 7.0], [2.0, 5.0, 8.0]]
    assert found.at_s is not None
    assert found.at_s.tolist() == [3.0, 6.5, 0.0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latency_ms": 0}, "line 2: latency_ms is 0; a number above 0"),
        ({"latency_ms": "1"}, "line 2: latency_ms is '1'"),
        ({"latency_ms": True}, "line 2: latency_ms is True"),
        ({"latency_ms": None}, "line 2: latency_ms is None"),
        ({"latency_ms": []}, "line 2: latency_ms is empty"),
        ({"latency_ms": [1, 2]}, "as many numbers on every line"),
        ({"at_s": 1}, "on every line or on none"),
        ({"at_s": "noon"}, "line 2: at_s is 'noon'"),
        ({"genes": [0]}, "line 2: genes of mbv3_tiny"),
        ({"genes": "x"}, "line 2: 'genes' is a list"),
    ],
)
def test_lines_that_are_no_timings(space: SearchSpace, change: dict[str, Any], words: str) -> None:
    line = {"genes": space.smallest().tolist(), "latency_ms": 1.0}
    with pytest.raises(UsageError, match=words.replace("[", r"\[")):
        read_timings(text_of([line, line | change]), space)


def test_text_that_is_no_json(space: SearchSpace) -> None:
    for text, words in (("{", "line 1"), ("[1]", "an object is expected"), ("", "no architecture")):
        with pytest.raises(UsageError, match=words):
            read_timings(text, space)


def test_a_fitted_table(space: SearchSpace, prior: CostTable) -> None:
    timings = read_timings(text_of(lines_of(space, prior, 60)), space)
    table = table_from_timings(space, timings, identity_of("Board", "tvm", **BOARD))
    own = table.passport
    assert (own.provenance, own.device.slug, own.runtime.version) == ("fitted", "board", "unknown")
    assert (own.plan, own.drift, own.parents) == (None, None, [])
    assert table.missing(space) == []
    fresh = space.sample(200, np.random.default_rng(9))
    predicted = LatencyModel(space, table).latency_ms(fresh)
    truth = LatencyModel(space, prior).latency_ms(fresh) * 4 / 3
    assert np.abs(predicted / truth - 1).mean() < 0.03


def test_ten_networks_carry_a_table_over(space: SearchSpace, prior: CostTable) -> None:
    timings = read_timings(text_of(lines_of(space, prior, 10)), space)
    here = identity_of(load_device("local"), "onnxruntime", **BOARD)
    table = table_from_timings(space, timings, here, prior=prior, transfer=True)
    own = table.passport
    assert own.provenance == "transferred"
    assert own.device.match_key == load_device("local").fingerprint.match_key
    assert own.runtime.threads == 1
    assert [parent.checksum for parent in own.parents] == [prior.passport.checksum]
    model = LatencyModel(space, table)
    fresh = space.sample(200, np.random.default_rng(9))
    truth = LatencyModel(space, prior).latency_ms(fresh) * 4 / 3
    assert np.abs(model.latency_ms(fresh) / truth - 1).mean() < 0.02
    assert "transferred" in model.caveats[0]


def test_what_does_not_go_together(space: SearchSpace, prior: CostTable) -> None:
    board = identity_of("Board", "tvm", **BOARD)
    timings = read_timings(text_of(lines_of(space, prior, 10)), space)
    with pytest.raises(UsageError, match="--prior"):
        table_from_timings(space, timings, board, transfer=True)
    timed = read_timings(text_of(lines_of(space, prior, 10, at_s=1.0)), space)
    with pytest.raises(UsageError, match="at_s"):
        table_from_timings(space, timed, board, prior=prior, transfer=True)
    other = get("mbv3_tiny", mix_width=72)
    with pytest.raises(MissingCostError, match="no row for"):
        table_from_timings(other, timings, board, prior=prior)


@pytest.fixture(scope="module")
def small() -> SearchSpace:
    return get("mbv3_tiny", resolutions=[16, 20], kernels=[3, 5], expansions=[2, 3])


def timed(space: SearchSpace, networks: npt.NDArray[np.int8]) -> Timings:
    """Returns made-up times, with 1 % noise."""
    rng = np.random.default_rng(len(networks))
    counts = operator_counts(space, networks, space.distinct_ops())
    cost = np.random.default_rng(0).uniform(0.1, 1.0, counts.shape[1])
    times = (1 + counts @ cost) * rng.normal(1, 0.01, len(networks))
    return Timings(networks, times[None], None)


def test_the_next_network_is_the_one_that_the_fit_is_least_sure_of(small: SearchSpace) -> None:
    some = timed(small, small.sample(25, np.random.default_rng(1)))
    found = fit_timings(small, some)
    chosen = networks_to_time(small, some, found, 4, n_pool=200, seed=3)
    assert chosen.shape == (4, small.n_genes)
    assert len(np.unique(np.concatenate([chosen, some.networks]), axis=0)) == len(
        np.unique(some.networks, axis=0)
    ) + len(chosen)
    pool = small.sample(200, np.random.default_rng(3))

    def doubt(networks: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
        counts = operator_counts(small, networks, small.distinct_ops())
        share: npt.NDArray[np.float64] = found.fitted.std_of(counts) / found.fitted.predict(counts)
        return share

    assert doubt(chosen)[0] >= doubt(pool).max()
    # Once they have been timed, the fit is surer of the space.
    networks = np.concatenate([some.networks, chosen])
    then = fit_timings(small, timed(small, networks)).fitted
    counts = operator_counts(small, chosen, small.distinct_ops())
    assert (then.std_of(counts) / then.predict(counts)).max() < doubt(chosen)[0]


def test_networks_to_time_may_be_chosen_for_all_others(small: SearchSpace) -> None:
    some = timed(small, small.sample(25, np.random.default_rng(1)))
    found = fit_timings(small, some)
    criteria: tuple[Criterion, ...] = ("variance", "reduction", "reduction")
    ways = [networks_to_time(small, some, found, 5, by=by, n_pool=100).tolist() for by in criteria]
    assert ways[1] == ways[2] != ways[0]


def test_there_may_be_too_few_networks_to_choose_from(small: SearchSpace) -> None:
    some = timed(small, small.sample(25, np.random.default_rng(1)))
    with pytest.raises(UsageError, match=r"40 networks .* 12 drawn .* --pool"):
        networks_to_time(small, some, fit_timings(small, some), 40, n_pool=10)


def test_networks_to_time_are_lines_of_timings(small: SearchSpace) -> None:
    networks = small.sample(3, np.random.default_rng(2))
    lines = [{**entry, "latency_ms": 2.0} for entry in entries_of(small, networks)]
    assert read_timings(text_of(lines), small).networks.tolist() == networks.tolist()


def test_the_verb(
    space: SearchSpace,
    prior: CostTable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    file = tmp_path / "timings.jsonl"
    file.write_text(text_of(lines_of(space, prior, 30)))
    command = ["tables", "fit", str(file), "--space", "mbv3_tiny", "--runtime", "tvm"]
    out = ["--out", str(tmp_path / "out.csv")]
    assert main([*command, *out]) == 2
    assert "--device-name" in capsys.readouterr().err
    assert main([*command, *out, "--device-name", "Board", "--prior", str(PRIOR)]) == 0
    assert "fitted" in capsys.readouterr().out
    assert CostTable.load(locate(tmp_path / "out.csv")).passport.parents
    assert main([*command, "--device-name", "Board", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["table"].endswith("latency_tables/board/tvm-float32/mbv3_tiny.csv")
    assert main([*command[:2], "absent", *command[3:], "--device-name", "b"]) == 2
    assert "cannot read absent" in capsys.readouterr().err


def test_the_verb_says_what_to_time_next(
    space: SearchSpace, prior: CostTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, later = tmp_path / "timings.jsonl", tmp_path / "next.jsonl"
    lines = lines_of(space, prior, 30)
    file.write_text(text_of([line | {"at_s": float(i)} for i, line in enumerate(lines)]))
    command = ["tables", "fit", str(file), "--space", "mbv3_tiny", "--device-name", "Board"]
    command += ["--out", str(tmp_path / "out.csv"), "--force", "--pool", "50"]
    assert main([*command, "--next-out", str(later)]) == 2
    assert "--next N" in capsys.readouterr().err
    assert main([*command, "--next", "3", "--next-out", str(later)]) == 0
    said = capsys.readouterr().out
    assert f"3 networks to time next: {later}" in said
    assert "with the machine's drift taken out" in said
    chosen = [json.loads(line) for line in later.read_text().splitlines()]
    assert len(chosen) == 3
    assert main([*command, "--next", "3"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-4:] == ["3 networks to time next:", *(json.dumps(one) for one in chosen)]
    assert main([*command, "--next", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["next"] == chosen
    assert found["passport"]["calibration"]["autocorrelation"] is not None
    assert main([*command, "--next", "60"]) == 2
    assert "draw more with --pool" in capsys.readouterr().err
    command.remove("--force")
    assert main([*command, "--next", "3", "--next-out", str(later)]) == 2
    assert f"{later} is there already" in capsys.readouterr().err


def test_the_verb_takes_no_other_kind_for_a_prior(
    space: SearchSpace, prior: CostTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "timings.jsonl"
    file.write_text(text_of(lines_of(space, prior, 30)))
    energy = tmp_path / "mbv3_tiny.energy.csv"
    table_of_kind(prior, "energy").save(energy)
    command = ["tables", "fit", str(file), "--space", "mbv3_tiny", "--device-name", "Board"]
    out = tmp_path / "out.csv"
    assert main([*command, "--prior", str(energy), "--out", str(out)]) != 0
    assert "holds energy, and latency is asked for" in capsys.readouterr().err
    assert not out.exists()
