"""Workloads: what is timed, the same in every process, in pools that fit in memory."""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from edgenas.core.counts import weight_bytes
from edgenas.core.errors import UsageError
from edgenas.profiling.workload import (
    ANCHOR,
    ProfileSettings,
    Workload,
    calibration_networks,
    model_bytes,
)
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import expand
from edgenas.spaces.fold import macs
from edgenas.testing.space_contract import width_space

SETTINGS = ProfileSettings(n_networks=60)
PRINT_KEYS = """
from edgenas.profiling.workload import ProfileSettings, Workload
from edgenas.spaces import get
settings = ProfileSettings(n_networks=60)
workload = Workload.of(get("mbv3_tiny"), settings)
again = workload.session_keys(settings, 2)
print(*workload.network_keys, *workload.op_keys, *again, sep="\\n")
"""


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return get("mbv3_tiny")


@pytest.fixture(scope="module")
def workload(space: SearchSpace) -> Workload:
    return Workload.of(space, SETTINGS)


def test_another_process_times_the_same(workload: Workload) -> None:
    command = [sys.executable, "-c", PRINT_KEYS]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    again = workload.session_keys(SETTINGS, 2)
    keys = [*workload.network_keys, *workload.op_keys, *again]
    assert printed.stdout.split("\n")[:-1] == keys


def test_another_seed_times_other_networks(space: SearchSpace, workload: Workload) -> None:
    other = calibration_networks(space, ProfileSettings(n_networks=60, seed=1))
    assert len(set(map(bytes, other)) & set(map(bytes, workload.networks))) < 10


def test_networks_cover_the_range_and_are_distinct(space: SearchSpace, workload: Workload) -> None:
    rows = workload.networks
    assert len(np.unique(rows, axis=0)) == len(rows) == 60
    assert np.array_equal(rows, space.canonical(rows))
    cost = macs(space)
    values = cost(rows)
    extremes = cost(np.stack([space.smallest(), space.largest()]))
    assert values.min() == extremes.min()
    assert values.max() == extremes.max()
    # Uniform genes alone seldom come near the small end, where searches end up.
    uniform = cost(space.sample(2000, np.random.default_rng(0)))
    assert (values < np.quantile(uniform, 0.02)).sum() >= 6
    assert (values > np.quantile(uniform, 0.98)).sum() >= 5


def test_a_space_with_few_networks_is_timed_whole() -> None:
    networks = calibration_networks(width_space(), ProfileSettings(n_networks=100))
    assert len(np.unique(networks, axis=0)) == len(networks)
    assert 30 <= len(networks) <= 40


def test_keys_name_graphs(space: SearchSpace, workload: Workload) -> None:
    graphs = list(workload.graphs())
    keys = [key for key, _ in graphs]
    assert keys == [ANCHOR, *workload.op_keys, *workload.network_keys]
    assert len(set(keys)) == len(keys)
    for key, graph in (graphs[0], graphs[5], graphs[-3]):
        assert workload.graph(key) == graph
    assert graphs[1][1] == expand(space.distinct_ops()[0])
    assert graphs[-1][1] == space.network(workload.networks[-1])


def test_sessions_time_the_same_distinct_networks_under_keys_of_their_own(
    space: SearchSpace, workload: Workload
) -> None:
    rows = workload.session_rows(SETTINGS)
    assert rows == workload.session_rows(SETTINGS) == sorted(set(rows))
    assert len(rows) == SETTINGS.n_session_networks == 20
    assert {0 <= row < len(workload.networks) for row in rows} == {True}
    keys = [workload.session_keys(SETTINGS, session) for session in (1, 2, 3)]
    for session, found in enumerate(keys, 1):
        assert found == [f"{workload.network_keys[row]}@{session}" for row in rows]
        for row, key in list(zip(rows, found, strict=True))[::7]:
            assert workload.graph(key) == space.network(workload.networks[row])
    assert len(set(sum(keys, workload.network_keys))) == 3 * 20 + 60
    assert workload.graph(f"{ANCHOR}@1") == workload.graph(ANCHOR)


def test_which_networks_sessions_time_follows_from_the_seed(workload: Workload) -> None:
    found = {
        tuple(workload.session_rows(replace(SETTINGS, n_session_networks=10, seed=seed)))
        for seed in range(20)
    }
    assert len(found) == 20
    assert len(set().union(*found)) > 50  # of the 60; none is always or never among them


def test_sessions_time_all_networks_of_a_space_with_few(workload: Workload) -> None:
    settings = replace(SETTINGS, n_session_networks=500)
    assert workload.session_rows(settings) == list(range(60))


def test_counts_say_what_every_network_runs(space: SearchSpace, workload: Workload) -> None:
    counts = workload.counts()
    for row, line in zip(workload.networks, counts, strict=True):
        ran = [op for _, op in space.ops(row)]
        assert line.sum() == len(ran)
        assert {workload.ops[j] for j in np.flatnonzero(line)} == set(ran)


def test_pools_hold_every_other_network_once_and_respect_the_limit(workload: Workload) -> None:
    def size(keys: Iterable[str]) -> float:
        return sum(3 * weight_bytes(workload.graph(key)) + 2**20 for key in keys)

    settings = ProfileSettings(n_networks=len(workload.networks), n_session_networks=10, n_pools=3)
    keys = workload.network_keys
    shared = [keys[i] for i in workload.session_rows(settings)]
    others = sorted(set(keys) - set(shared))
    pools = workload.pools(settings, float("inf"))
    assert [len(pool) for pool in pools] == [-(-(len(others) - k) // 3) for k in range(3)]
    assert sorted(key for pool in pools for key in pool) == others
    assert workload.pools(settings, float("inf")) == pools
    alone = workload.pools(settings, 0.0)  # one has to be open, however large
    assert sorted(alone) == [[key] for key in others]
    for limit in (size(shared) + size(others) / 4, size(shared) + 2 * max(map(size, pools)) / 5):
        pools = workload.pools(settings, limit)
        assert sorted(key for pool in pools for key in pool) == others
        assert all(size([*shared, *pool]) <= limit for pool in pools)
        assert len(pools) > 3
        assert settings.processes(len(pools)) >= len(pools)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_networks", 19), ("n_operator_visits", 1), ("n_network_visits", 1), ("n_runs", 0),
     ("n_warmup", -1), ("anchor_every", 0), ("n_sessions", 1), ("n_session_networks", 9),
     ("least_session_s", -1), ("spread_s", -1)],
)  # fmt: skip
def test_too_little_is_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value}; at least {value + 1} are needed"):
        ProfileSettings(**{name: value})


def test_small_networks_are_visited_more_often(space: SearchSpace) -> None:
    small, large = (ProfileSettings.for_space(s) for s in (space, get("ofa_mbv3_w1.0")))
    assert small.n_network_visits > large.n_network_visits >= 16
    assert small.n_operator_visits > large.n_operator_visits >= 20
    chosen = ProfileSettings.for_space(space, n_network_visits=3, seed=9)
    assert (chosen.n_network_visits, chosen.seed) == (3, 9)
    assert chosen.n_operator_visits == small.n_operator_visits


def test_a_format_that_nobody_writes_is_refused(workload: Workload) -> None:
    graph = workload.graph(ANCHOR)
    assert model_bytes(graph, "onnx") == model_bytes(graph, "onnx")
    with pytest.raises(UsageError, match=r"nothing can be profiled as 'engine': .*onnx.*tfl"):
        model_bytes(graph, "engine")


@pytest.mark.parametrize("name", ["mnasnet_b1", "proxylessnas_gpu", "proxylessnas_mobile"])
def test_a_space_of_one_network_is_profiled(name: str) -> None:
    """Budgets between equal ends may come out a little below them."""
    networks = calibration_networks(get(name), ProfileSettings(n_networks=40))
    assert len(networks) == 1
