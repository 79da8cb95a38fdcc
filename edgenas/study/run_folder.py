"""A run's folder: its job, what each step was made from and made, and who works in it now."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenas.core.artifact import failed_path
from edgenas.core.errors import SchemaError, StorageError
from edgenas.core.files import sha256_of, write_json, write_text
from edgenas.core.schema import load_yaml
from edgenas.study.job import Job

SCHEMA_VERSION = 1
_LOCK = ".lock"
_JOB = "job.yaml"
_STEPS = "steps"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What a finished step was made from, and the hashes of the files that it made."""

    step: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, str]
    took_s: float

    @property
    def digest(self) -> str:
        """Hash of the inputs."""
        return digest_of(self.inputs)


class RunFolder:
    """The folder of one run; see docs/formats.md for what lies where."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the folder alone; the system lets go when the process ends, however it ends.

        Raises:
            StorageError: another process works in it, it holds something else, or it cannot
                be written.
        """
        self._check_is_run()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(
                f"cannot write into {self.path}: {error.strerror}; choose another --out"
            ) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
                raise StorageError(
                    f"process {holder} works in {self.path}; wait until it has ended, or choose "
                    "another --out"
                ) from error
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(lock)

    def job(self) -> Job:
        """Return the job as it was last run.

        Raises:
            StorageError: there is none: the folder is no run.
        """
        path = self / _JOB
        if not path.is_file():
            raise StorageError(
                f"{self.path} is no run folder: it has no {_JOB}; "
                f"make one with 'edgenas compile JOB.yaml --out {self.path}'"
            )
        try:
            return load_yaml(path, Job)
        except SchemaError as error:
            raise StorageError(
                f"{error}\n{path} was changed or written by another version; run "
                f"'edgenas compile JOB.yaml --out {self.path}' with the original job file"
            ) from error

    def write_job(self, job: Job) -> None:
        """Keep `job`, defaults written out."""
        text = job.to_yaml()
        path = self / _JOB
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def record(self, step: str) -> StepRecord | None:
        """Return the record of a step; None if it was never finished or cannot be read."""
        try:
            content = json.loads((self / _STEPS / f"{step}.json").read_text(encoding="utf-8"))
            if content["schema_version"] != SCHEMA_VERSION:
                return None
            return StepRecord(
                content["step"], content["inputs"], content["outputs"], content["took_s"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_record(
        self, step: str, inputs: Mapping[str, Any], outputs: Iterable[Path], took_s: float
    ) -> StepRecord:
        """Note that a step is finished; `outputs` lie inside the folder and are hashed now."""
        hashes = {
            path.relative_to(self.path).as_posix(): sha256_of(path) for path in sorted(outputs)
        }
        record = StepRecord(step, inputs, hashes, round(took_s, 3))
        write_json(
            self / _STEPS / f"{step}.json",
            {
                "schema_version": SCHEMA_VERSION,
                "step": step,
                "inputs": inputs,
                "digest": record.digest,
                "outputs": hashes,
                "took_s": record.took_s,
            },
        )
        return record

    def forget(self, step: str) -> None:
        """Let a step count as never done; what it made stays.

        Raises:
            StorageError: the folder cannot be written.
        """
        path = self / _STEPS / f"{step}.json"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error.strerror}") from error

    def damaged(self, record: StepRecord) -> list[str]:
        """Return the outputs of a step that are missing or not what it wrote.

        A file that was set aside (``<name>.failed``) for what a later step found is neither.
        """
        return [
            name
            for name, digest in record.outputs.items()
            if not any(
                path.is_file() and sha256_of(path) == digest
                for path in (self.path / name, failed_path(self.path / name))
            )
        ]

    def is_in_place(self, record: StepRecord) -> bool:
        """Return whether the outputs of a step have the names under which it wrote them."""
        return all((self.path / name).is_file() for name in record.outputs)

    def _check_is_run(self) -> None:
        if not self.path.exists() or (self / _JOB).is_file():
            return
        if not self.path.is_dir():
            raise StorageError(f"{self.path} is a file; --out names a folder")
        other = [entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")]
        if other:
            raise StorageError(
                f"{self.path} holds other things ({', '.join(sorted(other)[:3])}) and no run; "
                "choose another --out"
            )


def digest_of(inputs: Mapping[str, Any]) -> str:
    """Return a hash of JSON values."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
