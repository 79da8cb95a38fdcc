"""Kills the host of a profile at random moments, over real protocols, and counts what that costs.

    python -m benchmarks.robustness.kill_profile --kills 50 --over local,ssh,adb

Each device in turn is profiled with tiny settings; the host process is killed with SIGKILL at a
moment drawn from a seed, and started again with the same command. A profile that is finished is
checked against its plan and followed by a new one. Writes kill_profile.json, prints its sums.

What is counted: visits that were durable before a kill and are not afterwards (lost), that are
recorded more than once (doubled) or out of the plan's order, processes that still run on the device
ten seconds after a kill, and, once all is done, locks that are still held and settings that are not
put back.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.environment import environment as machine
from edgenas.core.files import Journal, write_json
from edgenas.costs.samples import read_samples
from edgenas.costs.table import CostTable, samples_path
from edgenas.profiling.profile import _plan
from edgenas.profiling.workload import ProfileSettings, Workload
from edgenas.testing.peers import PROFILE, Peer, adb_peer, environment, local_peer, ssh_peer
from edgenas.testing.space_contract import width_space
from edgenas.testing.sshd import running_sshd

SETTINGS = ProfileSettings(
    n_networks=20, n_operator_visits=2, n_network_visits=2, n_runs=1, anchor_every=20,
    n_pools=1, n_sessions=2, n_session_networks=10, least_session_s=4,
)  # fmt: skip
GONE_S = 10.0
Visits = dict[int, dict[str, Any]]


@contextmanager
def peer_of(kind: str, folder: Path) -> Iterator[Peer]:
    """Yield a device of this kind that keeps its files in `folder`."""
    if kind == "local":
        yield local_peer(folder)
    elif kind == "ssh":
        with running_sshd(folder / "sshd") as sshd, ssh_peer(folder, sshd) as peer:
            yield peer
    else:
        with adb_peer(folder) as peer:
            yield peer


def start(peer: Peer, root: Path) -> subprocess.Popen[bytes]:
    """Start a host that profiles the device into `root`."""
    (peer.folder / "tmp").mkdir(exist_ok=True)
    arguments = [str(peer.device_file()), peer.runtime, str(peer.size)]
    return subprocess.Popen(
        [sys.executable, "-c", PROFILE, *arguments, json.dumps(asdict(SETTINGS)), str(root)],
        env={**environment(peer), "TMPDIR": str(peer.folder / "tmp")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def order_of(peer: Peer) -> list[str]:
    """Return the keys of all visits in the plan's order."""
    workload = Workload.of(width_space(peer.size), SETTINGS)
    pools = workload.pools(SETTINGS, float("inf"))
    return list(chain.from_iterable(_plan(workload, SETTINGS, pools)))


def durable(root: Path) -> tuple[Visits, int]:
    """Return the visits in the journal by their number, and how many are there twice."""
    records = [
        record
        for path in root.glob("*/*/*.journal.jsonl")
        for record in Journal(path).read()
        if "k" in record
    ]
    return {record["k"]: record for record in records}, len(records) - len(
        {record["k"] for record in records}
    )


def complete(root: Path) -> bool:
    """Return whether a profile was finished: a table, and no journal any more."""
    return any(root.glob("*/*/*.csv")) and not any(root.glob("*/*/*.journal.jsonl"))


def settled(peer: Peer) -> tuple[int, float]:
    """Return how many processes still run on the device, and after how many seconds none did."""
    began = time.monotonic()
    while (left := len(peer.processes())) and time.monotonic() - began < GONE_S:
        time.sleep(0.02)
    return left, round(time.monotonic() - began, 2)


def finished(root: Path, order: list[str], known: Visits) -> dict[str, int]:
    """Compare a finished table's samples with the plan and with what was durable before."""
    (path,) = root.glob("*/*/*.csv")
    CostTable.load(path)
    visits = read_samples(samples_path(path))
    found = {visit.number: list(visit.runs) for visit in visits}
    keys = [visit.artefact for visit in visits]
    changed = sum(found.get(k) != record["ms"] for k, record in known.items())
    return {
        "lost": changed + max(0, len(order) - len(keys)),
        "doubled": len(visits) - len(found),
        "out_of_order": sum(key != planned for key, planned in zip(keys, order, strict=False)),
    }


def disturb(peer: Peer, *, n_kills: int, rng: random.Random, end: float) -> dict[str, Any]:
    """Kill hosts `n_kills` times, or until the time is over, and let the last one finish."""
    order = order_of(peer)
    began = time.monotonic()
    roots = [peer.folder / "tables0"]
    _done(start(peer, roots[0]))
    whole_s = time.monotonic() - began
    checks = [finished(roots[0], order, {})]
    kills: list[dict[str, Any]] = []
    known: Visits = {}
    roots.append(peer.folder / "tables1")
    while len(kills) < n_kills and time.monotonic() < end:
        wait_s = rng.uniform(0.05, 0.7 * whole_s)
        process = start(peer, roots[-1])
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        ended = complete(roots[-1])
        if process.returncode == 0:  # it had finished before
            checks.append(finished(roots[-1], order, known))
            roots.append(peer.folder / f"tables{len(roots)}")
            known = {}
            continue
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"{peer.kind}: the profile failed by itself:\n{errors.decode()}")
        left, gone_s = settled(peer)
        visits, doubled = durable(roots[-1])
        lost = [] if ended else [k for k, one in known.items() if visits.get(k) != one]
        kills.append(
            {"after_s": round(wait_s, 2), "visits": len(visits), "lost": len(lost),
             "doubled": doubled, "processes_left": left, "gone_after_s": gone_s,
             "unrestored": len(peer.unrestored())}
        )  # fmt: skip
        known = visits or known
        if ended:
            checks.append(finished(roots[-1], order, known))
            roots.append(peer.folder / f"tables{len(roots)}")
            known = {}
    _done(start(peer, roots[-1]))
    checks.append(finished(roots[-1], order, known))
    return {
        "undisturbed_s": round(whole_s, 1),
        "n_visits_of_a_profile": len(order),
        "n_kills": len(kills),
        "n_kills_with_visits": sum(kill["visits"] > 0 for kill in kills),
        "n_kills_while_prepared": sum(kill["unrestored"] > 0 for kill in kills),
        "visits_lost": sum(one["lost"] for one in [*kills, *checks]),
        "visits_doubled": sum(one["doubled"] for one in [*kills, *checks]),
        "visits_out_of_order": sum(one["out_of_order"] for one in checks),
        "processes_left": sum(kill["processes_left"] for kill in kills),
        "longest_until_gone_s": max((kill["gone_after_s"] for kill in kills), default=0.0),
        "locks_left": len(peer.locks()),
        "settings_not_put_back": len(peer.unrestored()),
        "profiles_finished": len(checks),
        "temporary_folders_left_here": len(list((peer.folder / "tmp").iterdir())),
        "kills": kills,
    }


def _done(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"the profile failed ({process.returncode}):\n{errors.decode()}")


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="over all devices together")
    parser.add_argument("--over", default="local,ssh,adb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="start no kill later")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    kinds = arguments.over.split(",")
    began, left, devices = time.monotonic(), arguments.kills, dict[str, Any]()
    for i, kind in enumerate(kinds):
        rng = random.Random(f"{arguments.seed} {kind}")  # noqa: S311 - no secret
        n_kills = -(-left // (len(kinds) - i))
        end = began + arguments.limit_s * (i + 1) / len(kinds)
        with (
            tempfile.TemporaryDirectory(prefix="edgenas-kill-") as name,
            peer_of(kind, Path(name)) as peer,
        ):
            devices[kind] = disturb(peer, n_kills=n_kills, rng=rng, end=end)
        left -= n_kills
    sums = ["n_kills", "visits_lost", "visits_doubled", "visits_out_of_order", "processes_left",
            "locks_left", "settings_not_put_back"]  # fmt: skip
    result = {
        "machine": machine(),
        "seed": arguments.seed,
        "all": {name: sum(one[name] for one in devices.values()) for name in sums},
        "devices": devices,
    }
    write_json(arguments.out / "kill_profile.json", result)
    print(json.dumps(result["all"], indent=2))


if __name__ == "__main__":
    main()
