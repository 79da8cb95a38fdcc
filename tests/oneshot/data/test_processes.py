"""Decoding in processes: the same bytes, a bounded look ahead, and what happens when one dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgenas.core.errors import DataError
from edgenas.oneshot.data import BatchRequest, ImageDataset, load_batches, load_dataset
from edgenas.oneshot.data.decoding import DecodingTask
from edgenas.oneshot.data.processes import close_processes, decoding_processes
from tests.oneshot.data.photos import write_photos


@pytest.fixture(autouse=True)
def processes_of_its_own() -> Iterator[None]:
    close_processes()
    yield
    close_processes()


@pytest.fixture
def dataset(tmp_path: Path) -> ImageDataset:
    write_photos(tmp_path / "photos", n=20)
    return load_dataset(
        f"imagefolder:{tmp_path / 'photos'}", in_memory=False, image_size_px=32, workers=0
    )


def _requests(n: int = 6) -> list[BatchRequest]:
    rng = np.random.default_rng(0)
    return [BatchRequest(rng.permutation(20)[:5], (16 + 8 * (i % 3),) * 2, i) for i in range(n)]


def test_any_number_of_processes_gives_the_same_bytes(dataset: ImageDataset) -> None:
    alone, one, two = (
        list(load_batches(dataset, dataset.train, _requests(), augment=True, n_workers=n))
        for n in (0, 1, 2)
    )
    assert len(alone) == 6
    for expected, *others in zip(alone, one, two, strict=True):
        for images, labels in others:
            assert images.equal(expected[0])
            assert labels.equal(expected[1])


def test_few_batches_are_decoded_ahead_and_the_processes_stay(dataset: ImageDataset) -> None:
    taken = []

    def endless() -> Iterator[BatchRequest]:
        for request in _requests() * 100:
            taken.append(request)
            yield request

    for _ in range(2):
        taken.clear()
        batches = load_batches(
            dataset, dataset.train, endless(), augment=False, n_workers=1, prefetch=3
        )
        next(batches)
        assert len(taken) == 4
        next(batches)
        assert len(taken) == 5
        batches.close()  # type: ignore[attr-defined]
    assert len(multiprocessing.active_children()) == 1


def test_threads_may_read_at_the_same_time(dataset: ImageDataset) -> None:
    expected = list(load_batches(dataset, dataset.train, _requests(), augment=True, n_workers=0))
    found: list[bool] = []

    def read() -> None:
        batches = load_batches(dataset, dataset.train, _requests(), augment=True, n_workers=1)
        pairs = zip(expected, batches, strict=True)
        found.append(all(one[0].equal(other[0]) for one, other in pairs))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 3


def test_errors_in_a_process_arrive_as_they_are(dataset: ImageDataset, tmp_path: Path) -> None:
    request = _requests(1)[0]
    path = tmp_path / "photos" / str(dataset.train.names[request.index[2]])
    path.write_bytes(path.read_bytes()[:100])
    batches = load_batches(dataset, dataset.train, [request], augment=True, n_workers=1)
    with pytest.raises(DataError, match=f"^{path} was changed since the folder was listed"):
        next(batches)
    again = load_dataset(
        f"imagefolder:{tmp_path / 'photos'}", in_memory=False, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    batches = load_batches(again, again.train, [request], augment=True, n_workers=1)
    with pytest.raises(DataError, match=rf"^{path} \(.*\): no image that can be read"):
        next(batches)


def test_a_process_that_dies_leaves_the_name_of_its_file(tmp_path: Path) -> None:
    # Whoever opens this file for reading waits for what is written to it.
    path = tmp_path / "deadly.jpg"
    os.mkfifo(path)
    status = path.stat()
    stamps = np.array([(status.st_size, status.st_mtime_ns)])
    pool = decoding_processes(1)

    def kill_reader() -> None:
        with path.open("wb"):  # returns once the process reads
            for child in multiprocessing.active_children():
                os.kill(int(child.pid or 0), signal.SIGKILL)
                child.join(30)

    killer = threading.Thread(target=kill_reader, daemon=True)
    killer.start()
    tasks = iter([(0, DecodingTask((str(path),), stamps, (8, 8), 3))])
    with pytest.raises(DataError, match=r"died while these were decoded: .*/deadly\.jpg; look at"):
        next(pool.decode(tasks, n_ahead=0))
    killer.join(30)
    assert decoding_processes(1) is not pool
    write_photos(tmp_path / "sound", n=20)
    dataset = load_dataset(f"imagefolder:{tmp_path / 'sound'}", in_memory=False, workers=1)
    assert len(list(load_batches(dataset, dataset.train, _requests(1), augment=False))) == 1


_PROGRAM = """
import multiprocessing, os, signal, sys
import numpy as np
from edgenas.oneshot.data import BatchRequest, load_dataset

def read():
    dataset = load_dataset("imagefolder:" + sys.argv[1], in_memory=False, workers=1)
    request = BatchRequest(np.arange(2), (16, 16))
    list(dataset.train.decoded([request], None, n_workers=1, prefetch=1))
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)

def read_and_die():
    read()
    os.kill(os.getpid(), signal.SIGKILL)

def read_in_a_child():
    child = multiprocessing.get_context("spawn").Process(target=read)
    child.start()
    child.join(90)
    if child.exitcode is None:
        child.kill()
        sys.exit("the child does not end")
    sys.exit(child.exitcode)
"""


def _run(tmp_path: Path, last_lines: str) -> subprocess.CompletedProcess[str]:
    write_photos(tmp_path / "photos")
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM + last_lines)
    command = [sys.executable, str(program), str(tmp_path / "photos")]
    root = str(Path(__file__).parents[3])
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )


def test_processes_go_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    done = _run(tmp_path, "if __name__ == '__main__': read_and_die()")
    assert done.returncode == -signal.SIGKILL, done.stderr
    (child,) = map(int, done.stdout.split())
    for _ in range(600):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie":
            return
        time.sleep(0.05)
    pytest.fail(f"the decoding process {child} lives on")


def test_children_that_read_end_like_others(tmp_path: Path) -> None:
    done = _run(tmp_path, "if __name__ == '__main__': read_in_a_child()")
    assert done.returncode == 0, done.stderr
    assert not psutil.pid_exists(int(done.stdout))


def test_scripts_without_a_guard_are_told_what_they_need(tmp_path: Path) -> None:
    done = _run(tmp_path, "read()")
    assert done.returncode == 1
    assert 'a script of your own needs `if __name__ == "__main__":`' in done.stderr
