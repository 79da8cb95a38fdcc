"""Two runs of one job that search together, from the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from tests.tiny_job import write_job

pytestmark = pytest.mark.slow
N = 24

_MEETING = """
import sys, time
from pathlib import Path
from edgenas.cli import main
from edgenas.evaluators.accuracy import SharedWeightsAccuracy

mine, other = map(Path, sys.argv[1:3])
evaluate, deadline_s = SharedWeightsAccuracy.evaluate, time.monotonic() + 100


def meeting(self, archs):
    mine.touch()
    while not other.exists():
        if time.monotonic() > deadline_s:
            sys.exit("the other process evaluates nothing")
        time.sleep(0.01)
    return evaluate(self, archs)


SharedWeightsAccuracy.evaluate = meeting
sys.exit(main(sys.argv[3:]))
"""
"""The command line, whose first evaluation waits until another process has begun one, too."""


def test_two_copies_of_a_run_search_together(run: Path, tmp_path: Path, repository: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    file = tmp_path / "shared.db"
    job = write_job(
        tmp_path, ("search: {n_evaluations: 12", f"search: {{n_evaluations: {N}, storage: {file}")
    )
    children = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", _MEETING, str(tmp_path / mine), str(tmp_path / theirs)),
                *("search", str(job), "--out", str(out), "-q"),
            ],
            cwd=repository,
            env={**os.environ, "PYTHONPATH": str(repository)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for out, mine, theirs in ((run, "one", "two"), (other, "two", "one"))
    ]
    outputs = [child.communicate(timeout=200)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    found = [json.loads((out / "search/evaluations.json").read_text()) for out in (run, other)]
    assert found[0] == found[1]
    ids = [record["id"] for record in found[0]["evaluations"]]
    assert len(ids) == len(set(ids)) == N
    (name,) = optuna.get_all_study_names(f"sqlite:///{file}")
    trials = optuna.load_study(study_name=name, storage=f"sqlite:///{file}").trials
    evaluated = [trial for trial in trials if "evaluation" in trial.user_attrs]
    assert len(evaluated) == N
    workers = {trial.user_attrs["claim"]["pid"] for trial in evaluated}
    assert workers == {child.pid for child in children}
