"""Several processes in one search: no architecture twice, the right total, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from edgenas.core.architecture import Architecture
from edgenas.core.errors import StorageError
from edgenas.study import workers
from edgenas.study.loop import Progress
from edgenas.study.storage import StudyStorage
from edgenas.study.trial_writer import TrialWriter
from edgenas.testing.searcher_contract import tiny_evaluations
from tests.study.test_loop import Artificial, search
from tests.study.test_storage import ARCHS, opened

A, B, C, D = ARCHS[:4]


def states(file: Path) -> list[str]:
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{file}")
    return [trial.state.name for trial in study.trials]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def test_of_two_processes_the_first_one_has_an_architecture(file: Path) -> None:
    with opened(file) as one, opened(file) as two:
        assert one.claim([A, B], n_total=9) == [A, B]
        assert two.claim([B, C], n_total=9) == [C]
        one.news()
        assert (one.running, two.running) == ((C,), (A, B))
        (evaluation,) = tiny_evaluations([A])
        assert one.append(evaluation, batch_start=1)
        assert [(r.evaluation, r.batch_start) for r in two.news()] == [(evaluation, 1)]
        assert two.news() == []
        assert two.claim([A, D], n_total=9) == [D]
        assert [record.evaluation.arch for record in two.records] == [A]
    assert states(file)[0] == "COMPLETE"


def test_no_more_is_begun_than_is_wanted(file: Path) -> None:
    with opened(file) as one, opened(file) as two:
        one.append(tiny_evaluations([A])[0])
        assert one.claim([B], n_total=3) == [B]
        assert two.claim([C, D], n_total=3) == [C]
        one.news()
        assert one.claim([D], n_total=3) == []


def test_what_a_process_gives_back_is_left_to_the_others(file: Path) -> None:
    with opened(file) as two:
        with opened(file) as one:
            one.claim([A, B], n_total=9)
            one.append(tiny_evaluations([B])[0])
        two.news()
        assert (two.left, two.running) == ((A,), ())
        assert two.claim([A], n_total=9) == [A]
        assert two.left == ()
    assert states(file) == ["FAIL", "COMPLETE", "FAIL"]


def test_in_a_journal_everything_is_the_one_process_s_own(tmp_path: Path) -> None:
    with opened(tmp_path / "study.journal") as storage:
        assert storage.claim([A, B, C], n_total=2) == [A, B]
        storage.append(tiny_evaluations([A])[0])
        assert storage.claim([B, C], n_total=2) == [B]
        assert (storage.running, storage.left, storage.news()) == ((), (), [])
    with opened(tmp_path / "study.journal") as storage:
        assert [record.evaluation.arch for record in storage.records] == [A]


_CLAIM = """
import sys, time
from pathlib import Path
from tests.study.test_storage import ARCHS, opened
storage = opened(Path(sys.argv[1]))
print(len(storage.claim(ARCHS[:2], n_total=9)), flush=True)
time.sleep(60)
"""


def test_a_killed_process_of_this_host_is_noticed_at_once(file: Path, repository: Path) -> None:
    with opened(file) as storage:
        child = subprocess.Popen(
            [sys.executable, "-c", _CLAIM, str(file)],
            cwd=repository,
            env={**os.environ, "PYTHONPATH": str(repository)},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"2\n"
        storage.news()
        assert (storage.running, storage.left) == ((A, B), ())
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody asked yet
        storage.news()
        assert (storage.running, storage.left) == ((), (A, B))
        child.communicate()
    assert states(file) == ["FAIL", "FAIL"]


def _elsewhere(monkeypatch: pytest.MonkeyPatch, file: Path) -> StudyStorage:
    """Open the study as a process of another host."""
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_host", lambda: "another one")
        return opened(file)


def test_without_a_heartbeat_an_evaluation_is_taken_over_from_another_host(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(file) as here, _elsewhere(monkeypatch, file) as far:
        far.claim([A, B], n_total=9)
        far.append(tiny_evaluations([B])[0])
        here.news()
        assert here.running == (A,)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + workers.STALE_S - 1)
        here.news()
        assert here.running == (A,)
        monkeypatch.setattr(time, "monotonic", lambda: now + workers.STALE_S + 1)
        here.news()
        assert (here.running, here.left) == ((), (A,))
        assert here.claim([A], n_total=9) == [A]
        # It was alive after all: what it brings comes too late.
        assert not far.append(tiny_evaluations([A])[0])
        assert "taken for dead" in caplog.text
        assert here.append(tiny_evaluations([A])[0])
        assert [r.evaluation.arch for r in far.news()] == [A]
    assert states(file) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_heartbeat_keeps_an_evaluation(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BEAT_S", 0.02)
    with opened(file) as here, _elsewhere(monkeypatch, file) as far:
        far.claim([A], n_total=9)
        study = optuna.load_study(study_name="search", storage=f"sqlite:///{file}")
        now = time.monotonic()
        for moment in range(3):
            seen = study.trials[0].user_attrs.get("beat", 0)
            while study.trials[0].user_attrs.get("beat", 0) == seen:
                time.sleep(0.01)
            later = now + moment * (workers.STALE_S + 1)
            with monkeypatch.context() as patch:
                patch.setattr(time, "monotonic", lambda later=later: later)
                here.news()
            assert here.running == (A,)


def test_an_evaluation_whose_trial_could_not_be_ended_counts(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    (evaluation,) = tiny_evaluations([A])
    with opened(file) as storage:
        storage.claim([A], n_total=9)
        with monkeypatch.context() as patch:
            patch.setattr(TrialWriter, "end", die)
            with pytest.raises(KeyboardInterrupt):
                storage.append(evaluation)
    assert states(file) == ["RUNNING"]
    with opened(file) as storage:
        assert [record.evaluation for record in storage.records] == [evaluation]
        assert storage.left == ()
    assert states(file) == ["COMPLETE"]


def test_a_damaged_claim_is_refused(file: Path) -> None:
    with opened(file) as storage:
        storage.claim([A], n_total=9)
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{file}")
    trial = study.ask()
    trial.set_user_attr("claim", {"genes": [0] * 6})
    with pytest.raises(StorageError, match="trial 1 is damaged"):
        opened(file)


# -- whole searches ------------------------------------------------------------------------

_CHILD = """
import sys
from pathlib import Path
from tests.study.test_loop import Artificial, search
folder, log, storage, n = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
found = search(
    storage,
    evaluator=Artificial(folder / log, pause_s=0.03),
    n_evaluations=n,
    batch_size=int(sys.argv[5]),
)
print([evaluation.arch.genes for evaluation in found.evaluations])
"""


class Shared:
    """Processes that search in one storage; each writes down what it evaluates."""

    def __init__(self, folder: Path, storage: str, repository: Path) -> None:
        self.folder, self.storage, self.repository = folder, storage, repository

    def start(self, log: str, n: int, *, batch_size: int = 1) -> subprocess.Popen[str]:
        argv = [str(self.folder), log, self.storage, str(n), str(batch_size)]
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _CHILD, *argv],
            cwd=self.repository,
            env={**os.environ, "PYTHONPATH": str(self.repository)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def evaluated(self, *logs: str) -> Counter[str]:
        paths = [self.folder / log for log in logs]
        return Counter(line for p in paths if p.exists() for line in p.read_text().splitlines())

    def wait_for(self, n: int, *logs: str) -> None:
        end = time.monotonic() + 60
        while self.evaluated(*logs).total() < n:
            assert time.monotonic() < end, "the processes do not come to it"
            time.sleep(0.01)


def together(*children: subprocess.Popen[str]) -> None:
    """Let processes begin at the same moment."""
    for child in children:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line == "ready\n", line + child.communicate()[0]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()


def finished(*children: subprocess.Popen[str]) -> list[str]:
    found = []
    for child in children:
        output, _ = child.communicate(timeout=120)
        assert child.returncode == 0, output
        found.append(output)
    return found


@pytest.fixture
def shared(tmp_path: Path, repository: Path) -> Shared:
    return Shared(tmp_path, str(tmp_path / "study.db"), repository)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_two_processes_begin_at_once_and_share_a_search(shared: Shared, batch_size: int) -> None:
    children = [shared.start(log, 30, batch_size=batch_size) for log in ("a", "b")]
    together(*children)
    results = finished(*children)
    assert results[0] == results[1]
    both = shared.evaluated("a", "b")
    assert set(both.values()) == {1}
    assert len(both) == 30
    assert min(shared.evaluated(log).total() for log in ("a", "b")) >= 5
    again = search(Path(shared.storage), n_evaluations=30, batch_size=batch_size)
    assert again.n_resumed == 30


def test_a_survivor_takes_over_what_a_killed_process_had_begun(shared: Shared) -> None:
    one, two = (shared.start(log, 40) for log in ("a", "b"))
    together(one, two)
    shared.wait_for(3, "a")
    shared.wait_for(3, "b")
    one.kill()
    one.communicate()
    finished(two)
    both = shared.evaluated("a", "b")
    assert len(both) == 40
    assert both.total() <= 41  # the one that was killed in mid-evaluation
    found = search(Path(shared.storage), evaluator=Artificial(n_allowed=0), n_evaluations=40)
    assert len({evaluation.arch for evaluation in found.evaluations}) == 40


def test_what_an_interrupted_process_had_begun_is_evaluated_later(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole.db", n_evaluations=12)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "a.db", n_evaluations=12, evaluator=Artificial(n_allowed=4))
    # Another seed would propose something else; what was begun comes first.
    with opened_search(tmp_path / "a.db") as storage:
        (left,) = storage.left
    seen: list[Architecture] = []
    parts = search(
        tmp_path / "a.db",
        n_evaluations=12,
        on_progress=lambda progress: seen.append(progress.evaluation.arch),
    )
    assert seen[0] == left
    assert parts.evaluations == whole.evaluations


def opened_search(file: Path) -> StudyStorage:
    """Open the storage of `search`, with the identity that it has."""
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{file}")
    identity: dict[str, Any] = json.loads(json.dumps(study.user_attrs["edgenas"]))
    identity.pop("format")
    return opened(file, identity=identity)


def test_others_evaluations_are_told_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    search(file, n_evaluations=5)
    other = opened_search(file)
    fresh = [arch for arch in ARCHS if arch not in {r.evaluation.arch for r in other.records}]
    seen: list[Progress] = []

    def progress(state: Progress) -> None:
        seen.append(state)
        if len(seen) == 2:
            other.news()
            (claimed,) = other.claim(fresh[:1], n_total=20)
            other.append(tiny_evaluations([claimed])[0])

    with other:
        found = search(file, n_evaluations=10, on_progress=progress)
    assert [state.n_done for state in seen] == [6, 7, 8, 9, 10]
    assert seen[2].evaluation.arch == fresh[0]
    assert len(found.evaluations) == 10
    assert {state.n_resumed for state in seen} == {5}
