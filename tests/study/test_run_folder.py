"""Run folders: one process at a time, records, damage, what is no run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgenas.core.errors import StorageError
from edgenas.core.schema import parse_yaml
from edgenas.study.job import Job
from edgenas.study.run_folder import RunFolder, digest_of
from tests.tiny_job import TINY_JOB

HOLDER = """
import sys, time
from pathlib import Path
from edgenas.study.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).claim():
    print("held", flush=True)
    time.sleep(60)
"""


def test_job_is_kept_and_read_back(tmp_path: Path) -> None:
    folder, job = RunFolder(tmp_path / "run"), parse_yaml(TINY_JOB, Job)
    folder.write_job(job)
    assert folder.job() == job


def test_folder_without_a_job_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no run folder.*edgenas compile"):
        RunFolder(tmp_path).job()


def test_damaged_job_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: [\n")
    with pytest.raises(StorageError, match="original job file"):
        RunFolder(tmp_path).job()


def test_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with (
        pytest.raises(StorageError, match=r"thesis\.tex"),
        RunFolder(tmp_path).claim(),
    ):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(StorageError, match="is a file"), RunFolder(tmp_path / "run").claim():
        pass


def test_hidden_left_overs_do_not_hinder(tmp_path: Path) -> None:
    (tmp_path / ".job.yaml.x1").write_text("cut off")
    with RunFolder(tmp_path).claim():
        pass


def test_second_process_is_refused_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(StorageError, match=f"process {holder.pid} works"),
            RunFolder(tmp_path).claim(),
        ):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with RunFolder(tmp_path).claim():
        pass


def test_record_is_read_back_and_damage_is_noticed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    folder.write_record("step", {"seed": 1}, [tmp_path / "a", tmp_path / "b"], 1.5)
    record = folder.record("step")
    assert record is not None
    assert record.digest == digest_of({"seed": 1})
    assert folder.damaged(record) == []
    (tmp_path / "a").write_text("changed")
    (tmp_path / "b").unlink()
    assert folder.damaged(record) == ["a", "b"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema_version": 99}'])
def test_unreadable_record_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "step.json").write_text(content)
    assert RunFolder(tmp_path).record("step") is None


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(StorageError, match="choose another --out"),
        RunFolder(tmp_path / "file" / "run").claim(),
    ):
        pass
