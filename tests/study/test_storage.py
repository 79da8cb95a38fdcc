"""The record of a search: what is written, what is refused, what a dead process leaves."""

import json
import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from edgenas.core.errors import StorageError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.study.storage import StudyStorage
from edgenas.study.storage_names import dashboard_name
from edgenas.testing.searcher_contract import tiny_evaluations, tiny_problem, tiny_space

SPACE = tiny_space()
OBJECTIVES = tiny_problem().objectives
ARCHS = SPACE.architectures(SPACE.sample(8, np.random.default_rng(0)))
EVALUATIONS = [
    *tiny_evaluations(ARCHS[:2]),
    Evaluation(ARCHS[2], "failed", error="no power"),
    Evaluation(ARCHS[3], "infeasible", {"latency_ms": 9.125}, None, 0.1),
    Evaluation(ARCHS[4], "infeasible", {"accuracy": 0.1, "latency_ms": 1 / 3}, None, 0.25),
]
FILES = pytest.mark.parametrize("file", ["study.db", "study.journal"])


def opened(storage: str | Path, **changes: Any) -> StudyStorage:
    settings = {"objectives": OBJECTIVES, "identity": {"seed": 1, "space": "tiny"}, **changes}
    return StudyStorage(storage, changes.pop("space", SPACE), **settings)


@FILES
def test_what_was_written_is_read_back_exactly(tmp_path: Path, file: str) -> None:
    with opened(tmp_path / "deep" / file) as storage:
        for i, evaluation in enumerate(EVALUATIONS):
            storage.append(evaluation, batch_start=i // 2)
    with opened(tmp_path / "deep" / file) as storage:
        assert [record.evaluation for record in storage.records] == EVALUATIONS
        assert [record.batch_start for record in storage.records] == [0, 0, 1, 1, 2]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [file, f"{file}.claim"]


def test_optuna_reads_the_run(tmp_path: Path) -> None:
    with opened(tmp_path / "study.db") as storage:
        for evaluation in EVALUATIONS:
            storage.append(evaluation)
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/study.db")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["accuracy", "latency_ms"]
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED", "COMPLETE"]
    for trial, evaluation in zip(study.trials, EVALUATIONS, strict=True):
        assert trial.params == SPACE.describe(evaluation.arch.row)
        assert trial.user_attrs["architecture"] == evaluation.arch.id
    assert study.trials[4].constraints == {"violation": 0.25}
    assert {trial.number for trial in study.best_trials} <= {0, 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": {"seed": 2, "space": "tiny"}}, "seed was 1, now 2"),
        ({"identity": {"seed": 1, "space": "big"}}, 'space was "tiny", now "big"'),
        ({"identity": {"seed": 1, "space": "tiny", "x": [1]}}, r"x was null, now \[1\]"),
    ],
)
@FILES
def test_another_search_is_refused(
    tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    opened(tmp_path / file).close()
    with pytest.raises(StorageError, match=message):
        opened(tmp_path / file, **changes)
    opened(tmp_path / file).close()  # the claim was given back


def test_a_second_holder_of_a_journal_is_refused_with_the_first_one_s_number(
    tmp_path: Path,
) -> None:
    file = tmp_path / "study.journal"
    with opened(file), pytest.raises(StorageError, match=f"by process {os.getpid()};.*never a jou"):
        opened(file)


@pytest.mark.parametrize("finished", [False, True])
def test_another_program_that_writes_to_the_study_is_noticed(
    tmp_path: Path, finished: bool
) -> None:
    with opened(tmp_path / "study.db") as storage:
        storage.append(EVALUATIONS[0])
        study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/study.db")
        trial = study.ask()
        if finished:
            study.tell(trial, [1.0, 1.0])
        message = "trial 1 was not written by" if finished else "another program writes to it"
        with pytest.raises(StorageError, match=message):
            storage.claim(ARCHS[1:2], n_total=9)
        with pytest.raises(StorageError, match=message):
            storage.news()


def test_running_trials_of_a_dead_process_are_failed(tmp_path: Path) -> None:
    with opened(tmp_path / "study.db") as storage:
        storage.append(EVALUATIONS[0])
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/study.db")
    study.ask()
    study.enqueue_trial({"a": 3})
    with opened(tmp_path / "study.db") as storage:
        assert len(storage.records) == 1
        storage.append(EVALUATIONS[1])
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    with opened(tmp_path / "study.db") as storage:
        assert [record.evaluation for record in storage.records] == EVALUATIONS[:2]


def test_a_study_of_somebody_else_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="search", storage=url, directions=["maximize"] * 2)
    study.optimize(lambda trial: (trial.suggest_int("x", 0, 3), 1.0), n_trials=1)
    with pytest.raises(StorageError, match="was not made by edgenas"):
        opened(tmp_path / "study.db")


def test_a_foreign_trial_in_our_study_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "study.db").close()
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/study.db")
    study.tell(study.ask(), [1.0, 1.0])
    with pytest.raises(StorageError, match="trial 0 was not written by edgenas"):
        opened(tmp_path / "study.db")


def test_an_unfinished_study_on_a_server_is_finished(tmp_path: Path) -> None:
    # Killed between making the study and describing it; files are renamed, servers are not.
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="search", storage=url, directions=["maximize", "minimize"])
    with opened(tmp_path / "study.db") as storage:
        storage.append(EVALUATIONS[0])


def test_a_damaged_trial_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "study.db") as storage:
        storage.append(EVALUATIONS[0])
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute(
            "update trial_user_attributes set value_json = ? where key = 'evaluation'",
            [json.dumps({"genes": [0] * 6})],
        )
    connection.close()
    with pytest.raises(StorageError, match="trial 0 is damaged"):
        opened(tmp_path / "study.db")


def _overwrite(path: Path, start: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(start)
        stream.write(content)


@pytest.mark.parametrize("how", ["header", "pages", "text", "cut", "empty", "folder"])
def test_a_corrupted_database_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "study.db"
    with opened(path) as storage:
        for evaluation in EVALUATIONS:
            storage.append(evaluation)
    if how == "header":
        _overwrite(path, 0, b"\0" * 100)
    elif how == "pages":
        _overwrite(path, 4096, os.urandom(path.stat().st_size - 4096))
    elif how == "text":
        path.write_text("not a database at all\n" * 300)
    elif how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "empty":
        os.truncate(path, 0)
    else:
        path.unlink()
        path.mkdir()
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(StorageError, match=r"study\.db"):
        opened(path)
    assert before is None or path.read_bytes() == before


def test_a_torn_last_line_of_a_journal_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with opened(path) as storage:
        storage.append(EVALUATIONS[0])
        storage.append(EVALUATIONS[1])
    os.truncate(path, path.stat().st_size - 7)
    (tmp_path / "study.journal.lock").symlink_to(path)  # Optuna's lock, of a dead process
    with opened(path) as storage:
        assert len(storage.records) == 1
        storage.append(EVALUATIONS[1])
    with opened(path) as storage:
        assert [record.evaluation for record in storage.records] == EVALUATIONS[:2]


def test_a_broken_line_inside_a_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with opened(path) as storage:
        storage.append(EVALUATIONS[0])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1][:20], lines[-1]]) + "\n")
    with pytest.raises(StorageError, match=r"cannot open .*study\.journal"):
        opened(path)


_FULL = """
import resource, signal, sys
from pathlib import Path
from tests.study.test_storage import EVALUATIONS, opened
from edgenas.core.errors import StorageError
import time
time.sleep = lambda seconds: None  # Optuna's pause between its five attempts
path = Path(sys.argv[1])
with opened(path) as storage:
    storage.append(EVALUATIONS[0])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        for evaluation in EVALUATIONS[1:] * 200:
            storage.append(evaluation)
    except StorageError as error:
        print(len(storage.records), error)
"""


@FILES
def test_a_full_disk_is_reported_and_leaves_what_was_recorded(
    tmp_path: Path, file: str, repository: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert done.returncode == 0, done.stderr
    n_records, _, message = done.stdout.partition(" ")
    assert message.startswith("cannot write the study 'search' in")
    with opened(tmp_path / file) as storage:
        assert len(storage.records) == len({e.arch for e in EVALUATIONS[: int(n_records)]})


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        opened(tmp_path / "file" / "study.db")


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("study.txt", r"not a storage; give a file ending in \.db"),
        ("nonsense://host/name", "cannot open nonsense"),
        ("postgresql+nodriver://me:secret@host/name", r"me:\*\*\*@host"),
    ],
)
def test_what_is_no_storage_is_refused(storage: str, message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        opened(storage)
    assert "secret" not in str(caught.value)


def test_the_dashboard_is_given_what_it_takes() -> None:
    names = ("/a/study.db", "sqlite:////a/study.db", "/a/study.journal", "postgresql://host/nas")
    assert [dashboard_name(name) for name in names] == [
        "sqlite:////a/study.db",
        "sqlite:////a/study.db",
        "/a/study.journal",
        "postgresql://host/nas",
    ]


def test_an_architecture_of_another_space_is_refused(tmp_path: Path) -> None:
    arch = type(ARCHS[0])("other", ARCHS[0].genes)
    with (
        opened(tmp_path / "study.db") as storage,
        pytest.raises(UsageError, match="is not of tiny"),
    ):
        storage.append(Evaluation(arch, "failed"))


def test_nothing_is_written_to_the_console_and_optuna_is_left_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    optuna.logging.get_verbosity()
    before = list(logging.getLogger("optuna").handlers)
    with opened(tmp_path / "study.db") as storage:
        storage.append(EVALUATIONS[0])
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("optuna").handlers == before
    assert logging.getLogger("optuna").propagate is False
