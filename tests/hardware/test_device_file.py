"""Device files that extend each other: what is taken over, what is refused, what is shipped."""

from pathlib import Path

import pytest

from edgenas.core.errors import RegistryError, SchemaError
from edgenas.hardware.description import RunStep, WriteStep
from edgenas.hardware.device import load_device
from edgenas.hardware.device_file import device_path, load_description

ROOT = Path(__file__).resolve().parents[2]
NEEDY = ("generic-ssh-linux", "jetson-nano", "jetson-orin-nano", "raspberry-pi-5")
BASE = """\
schema_version: 1
id: base
description: the base
needs: {python: an interpreter}
connector: {kind: local}
as_root: [sudo, -n]
prepare:
  first: {do: run, run: [a], undo: [b], timeout_s: 5}
  second: {do: write, files: /x/*, value: '1'}
throttling: {pause_above_c: 80, resume_below_c: 60}
power: {meter: modelled, idle_mw: 100, active_mw: [200, 300]}
"""
CHILD = "schema_version: 1\nid: child\nextends: base\npython: python3\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path))
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "base.yaml").write_text(BASE)
    return tmp_path / "devices"


def write(folder: Path, text: str, name: str = "child") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_what_a_file_does_not_say_is_taken_over(home: Path) -> None:
    found = load_description(write(home, CHILD))
    assert (found.id, found.description, found.as_root) == ("child", "the base", ("sudo", "-n"))
    assert list(found.prepare) == ["first", "second"]


def test_mappings_are_merged_and_lists_replaced(home: Path) -> None:
    text = CHILD + "as_root: [su, root]\nthrottling: {resume_below_c: 50}\n"
    text += "prepare: {first: {timeout_s: 7}, second: null, third: {do: run, run: [c], undo: null}}"
    found = load_description(write(home, text))
    assert found.as_root == ("su", "root")
    assert (found.throttling.pause_above_c, found.throttling.resume_below_c) == (80, 50)
    first, second, third = found.prepare.values()
    assert isinstance(first, RunStep)
    assert isinstance(third, RunStep)
    assert (first.run, first.timeout_s, second, third.undo) == (("a",), 7, None, None)


def test_a_block_of_another_sort_takes_nothing_over(home: Path) -> None:
    text = CHILD + "prepare: {first: {do: write, files: /y, value: '2'}}\n"
    found = load_description(write(home, text + "power: {meter: rapl}\n"))
    assert found.power is not None
    assert found.power.model_dump()["meter"] == "rapl"
    assert isinstance(found.prepare["first"], WriteStep)


def test_extending_goes_on_over_several_files_and_by_path(home: Path) -> None:
    write(home, CHILD + "description: the middle\n")
    found = load_description(
        write(home, "schema_version: 1\nid: last\nextends: ./child.yaml\n", "last")
    )
    assert (found.description, found.python, found.as_root) == (
        "the middle",
        "python3",
        ("sudo", "-n"),
    )


def test_a_users_file_may_extend_the_shipped_one_that_it_hides(home: Path) -> None:
    text = "schema_version: 1\nid: local\nextends: local\ndescription: mine\n"
    write(home, text, "local")
    found = load_device("local").description
    assert (found.description, found.connector.kind) == ("mine", "local")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CHILD + "throttling: {pause: 1}\n", r"child.yaml:5: unknown key 'pause' in throttling"),
        (CHILD + "throttling: {resume_below_c: 90}\n", "resume_below_c must not be above"),
        (CHILD + "throttling: {zones: [a, 'b|']}\n", "child.yaml:5: .*zones"),
        (CHILD + "prepare: {first: {timeout_s: 0}}\n", "child.yaml:5: .*timeout_s"),
        (CHILD + "prepare: {x: {do: fly}}\n", "'fly' is not allowed; allowed: run, write"),
        (CHILD + "prepare: {x: {do: run, run: [a]}}\n", "key 'undo' is missing"),
        (CHILD + "prepare: {x: {do: write, files: a, value: b}}\n", "files"),
        (
            CHILD + "prepare: {x: {do: run, run: [a], undo: [b, '{before}']}}\n",
            "need the key read",
        ),
        (
            CHILD + "prepare: {x: {do: run, run: [a], read: [r], undo: [sh, -c, '{before}']}}\n",
            "must be a whole argument",
        ),
        (
            CHILD + "prepare: {x: {do: run, run: [a], read: [r], undo: [sh, -lc, '{before}']}}\n",
            "must be a whole argument",
        ),
        (
            CHILD + "prepare: {x: {do: run, run: [a], read: [r], undo: [sh, 'x{before}']}}\n",
            "must be a whole argument",
        ),
        (CHILD + "lock: {folder: tmp}\n", "folder"),
        (CHILD.replace("id: child\n", ""), "key 'id' is missing"),
        (CHILD.replace("schema_version: 1\n", ""), "key 'schema_version' is missing"),
    ],
)
def test_a_wrong_file_is_refused(home: Path, text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        load_description(write(home, text))


def test_a_circle_is_refused(home: Path) -> None:
    write(home, "schema_version: 1\nid: a\nextends: b\n", "a")
    write(home, "schema_version: 1\nid: b\nextends: a\n", "b")
    with pytest.raises(SchemaError, match=r"ends where it began: a\.yaml → b\.yaml → a\.yaml"):
        load_device("a")


def test_an_unknown_base_is_refused(home: Path) -> None:
    with pytest.raises(RegistryError, match=r"extends: unknown device 'bass'.*nearest: base"):
        load_description(write(home, CHILD.replace("base", "bass")))


def test_what_a_file_needs_is_asked_for(home: Path) -> None:
    with pytest.raises(SchemaError, match=r"does not say python \(an interpreter\)") as caught:
        load_description(write(home, CHILD.replace("python: python3\n", "")))
    assert "extends: child\n  python: ...\nthen use --device my-child" in str(caught.value)


@pytest.mark.parametrize("name", NEEDY)
def test_a_shipped_file_without_a_host_says_what_to_write(name: str, home: Path) -> None:
    with pytest.raises(SchemaError, match=r"does not say connector\.host") as caught:
        load_device(name)
    assert f"{home}/my-{name}.yaml" in str(caught.value)
    assert "  connector:\n    host: ..." in str(caught.value)


@pytest.mark.parametrize("name", NEEDY)
def test_a_shipped_file_is_complete_with_a_host(name: str, home: Path) -> None:
    text = f"schema_version: 1\nid: mine\nextends: {name}\nconnector: {{host: board.example}}\n"
    found = load_description(write(home, text, "mine"))
    assert found.connector.kind == "ssh"
    assert found.prepare
    assert all(step is None or step.timeout_s > 0 for step in found.prepare.values())


def test_all_kinds_of_devices_are_shipped() -> None:
    names = {path.stem for path in (ROOT / "devices").glob("*.yaml")}
    assert {*NEEDY, "local", "pixel-8", "generic-android"} <= names


def test_paths_are_no_ids(tmp_path: Path) -> None:
    assert device_path("./x.yaml") == Path("x.yaml")
    assert device_path(tmp_path) == tmp_path
    with pytest.raises(RegistryError):
        device_path("../../etc/passwd".replace("/", ""))
