"""Kills a compile run at random moments and compares what comes of it with an undisturbed run.

    python -m benchmarks.robustness.kill_compile --kills 20 --out benchmarks/robustness

Writes kill_compile.json and prints it. The undisturbed run shares the tables that the disturbed
one made: timings differ from run to run, and the search follows them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

JOB = """\
schema_version: 1
name: killed
data: {source: digits}
space: {preset: mbv3_tiny}
profile:
  {tables: own, n_networks: 40, n_operator_visits: 4, n_network_visits: 6, n_runs: 2,
   n_pools: 2, n_sessions: 3, n_session_networks: 10, least_session_s: 0}
training: {epochs: 3}
search: {n_evaluations: 60, population: 12}
pick: knee
finetune: {epochs: 2}
export: {targets: [onnx, tflite]}
measure: {n_front_networks: 4, n_visits: 6, spread_s: 3}
"""


def start(job: Path, out: Path, home: Path) -> subprocess.Popen[bytes]:
    """Start a compile run in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "edgenas.cli", "compile", str(job), "--out", str(out), "-q"],
        env={**os.environ, "EDGENAS_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def records(run: Path, home: Path) -> dict[str, int]:
    """Count what is finished and durable: visits, epochs of training, evaluations, steps."""
    visits = sum(
        max(0, path.read_bytes().count(b"\n") - 1) for path in home.rglob("*.journal.jsonl")
    )
    samples = sum(
        len({sample.partition(".")[0] for sample in visited(path)})
        for path in home.rglob("*.samples.csv.gz")
    )
    return {
        "visits": visits + samples,
        "evaluations": len(trials(run)),
        "steps": len(list((run / "steps").glob("*.json"))),
    }


def visited(samples: Path) -> list[str]:
    """Return the number of the visit and of the run in it, for every sample of a table."""
    with gzip.open(samples, "rt") as stream:
        rows = list(csv.DictReader(stream))
    return [f"{row['visit']}.{row['run']}" for row in rows]


def trials(run: Path) -> list[str]:
    """Return the genes of every trial in the study, as text, in order."""
    path = run / "study.db"
    if not path.is_file():
        return []
    with tempfile.TemporaryDirectory() as folder:  # a killed writer's journal is to be undone
        for part in run.glob("study.db*"):
            shutil.copy(part, folder)
        connection = sqlite3.connect(Path(folder) / "study.db")
        try:
            rows = connection.execute(
                "select t.number, p.param_name, p.param_value from trials t "
                "join trial_params p on p.trial_id = t.trial_id "
                "join trial_user_attributes a on a.trial_id = t.trial_id "
                "where a.key = 'evaluation' "  # others were given up by a killed process
                "order by t.number, p.param_name"
            ).fetchall()
        except sqlite3.OperationalError:  # killed before the tables were made
            return []
        finally:
            connection.close()
    genes: dict[int, list[str]] = {}
    for number, name, value in rows:
        genes.setdefault(number, []).append(f"{name}={value:g}")
    return [",".join(values) for values in genes.values()]


def finish(process: subprocess.Popen[bytes]) -> float:
    """Wait for a run to end well and return the seconds."""
    began = time.monotonic()
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"the run failed:\n{errors.decode()}")
    return time.monotonic() - began


def disturb(  # noqa: PLR0913
    job: Path, folder: Path, home: Path, *, n_kills: int, whole_s: float, seed: int
) -> tuple[list[Path], list[dict[str, Any]]]:
    """Kill runs `n_kills` times, each at a random moment, and let them finish.

    A run that ends before its kill is followed by another one in a new folder.

    Returns:
        The folders of the runs, and what stood on the disk after every kill.
    """
    rng = random.Random(seed)  # noqa: S311 - no secret
    runs, kills = [folder / "run0"], list[dict[str, Any]]()
    before = records(runs[0], home)
    while len(kills) < n_kills:
        began = time.monotonic()
        process = start(job, runs[-1], home)
        wait_s = rng.uniform(0.5, 0.8 * whole_s)  # restarts progress in between
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        after = records(runs[-1], home)
        lost = {key: before[key] - after[key] for key in after if after[key] < before[key]}
        if process.returncode == 0:
            # The tables are there by now; what was left of the last run tells too little.
            whole_s = max(time.monotonic() - began, 0.6 * whole_s)
            runs.append(folder / f"run{len(runs)}")
            after = records(runs[-1], home)
        elif process.returncode == -signal.SIGKILL:
            run = runs[-1].name
            kills.append({"run": run, "after_s": round(wait_s, 2), "durable": after, "lost": lost})
        else:
            raise SystemExit(f"the run failed by itself:\n{errors.decode()}")
        before = after
    finish(start(job, runs[-1], home))
    return runs, kills


def compare(run: Path, other: Path, home: Path) -> dict[str, Any]:
    """Compare a disturbed run with an undisturbed one."""
    ours, theirs = (
        json.loads((folder / "search/evaluations.json").read_text()) for folder in (run, other)
    )
    names = ["train/supernet.safetensors", "pick.json", "model.safetensors"]
    names += ["model.onnx", "model.tflite"]
    doubled = [genes for genes, n in Counter(trials(run)).items() if n > 1]
    visits = {
        path.name: [line for line, n in Counter(visited(path)).items() if n > 1]
        for path in home.rglob("*.samples.csv.gz")
    }
    return {
        "evaluations_equal": ours["evaluations"] == theirs["evaluations"],
        "n_evaluations": len(ours["evaluations"]),
        "n_trials": len(trials(run)),
        "evaluated_twice": len(doubled),
        "visits_recorded_twice": sum(map(len, visits.values())),
        "same_bytes": {
            name: (run / name).read_bytes() == (other / name).read_bytes() for name in names
        },
    }


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgenas-kill-") as name:
        folder = Path(name)
        job = folder / "job.yaml"
        job.write_text(JOB)
        whole_s = finish(start(job, folder / "first", folder / "first-home"))
        home = folder / "home"
        runs, kills = disturb(
            job, folder, home, n_kills=arguments.kills, whole_s=whole_s, seed=arguments.seed
        )
        finish(start(job, folder / "undisturbed", home))
        result = {
            "undisturbed_s": round(whole_s, 1),
            "n_kills": len(kills),
            "n_records_lost": sum(sum(kill["lost"].values()) for kill in kills),
            "runs": {run.name: compare(run, folder / "undisturbed", home) for run in runs},
            "kills": kills,
        }
    text = json.dumps(result, indent=2)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "kill_compile.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
