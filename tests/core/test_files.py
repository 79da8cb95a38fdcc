"""Files: whole or not there, on a full disk too; journals cut off at every byte."""

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.core.errors import StorageError
from edgenas.core.files import (
    Journal,
    atomic_path,
    scratch_folder,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
)
from edgenas.testing.disk import SmallDisk, small_disk


@pytest.fixture(params=["mounted", "pretended"])
def disk(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallDisk]:
    """A disk that can be filled; pretended twice where nothing may be mounted."""
    if request.param == "pretended":
        monkeypatch.setenv("PATH", str(tmp_path))  # there is no command to mount with
    with small_disk(tmp_path / "disk") as made:
        yield made


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"filler"}


def test_a_file_appears_whole_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    write_text(path, "grüße\n")
    assert path.read_bytes() == "grüße\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert names_in(path.parent) == {"file.txt"}
    assert sha256_of(path) == hashlib.sha256("grüße\n".encode()).hexdigest()


def test_nobody_sees_a_file_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
        temporary.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt()])
def test_an_error_in_the_body_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == {"file"}


def test_a_full_disk_leaves_the_old_file(disk: SmallDisk) -> None:
    path = disk.path / "file"
    write_text(path, "old")
    disk.fill()
    with pytest.raises(StorageError, match=r"cannot write .*file: No space left.*untouched; free"):
        write_bytes(path, b"x" * 5000)
    assert path.read_text() == "old"
    assert names_in(disk.path) == {"file"}
    disk.free()
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_full_disk_tears_no_journal(disk: SmallDisk) -> None:
    journal = Journal(disk.path / "journal")
    journal.append({"k": 0})
    disk.fill()
    for _ in range(2):
        with pytest.raises(StorageError, match=r"cannot write .*journal: No space left"):
            journal.append({"k": 1, "text": "x" * 9000}, {"k": 2})
    disk.free()
    before = journal.read()
    journal.append({"k": 3})
    assert journal.read() == [*before, {"k": 3}]
    assert before[0] == {"k": 0}
    journal.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for act in (
        lambda: write_text(tmp_path / "file" / "inside", "text"),
        lambda: Journal(tmp_path / "file" / "inside").append({}),
    ):
        with pytest.raises(StorageError, match=r"cannot write .*inside: .*choose another --out"):
            act()


def test_a_target_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target" / "full").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot write"):
        write_text(tmp_path / "target", "text")
    assert names_in(tmp_path) == {"target"}


def test_json_is_sorted_and_has_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"b": [1, 2.5], "a": "ä"})
    assert json.loads(path.read_text()) == {"a": "ä", "b": [1, 2.5]}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert path.read_text().endswith("}\n")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text())["a"] == "ä"


# -- journals ------------------------------------------------------------------------------

RECORDS = [{"k": 0, "text": "grüße"}, {"k": 1, "ms": [0.25, 1e-9]}, {"k": 2}]


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nothing")
    assert journal.read() == []
    journal.close()
    assert names_in(tmp_path) == set()


def test_records_are_on_the_disk_when_append_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "folder" / "journal")
    journal.append(*RECORDS[:2])
    assert Journal(journal.path).read() == RECORDS[:2]
    journal.close()
    journal.append(RECORDS[2])
    journal.close()
    assert Journal(journal.path).read() == RECORDS


def test_a_journal_cut_off_at_any_byte_keeps_its_whole_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(*RECORDS)
    journal.close()
    content = journal.path.read_bytes()
    for size in range(len(content) + 1):
        journal.path.write_bytes(content[:size])
        whole = RECORDS[: content[:size].count(b"\n")]
        assert journal.read() == whole
        assert journal.path.read_bytes() == content[:size]  # reading changes nothing
        after = Journal(journal.path)
        after.append({"k": "after"})
        after.close()
        assert journal.read() == [*whole, {"k": "after"}]


@pytest.mark.parametrize("line", [b"{", b"\xff\xfe", b'{"k": 1} {"k": 2}', b"5", b"[1]", b"null"])
def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"k": 0}\n' + line + b'\n{"k": 2}\n')
    with pytest.raises(StorageError, match=f"cannot read the journal {path}: .*; move it away"):
        Journal(path).read()


def test_a_journal_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read the journal"):
        Journal(tmp_path).read()


def test_a_record_with_nan_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with pytest.raises(ValueError, match="JSON"):
        journal.append({"k": 0}, {"ms": float("nan")})
    assert not journal.path.exists()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(records=st.lists(st.dictionaries(st.text(), values, max_size=3), max_size=4))
def test_whatever_is_json_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-journal"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    for record in records:
        journal.append(record)
    journal.close()
    assert journal.read() == records


def test_the_temporary_file_is_on_the_same_disk(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "file") as temporary:
        temporary.touch()
        assert os.stat(temporary).st_dev == os.stat(tmp_path).st_dev  # noqa: PTH116


def test_a_temporary_folder_is_gone_and_a_full_one_says_what_to_do() -> None:
    with scratch_folder() as folder:
        (folder / "x").write_text("x")
    assert not folder.exists()
    with pytest.raises(StorageError, match=r"x: No space left on device; .*TMPDIR"):  # noqa: SIM117
        with scratch_folder() as folder:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "x"))
    assert not folder.exists()
    with pytest.raises(ConnectionResetError), scratch_folder():
        raise ConnectionResetError(errno.ECONNRESET, "not of the disk")


def test_without_a_temporary_folder_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with (
        pytest.raises(StorageError, match=r"no temporary folder can be made.*TMPDIR"),
        scratch_folder(),
    ):
        pass
