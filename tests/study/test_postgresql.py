"""A search in a PostgreSQL database: resumed after kill -9, shared, and with the server gone."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgenas.core.architecture import Architecture
from edgenas.core.errors import StorageError
from edgenas.core.evaluation import Evaluation
from edgenas.study.loop import Progress, SearchResult
from tests.study.test_loop import Artificial, search
from tests.study.test_sharing import Shared, finished, together
from tests.study.test_storage import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgenas.testing.postgresql import PostgreSql

N = 30


@pytest.fixture
def url(postgresql: PostgreSql) -> str:
    """A fresh database."""
    return postgresql.create(f"db{uuid.uuid4().hex}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return search(tmp_path_factory.mktemp("undisturbed") / "a.journal", n_evaluations=N)


def test_kill_9_and_restart_go_on_with_the_same_proposals(
    tmp_path: Path, url: str, repository: Path, undisturbed: SearchResult
) -> None:
    shared = Shared(tmp_path, url, repository)
    for kill in (3, 11):
        child = shared.start("log", N)
        together(child)
        shared.wait_for(shared.evaluated("log").total() + kill, "log")
        child.kill()
        output, _ = child.communicate()
        assert child.returncode == -9, output
    found = search(url, n_evaluations=N)
    assert found.evaluations == undisturbed.evaluations
    assert 0 < found.n_resumed < N
    assert shared.evaluated("log").total() <= found.n_resumed + 2


def test_two_processes_make_the_tables_at_once_and_share_a_search(
    tmp_path: Path, url: str, repository: Path
) -> None:
    shared = Shared(tmp_path, url, repository)
    children: list[subprocess.Popen[str]] = [shared.start(log, N) for log in ("a", "b")]
    together(*children)
    results = finished(*children)
    assert results[0] == results[1]
    both = shared.evaluated("a", "b")
    assert (len(both), set(both.values())) == (N, {1})
    assert min(shared.evaluated(log).total() for log in ("a", "b")) >= 5


class Switching(Artificial):
    """Stops the server in the middle of one evaluation."""

    def __init__(self, server: PostgreSql, at: int) -> None:
        super().__init__()
        self.server, self.at = server, at

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        if len(self.evaluated) == self.at:
            self.server.stop()
        return super().evaluate(archs)


def test_a_server_that_goes_away_is_named_and_nothing_recorded_is_lost(
    postgresql: PostgreSql, url: str, undisturbed: SearchResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # Optuna's pause between its attempts
    seen: list[Progress] = []
    try:
        with pytest.raises(StorageError, match="check that the server runs") as caught:
            search(
                url, n_evaluations=N, evaluator=Switching(postgresql, 7), on_progress=seen.append
            )
        assert "cannot write the study 'search' in postgresql" in str(caught.value)
        with pytest.raises(StorageError, match=r"cannot open postgresql.*check that the server"):
            search(url, n_evaluations=N)
    finally:
        monkeypatch.undo()
        postgresql.start()
    assert len(seen) == 7
    rest = Artificial()
    found = search(url, n_evaluations=N, evaluator=rest)
    assert found.evaluations == undisturbed.evaluations
    assert found.n_resumed == 7
    assert Counter(rest.evaluated) == Counter(e.arch for e in found.evaluations[7:])


def test_a_dropped_connection_is_made_anew(
    postgresql: PostgreSql, url: str, undisturbed: SearchResult
) -> None:
    class Restarting(Switching):
        def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
            found = super().evaluate(archs)
            if len(self.evaluated) == self.at + 1:
                self.server.start()
            return found

    found = search(url, n_evaluations=N, evaluator=Restarting(postgresql, 5))
    assert found.evaluations == undisturbed.evaluations


def test_no_such_user_or_database_is_named(postgresql: PostgreSql) -> None:
    with pytest.raises(StorageError, match=r'database "nowhere" does not exist.*lets you in'):
        opened(postgresql.url("nowhere"))
    with pytest.raises(StorageError, match='role "nobody" does not exist'):
        opened(postgresql.url(user="nobody"))
