"""Making a table without an engine: what is written, resuming after every sort of end, refusals."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgenas.core.architecture import Genes
from edgenas.core.errors import AgentError, DeviceError, StorageError
from edgenas.costs.conditions import Conditions
from edgenas.costs.store import find_table
from edgenas.costs.table import CostTable
from edgenas.hardware.device import Device, load_device
from edgenas.hardware.throttling import Pause, ThermalState
from edgenas.profiling import profile as profile_module
from edgenas.profiling import recorder as recorder_module
from edgenas.profiling import retrying
from edgenas.profiling import workload as workload_module
from edgenas.profiling.profile import _plan, profile
from edgenas.profiling.workload import ANCHOR, ProfileSettings, Workload, calibration_networks
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.testing.disk import small_disk
from edgenas.testing.space_contract import width_space

Samples = dict[int, tuple[str, float, list[float]]]
ReadSamples = Callable[[Path], Samples]
Make = Callable[..., CostTable]
DieAfter = Callable[..., None]


def path_of(root: Path, device: Device, space: SearchSpace, runtime: str = "onnxruntime") -> Path:
    return root / device.fingerprint.slug / f"{runtime}-float32" / f"{space.name}.csv"


def journal_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.journal.jsonl")


@pytest.fixture
def path(tmp_path: Path, device: Device, space: SearchSpace) -> Path:
    return path_of(tmp_path, device, space)


def test_a_table_its_passport_and_its_samples_are_written(
    bench: Any,
    make: Make,
    device: Device,
    space: SearchSpace,
    few: ProfileSettings,
    path: Path,
    read_samples: ReadSamples,
) -> None:
    told: list[tuple[str, int, int]] = []
    table = make(progress=lambda *told_: told.append(told_))
    assert {p.name for p in path.parent.iterdir()} == {
        f"{space.name}{ending}" for ending in (".csv", ".meta.yaml", ".samples.csv.gz")
    }
    read = CostTable.load(path)
    assert read.passport.model_dump(mode="json") == table.passport.model_dump(mode="json")
    assert set(read.rows) == {op.key for op in space.distinct_ops()}
    fingerprint = device.fingerprint
    found = read.passport
    assert found.provenance == "measured"
    assert (found.space.name, found.space.fingerprint) == (space.name, space.fingerprint)
    assert (found.device.slug, found.device.match_key) == (fingerprint.slug, fingerprint.match_key)
    assert (found.runtime.version, found.runtime.threads, found.runtime.affinity) == ("1.0", 1, [0])
    assert found.plan.n_network_visits == few.n_network_visits
    assert found.calibration.n_networks == 20
    assert found.calibration.held_out.n_networks == 30  # ten networks, in three processes
    assert len(found.calibration.session_ratios) == found.plan.n_sessions == 3
    read.check_serves(
        space, Conditions(fingerprint.match_key, "onnxruntime", "float32", "1.0", threads=1)
    )
    samples = read_samples(path)
    assert [samples[k][0] for k in range(len(samples))] == bench.visited
    for row in read.rows.values():
        assert row.n_visits == 2
    assert found.drift.n_anchor_visits == bench.visited.count(ANCHOR)
    assert (found.drift.slow_share, found.drift.anchor_min_ms) == (0, found.drift.anchor_max_ms)
    whats = [what for what, _, _ in told]
    assert set(whats) == {f"profiling {space.name} on onnxruntime", "loading into onnxruntime"}
    assert told[-1][1:] == (len(samples), len(samples))
    assert all(done <= total for _, done, total in told)


def test_every_artefact_is_visited_as_often_as_planned(
    bench: Any, make: Make, space: SearchSpace, few: ProfileSettings
) -> None:
    make()
    workload = Workload.of(space, few)
    counts = Counter(bench.visited)
    anchors = counts.pop(ANCHOR)
    shared = [key for session in (1, 2, 3) for key in workload.session_keys(few, session)]
    (own,) = workload.pools(few, float("inf"))
    assert counts == dict.fromkeys([*workload.op_keys, *own, *shared], 2)
    assert anchors >= sum(counts.values()) // few.anchor_every


def test_pools_share_the_operators_visits(
    bench: Any,
    make: Make,
    space: SearchSpace,
    few: ProfileSettings,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_samples: ReadSamples,
) -> None:
    monkeypatch.setattr(profile_module, "_MEMORY_SHARE", 1e-12)  # no two networks fit together
    settings = replace(few, n_operator_visits=30)
    make(settings=settings)
    workload = Workload.of(space, settings)
    counts = Counter(bench.visited)
    assert bench.n_opened == 10  # one for each network that is not timed in all of them
    assert {counts[key] for key in chain(*workload.pools(settings, 0.0))} == {2}
    assert {counts[key] for key in workload.op_keys} == {30}  # three in each pool
    again = workload.session_keys(settings, 10)
    assert set(bench.processes[-1].visited) >= {ANCHOR, *again}
    assert {counts[key] for key in again} == {2}
    assert sorted(read_samples(path)) == list(range(len(bench.visited)))


def test_every_session_is_a_process_of_its_own(
    bench: Any, make: Make, space: SearchSpace, few: ProfileSettings
) -> None:
    settings = replace(few, n_sessions=4)
    make(settings=settings)
    workload = Workload.of(space, settings)
    main, *further = bench.processes
    (own,) = workload.pools(settings, float("inf"))
    shared = workload.session_keys(settings, 1)
    assert set(main.visited) == {ANCHOR, *workload.op_keys, *own, *shared}
    assert len(further) == 3
    for session, process in enumerate(further, 2):
        keys = workload.session_keys(settings, session)
        counts = Counter(process.visited)
        assert counts.pop(ANCHOR) == 3  # at both ends, and after ten visits of twenty
        assert process.visited[0] == process.visited[-1] == ANCHOR
        assert counts == dict.fromkeys(keys, 2)
        assert process.models.keys() == {ANCHOR, *keys}
    orders = {tuple(key.partition("@")[0] for key in process.visited) for process in further}
    assert len(orders) == 3


def test_visits_are_spaced_over_the_least_time_of_every_session(
    bench: Any,
    make: Make,
    few: ProfileSettings,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_samples: ReadSamples,
) -> None:
    now_s = [0.0]

    def sleep(duration_s: float) -> None:
        assert duration_s > 0
        now_s[0] += duration_s

    clock = SimpleNamespace(monotonic=lambda: now_s[0], sleep=sleep)
    for module in (profile_module, recorder_module):
        monkeypatch.setattr(module, "time", clock)  # on it only pauses take time
    make(settings=replace(few, least_session_s=60))
    ended_s = iter(at_s for _, (_, at_s, _) in sorted(read_samples(path).items()))
    began_s = 0.0
    for process in bench.processes:
        n = len(process.visited)
        share = [0] * 4 + [k / n for k in range(4, n)]  # a process begins with a chunk of four
        found_s = [next(ended_s) - began_s for _ in share]
        assert found_s == pytest.approx([60 * part for part in share], abs=2e-3)
        began_s += 60 * (n - 1) / n  # after the last visit there is nothing to wait for
    assert now_s[0] == pytest.approx(began_s)


def test_processes_are_spread_over_the_time_that_is_asked_for(
    bench: Any,
    make: Make,
    few: ProfileSettings,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_samples: ReadSamples,
) -> None:
    now_s = [0.0]
    slept: list[float] = []

    def sleep(duration_s: float) -> None:
        slept.append(duration_s)
        now_s[0] += duration_s

    clock = SimpleNamespace(monotonic=lambda: now_s[0], sleep=sleep)
    for module in (profile_module, recorder_module):
        monkeypatch.setattr(module, "time", clock)
    make(settings=replace(few, spread_s=120))
    at_s = iter(at_s for _, (_, at_s, _) in sorted(read_samples(path).items()))
    found_s = [{next(at_s) for _ in process.visited} for process in bench.processes]
    assert found_s == [{0.0}, {60.0}, {120.0}]
    assert max(slept) <= 5  # a device that is lost meanwhile is noticed


def test_a_device_that_is_lost_while_it_rests_is_taken_up_again(
    bench: Any, make: Make, few: ProfileSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, lost_at_s = [0.0], [20.0, 70.0, 75.0]
    renewed_s: list[float] = []
    clock = SimpleNamespace(
        monotonic=lambda: now_s[0], sleep=lambda s: now_s.__setitem__(0, now_s[0] + s)
    )
    for module in (profile_module, recorder_module, retrying):
        monkeypatch.setattr(module, "time", clock)

    def check(device: Device) -> None:
        if lost_at_s and now_s[0] >= lost_at_s[0]:
            lost_at_s.pop(0)
            raise DeviceError("the device was restarted")

    monkeypatch.setattr(Device, "check", check)
    monkeypatch.setattr(Device, "renew", lambda device: renewed_s.append(now_s[0]))
    make(settings=replace(few, spread_s=120), n_retries=2)
    assert (lost_at_s, len(renewed_s)) == ([], 3)
    assert renewed_s[0] < 60 < renewed_s[1] < renewed_s[2] < 120
    assert bench.n_opened == 3
    assert now_s[0] == 120


@pytest.mark.parametrize(
    ("share", "n_processes"), [(0.5, 3), (1e-12, 10)], ids=["one pool", "a pool each"]
)
def test_every_key_is_timed_on_the_network_that_it_names(
    bench: Any,
    make: Make,
    space: SearchSpace,
    few: ProfileSettings,
    share: float,
    n_processes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profile_module, "_MEMORY_SHARE", share)
    make()
    networks = Workload.of(space, few).networks
    architectures = zip(space.architectures(networks), networks, strict=True)
    named = {f"net:{arch.id}": repr(space.network(row)).encode() for arch, row in architectures}
    assert len(set(named.values())) == len(named) == 20
    sessions: Counter[str] = Counter()
    for process in bench.processes:
        assert process.models[ANCHOR] == repr(space.network(networks[10])).encode()
        for key, model in process.models.items():
            if key.startswith("net:"):
                name, _, session = key.partition("@")
                assert model == named[name]
                sessions[session] += 1
    assert sessions == {"": 10} | {str(n): 10 for n in range(1, n_processes + 1)}


def test_a_run_ended_at_any_visit_goes_on_where_it_was(
    bench: Any,
    make: Make,
    die_after: DieAfter,
    path: Path,
    tmp_path: Path,
    read_samples: ReadSamples,
) -> None:
    undisturbed = make(tmp_path / "undisturbed")
    order = list(bench.visited)
    bench.visited.clear()
    n_deaths, sessions = 0, set()
    for n_most in [*range(0, len(order), 9), len(order) - 1]:
        die_after(n_most)
        n_done = len(bench.visited)
        n_deaths += 1
        sessions.add(order[n_done].partition("@")[2])
        assert bench.visited == order[:n_done]  # no visit twice, none left out
        assert n_most - 4 < n_done <= n_most  # the chunk in flight is lost
        lines = journal_of(path).read_text().splitlines()
        records = [json.loads(line) for line in lines[1:]]
        assert [record["k"] for record in records if "k" in record] == list(range(n_done))
        assert not path.exists()
    table = make()
    assert n_deaths > 10
    assert sessions == {"", "1", "2", "3"}
    assert bench.visited == order
    assert [key for _, (key, _, _) in sorted(read_samples(path).items())] == order
    times = [at_s for _, (_, at_s, _) in sorted(read_samples(path).items())]
    assert times == sorted(times)
    assert table.rows == undisturbed.rows
    assert table.passport.calibration == undisturbed.passport.calibration
    assert not journal_of(path).exists()


@pytest.mark.parametrize("n_done", [0, 4, 11, 22])
def test_a_run_ended_in_a_further_session_goes_on_in_that_session(
    bench: Any,
    make: Make,
    die_after: DieAfter,
    few: ProfileSettings,
    path: Path,
    tmp_path: Path,
    n_done: int,
    read_samples: ReadSamples,
) -> None:
    settings = replace(few, n_sessions=4)
    bench.slowdown = lambda key: {"3": 1.03, "4": 1.01}.get(key.partition("@")[2], 1.0)
    undisturbed = make(tmp_path / "undisturbed", settings=settings)
    orders = [process.visited for process in bench.processes]
    assert len(orders[2]) == 23
    bench.visited.clear()
    bench.processes.clear()
    die_after(len(orders[0]) + len(orders[1]) + n_done, settings=settings)
    table = make(settings=settings)
    left = orders[2][n_done:]
    found = [process.visited for process in bench.processes]
    assert found == [orders[0], orders[1], orders[2][:n_done], left, orders[3]]
    assert bench.processes[3].models.keys() == set(left)  # only what is still to be timed
    samples = read_samples(path)
    assert [samples[k][0] for k in range(len(samples))] == list(chain(*orders))
    assert table.rows == undisturbed.rows
    assert table.passport.calibration == undisturbed.passport.calibration
    assert table.passport.calibration.session_ratios == pytest.approx(
        [1 / 1.005, 1 / 1.005, 1.03 / 1.005, 1.01 / 1.005], abs=3e-6
    )


@pytest.mark.parametrize("n_bytes", [1, 7, 40])
def test_a_torn_last_line_is_measured_again(
    bench: Any, make: Make, die_after: DieAfter, path: Path, n_bytes: int, read_samples: ReadSamples
) -> None:
    die_after(30)
    journal = journal_of(path)
    journal.write_bytes(journal.read_bytes()[:-n_bytes])
    make()
    assert bench.visited[30] == bench.visited[29]  # the torn one, again
    samples = read_samples(path)
    assert sorted(samples) == list(range(len(bench.visited) - 1))


def test_a_journal_torn_in_its_head_is_begun_anew(
    make: Make, space: SearchSpace, path: Path
) -> None:
    journal_of(path).parent.mkdir(parents=True)
    journal_of(path).write_text('{"identity": {"space": "wi')
    make()
    assert CostTable.load(path).missing(space) == []


@pytest.mark.parametrize("step", ["tabulate", "write_samples"])
def test_a_run_ended_after_the_last_visit_measures_nothing_again(
    bench: Any, make: Make, path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(profile_module, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            make()
    n_visits, n_opened = len(bench.visited), bench.n_opened
    assert journal_of(path).exists()
    make()
    assert (len(bench.visited), bench.n_opened) == (n_visits, n_opened)
    assert not journal_of(path).exists()
    assert CostTable.load(path).passport.duration_s >= 0


def test_pools_stay_as_they_were_when_memory_changes(
    bench: Any,
    make: Make,
    die_after: DieAfter,
    few: ProfileSettings,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_samples: ReadSamples,
) -> None:
    die_after(40)
    monkeypatch.setattr(profile_module, "_MEMORY_SHARE", 1e-12)
    make()
    assert bench.n_opened == 1 + few.n_sessions  # the one that was cut off, twice
    assert sorted(read_samples(path)) == list(range(len(bench.visited)))


def test_a_lost_process_is_started_anew(
    bench: Any,
    make: Make,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_samples: ReadSamples,
    caplog: pytest.LogCaptureFixture,
) -> None:
    undisturbed = make(tmp_path / "undisturbed")
    order = list(bench.visited)
    bench.visited.clear()
    waited_s: list[float] = []

    def sleep(duration_s: float) -> None:
        waited_s.append(duration_s)
        bench.dies_after = len(bench.visited) + 30  # it comes back, and dies again later

    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=sleep)
    monkeypatch.setattr(retrying, "time", clock)
    bench.dies_after = 20
    table = make(n_retries=1)
    assert len(waited_s) > 3
    assert set(waited_s) == {1.0}  # each time there was progress since the time before
    assert caplog.text.count("trying again in 1 s (1)") == len(waited_s)
    assert bench.visited == order
    assert [key for _, (key, _, _) in sorted(read_samples(path).items())] == order
    assert table.rows == undisturbed.rows


def test_a_process_that_is_lost_again_and_again_is_given_up(
    bench: Any, make: Make, die_after: DieAfter, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited_s: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=waited_s.append)
    monkeypatch.setattr(retrying, "time", clock)
    die_after(20, n_retries=3)
    assert waited_s == [1.0, 5.0, 20.0]
    assert len(bench.visited) == 20
    make()


def test_throttling_pauses_and_the_devices_state_are_recorded(
    bench: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ThermalState({"cpu": 41.0}, (), {}, (), {})
    looks = iter(range(1000))

    class Watch:
        reference = state
        pauses: tuple[Pause, ...] = ()

        def __init__(self, *_: object) -> None:
            pass

        def look(self) -> Pause | None:
            return Pause(("cpu at 91 C",), 91.0, 5.0, 12.5, 60.0) if next(looks) == 7 else None

    monkeypatch.setattr(profile_module, "ThrottlingWatch", Watch)
    monkeypatch.setattr(profile_module, "read_thermal", lambda _: replace(state, active=()))
    for bench.dies_after in (30, float("inf")):  # what was noted survives the end of a process
        with suppress(AgentError):
            table = make()
    found = table.passport.environment
    assert found is not None
    assert [(p.reason, p.duration_s) for p in found.throttle_pauses] == [("cpu at 91 C", 12.5)]
    assert found.start.temperatures_c == found.end.temperatures_c == {"cpu": 41.0}


# -- refusals ------------------------------------------------------------------------------


@pytest.fixture
def begun(die_after: DieAfter, path: Path) -> Path:
    """A journal that was cut off after 30 visits."""
    die_after(30)
    return journal_of(path)


def test_other_settings_are_refused(make: Make, begun: Path, few: ProfileSettings) -> None:
    before = begun.read_bytes()
    for changes in ({"n_runs": 3}, {"n_sessions": 4}, {"n_session_networks": 11}):
        with pytest.raises(StorageError, match=r"begun with another settings; finish it .*--force"):
            make(settings=replace(few, **changes))
    with pytest.raises(StorageError, match="begun with another networks, settings;"):
        make(settings=replace(few, seed=1))
    assert begun.read_bytes() == before


def test_networks_chosen_otherwise_are_refused(
    make: Make, begun: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reordered(space: SearchSpace, settings: ProfileSettings) -> Genes:
        return calibration_networks(space, settings)[::-1].copy()

    monkeypatch.setattr(workload_module, "calibration_networks", reordered)
    with pytest.raises(StorageError, match="begun with another networks;"):
        make()


def test_another_space_of_the_same_name_is_refused(make: Make, begun: Path) -> None:
    impostor = width_space(6)
    impostor.name = "width-8"
    with pytest.raises(StorageError, match="begun with another space fingerprint;"):
        make(space=impostor)


def test_another_device_is_refused(
    make: Make, begun: Path, space: SearchSpace, device: Device, tmp_path: Path
) -> None:
    other = load_device("local")
    other.fingerprint = replace(device.fingerprint, l3_kib=77)
    moved = path_of(tmp_path, other, space)
    moved.parent.mkdir(parents=True)
    begun.rename(journal_of(moved))
    with pytest.raises(StorageError, match="begun with another device;"):
        make(device=other)


def test_other_settings_of_the_engine_are_refused(make: Make, begun: Path, tmp_path: Path) -> None:
    description = tmp_path / "mine.yaml"
    description.write_text(
        "schema_version: 1\nid: mine\ndescription: the same machine\nconnector: {kind: local}\n"
        "runtimes: {onnxruntime: {threads: 2}}\n"
    )
    with pytest.raises(StorageError, match="begun with another runtime options;"):
        make(device=load_device(description))


def test_another_version_of_the_engine_is_refused(make: Make, begun: Path, bench: Any) -> None:
    bench.version = "2.0"
    with pytest.raises(StorageError, match=r"begun with engine 1.0, now it is 2.0; start anew"):
        make()
    assert len(bench.visited) == 30


def test_a_forced_run_goes_on_where_it_was_cut_off(
    make: Make, die_after: DieAfter, bench: Any, device: Device, path: Path
) -> None:
    device.engine_versions["onnxruntime"] = bench.version
    make()
    first, n_all = CostTable.load(path).passport.created, len(bench.visited)
    bench.visited.clear()
    die_after(30, force=True)
    kept = journal_of(path).read_bytes()
    assert CostTable.load(path).passport.created == first  # until the new one is finished
    make(force=True)
    assert len(bench.visited) == n_all
    assert kept.count(b"\n") > 30
    assert not journal_of(path).exists()


@pytest.mark.parametrize("version", ["1.0", None])
def test_force_forgets_a_run_that_was_not_forced(
    make: Make, begun: Path, bench: Any, device: Device, version: str | None
) -> None:
    device.engine_versions["onnxruntime"] = version
    n_before = len(bench.visited)
    make(force=True)
    n_anew = len(bench.visited) - n_before
    bench.visited.clear()
    make()
    assert len(bench.visited) == n_anew


@pytest.mark.parametrize("how", ["engine", "settings", "garbage"])
def test_force_forgets_what_cannot_go_on(
    make: Make,
    die_after: DieAfter,
    bench: Any,
    device: Device,
    few: ProfileSettings,
    path: Path,
    how: str,
) -> None:
    device.engine_versions["onnxruntime"] = bench.version
    die_after(30, force=True)
    if how == "engine":
        device.engine_versions["onnxruntime"] = bench.version = "2.0"
    if how == "garbage":
        head, *lines = journal_of(path).read_text().splitlines()
        journal_of(path).write_text("\n".join([head, "garbage", *lines]) + "\n")
    settings = replace(few, n_runs=3) if how == "settings" else few
    bench.visited.clear()
    table = make(settings=settings, force=True)
    n_anew = len(bench.visited)
    assert table.passport.runtime.version == bench.version
    bench.visited.clear()
    make(settings=settings)
    assert len(bench.visited) == n_anew


def test_an_engine_updated_between_two_sessions_is_refused(
    bench: Any, make: Make, space: SearchSpace, few: ProfileSettings
) -> None:
    workload = Workload.of(space, few)
    n_main = len(_plan(workload, few, workload.pools(few, float("inf")))[0])

    def update(what: str, done: int, total: int) -> None:
        if what.startswith("profiling") and done == n_main:
            bench.version = "2.0"

    with pytest.raises(StorageError, match=r"begun with engine 1.0, now it is 2.0"):
        make(progress=update)
    assert len(bench.visited) == n_main


def test_a_file_that_is_no_journal_is_refused(make: Make, begun: Path) -> None:
    lines = begun.read_text().splitlines()
    begun.write_text("\n".join(lines[1:]) + "\n")  # its head is lost
    with pytest.raises(StorageError, match="begun with another space, "):
        make()
    begun.write_text("\n".join([lines[0], "garbage", lines[2]]) + "\n")
    with pytest.raises(StorageError, match="cannot read the journal"):
        make()


def test_hardware_other_than_described_is_refused(bench: Any, make: Make, tmp_path: Path) -> None:
    description = tmp_path / "mine.yaml"
    description.write_text(
        "schema_version: 1\nid: mine\ndescription: another machine\nconnector: {kind: local}\n"
        "match_key: '0123456789abcdef'\n"
    )
    with pytest.raises(DeviceError, match="it is other hardware"):
        make(device=load_device(description))
    assert bench.n_opened == 0


def test_a_full_disk_loses_nothing_that_was_measured(
    bench: Any,
    make: Make,
    device: Device,
    space: SearchSpace,
    tmp_path: Path,
    read_samples: ReadSamples,
) -> None:
    with small_disk(tmp_path / "disk", kib=256) as disk:
        path = path_of(disk.path, device, space)

        def fill(what: str, done: int, total: int) -> None:
            if what.startswith("profiling") and done == 40:
                disk.fill()

        with pytest.raises(StorageError, match="No space left"):
            make(disk.path, progress=fill)
        kept = len(bench.visited)
        assert kept >= 41
        disk.free()
        make(disk.path)
        samples = read_samples(path)
        assert sorted(samples) == list(range(len(samples)))
        assert CostTable.load(path).missing(space) == []
        # A visit is measured again only where its record did not reach the disk.
        assert len(bench.visited) - len(samples) <= max(1, kept - 40)


def test_a_finished_table_is_found_for_its_device(
    bench: Any,
    device: Device,
    few: ProfileSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path))
    space = get("mbv3_tiny", resolutions=[20], kernels=[3], n_classes=3)
    profile(device, "litert", space, few, tmp_path / "latency_tables")
    fingerprint = device.fingerprint
    asked = Conditions(fingerprint.match_key, "litert", "float32")
    table = find_table(space, asked, slug=fingerprint.slug)
    assert table.passport.runtime.delegate == "xnnpack"
    assert np.isfinite([row.cost for row in table.rows.values()]).all()
