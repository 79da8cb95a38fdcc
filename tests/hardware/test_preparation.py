"""Preparing devices: taken, taken back, and put back after kills, cuts and full disks."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenas.core.errors import DeviceError, StorageError
from edgenas.hardware.connectors.base import Completed
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.description import DeviceDescription
from edgenas.hardware.device import Device, load_device
from edgenas.hardware.preparation import Preparation, restore_path
from edgenas.testing.disk import small_disk
from edgenas.testing.fake_connector import Answer, FakeConnector

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from edgenas.hardware.device import load_device
with load_device(sys.argv[1]).claim():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = tmp_path / "home"
    monkeypatch.setenv("EDGENAS_HOME", str(home))
    yield home
    assert not list(home.glob("locks/*.restore.jsonl")), "a device was left changed"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A folder with two governors, as /sys has them, and a mode."""
    folder = tmp_path / "a $(touch pwned) 'folder"
    for i, governor in enumerate(("schedutil", "powersave")):
        (folder / f"policy{i}").mkdir(parents=True)
        (folder / f"policy{i}" / "governor").write_text(f"{governor}\n")
    (folder / "mode").write_text("7\n")
    return folder


def governors(system: Path) -> list[str]:
    return [(system / f"policy{i}" / "governor").read_text() for i in range(2)]


def steps(system: Path) -> dict[str, object]:
    mode = str(system / "mode")
    return {
        "governor": {
            "do": "write",
            "files": str(system / "policy*" / "governor"),
            "value": "performance",
        },
        "mode": {
            "do": "run",
            "read": ["cat", mode],
            "run": ["sh", "-c", 'echo 0 >"$1"', "sh", mode],
            "becomes": "0",
            "undo": ["sh", "-c", 'echo "$2" >"$1"', "sh", mode, "{before}"],
        },
    }


def describe(prepare: dict[str, object], **values: object) -> DeviceDescription:
    return DeviceDescription.model_validate_json(
        json.dumps(
            {
                "schema_version": 1,
                "id": "mine",
                "description": "a test",
                "connector": {"kind": "local"},
                "prepare": prepare,
                **values,
            }
        )
    )


def device(prepare: dict[str, object], **values: object) -> Device:
    return Device(describe(prepare, **values), LocalConnector())


def test_steps_are_taken_and_taken_back(home: Path, system: Path) -> None:
    held = device(steps(system))
    with held.claim():
        assert governors(system) == ["performance\n"] * 2
        assert (system / "mode").read_text() == "0\n"
        with held.claim():
            assert restore_path(held.connector).is_file()
        assert governors(system) == ["performance\n"] * 2
    assert governors(system) == ["schedutil\n", "powersave\n"]
    assert (system / "mode").read_text() == "7\n"
    assert [(one.step, one.state, one.before) for one in held.prepared] == [
        ("governor", "done", "powersave, schedutil"),
        ("mode", "done", "7"),
    ]


def test_a_claim_without_preparing_changes_nothing(home: Path, system: Path) -> None:
    with device(steps(system)).claim(prepare=False):
        assert governors(system) == ["schedutil\n", "powersave\n"]


def test_what_is_already_so_is_left_alone(home: Path, system: Path) -> None:
    (system / "mode").write_text("0\n")
    for i in range(2):
        (system / f"policy{i}" / "governor").write_text("performance\n")
    held = device(steps(system))
    with held.claim():
        assert [one.state for one in held.prepared] == ["already", "already"]
        assert not restore_path(held.connector).exists()


def test_an_error_in_the_body_restores(home: Path, system: Path) -> None:
    with pytest.raises(KeyError), device(steps(system)).claim():
        raise KeyError
    assert governors(system) == ["schedutil\n", "powersave\n"]


def test_a_failing_step_undoes_those_before_it_and_names_the_remedy(
    home: Path, system: Path
) -> None:
    bad = {
        "do": "run",
        "run": ["sh", "-c", "echo no right >&2; exit 3"],
        "undo": None,
        "remedy": "use sudo",
    }
    message = r"failed at 'bad': status 3 \(no right\); use sudo; .*bad: null"
    with (
        pytest.raises(DeviceError, match=message),
        device({**steps(system), "bad": bad}).claim(),
    ):
        pytest.fail("the body must not run")
    assert governors(system) == ["schedutil\n", "powersave\n"]


def test_an_optional_step_that_fails_warns(
    home: Path, system: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = {"do": "write", "files": "/no/such*", "value": "1", "optional": True}
    held = device({"missing": missing, **steps(system)})
    with held.claim():
        assert governors(system) == ["performance\n"] * 2
    assert held.prepared[0].state == "failed"
    assert "there is no file /no/such*" in caplog.text


def test_a_value_that_is_not_kept_is_an_error(home: Path, system: Path) -> None:
    stuck = {"do": "run", "read": ["echo", "5"], "run": ["true"], "becomes": "0", "undo": ["true"]}
    with (
        pytest.raises(DeviceError, match="true succeeds, and the state is '5'"),
        device({**steps(system), "stuck": stuck}).claim(),
    ):
        pass
    assert governors(system) == ["schedutil\n", "powersave\n"]


def test_a_step_that_hangs_is_ended(home: Path, system: Path) -> None:
    hang = {"do": "run", "run": ["sleep", "600"], "undo": None, "timeout_s": 0.2}
    with pytest.raises(DeviceError, match="did not end"), device({"hang": hang}).claim():
        pass


def test_a_device_that_cannot_be_put_back_keeps_its_journal(home: Path, system: Path) -> None:
    flag = system / "repaired"
    step = {"do": "run", "run": ["true"], "undo": ["test", "-e", str(flag)]}
    held = device({**steps(system), "odd": step})
    with (
        pytest.raises(DeviceError, match=r"not as it was.*odd: status 1.*mine --restore"),
        held.claim(),
    ):
        pass
    assert governors(system) == ["schedutil\n", "powersave\n"]
    assert Preparation(held.connector, held.description).pending() == ["odd"]
    with pytest.raises(DeviceError, match="not as it was"), held.claim():
        pytest.fail("the body must not run")
    flag.touch()
    assert held.restore() == ["odd"]


def test_a_restore_that_fails_after_an_error_is_noted_on_it(home: Path, system: Path) -> None:
    flag = system / "repaired"
    held = device({"odd": {"do": "run", "run": ["true"], "undo": ["test", "-e", str(flag)]}})
    with pytest.raises(KeyError) as caught, held.claim():
        raise KeyError
    assert "not as it was" in caught.value.__notes__[0]
    flag.touch()
    held.restore()


def test_root_commands_begin_as_the_description_says(home: Path, system: Path) -> None:
    prepare = steps(system)
    prepare["governor"] = {**prepare["governor"], "as_root": True}  # type: ignore[dict-item]
    with device(prepare, as_root=["env", "X=1"]).claim():
        assert governors(system) == ["performance\n"] * 2
        records = [
            json.loads(line) for line in restore_path(LocalConnector()).read_text().splitlines()
        ]
        assert [record["undo"][0] for record in records] == ["env", "sh"]
    assert governors(system) == ["schedutil\n", "powersave\n"]


def hold(home: Path, system: Path) -> "subprocess.Popen[bytes]":
    path = home / "devices" / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(describe(steps(system)).model_dump_json(exclude_none=True))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, "mine"], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert governors(system) == ["performance\n"] * 2
    return holder


def test_a_killed_holder_is_cleaned_up_after_by_the_next(home: Path, system: Path) -> None:
    with hold(home, system) as holder:
        holder.kill()
    assert governors(system) == ["performance\n"] * 2
    held = load_device("mine")
    with held.claim():
        assert held.prepared[0].before == "powersave, schedutil"  # as before the killed one
    assert governors(system) == ["schedutil\n", "powersave\n"]


def test_a_killed_holder_is_cleaned_up_after_by_hand(home: Path, system: Path) -> None:
    with hold(home, system) as holder:
        holder.kill()
    assert load_device("mine").restore() == ["mode", "governor"]
    assert governors(system) == ["schedutil\n", "powersave\n"]
    assert load_device("mine").restore() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_restore(home: Path, system: Path, number: signal.Signals) -> None:
    with hold(home, system) as holder:
        holder.send_signal(number)
        try:
            assert holder.wait(60) != 0
        finally:
            holder.kill()
    assert governors(system) == ["schedutil\n", "powersave\n"]


def test_a_second_interrupt_does_not_stop_the_restoring(home: Path, system: Path) -> None:
    interrupt = {"do": "run", "run": ["true"], "undo": ["sh", "-c", f"kill -INT {os.getpid()}"]}
    with pytest.raises(KeyboardInterrupt), device({**steps(system), "last": interrupt}).claim():
        pass
    assert governors(system) == ["schedutil\n", "powersave\n"]


KILLED_AT = """
import os, signal, sys
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.device import Device, load_device

class Deadly(LocalConnector):
    n_left = after = 0

    def run(self, argv, timeout_s):
        Deadly.n_left -= 1
        if Deadly.n_left == 0 and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = super().run(argv, timeout_s)
        if Deadly.n_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

path, files = sys.argv[1], sys.argv[2:]
described = load_device(path).description
before = [open(name).read() for name in files]
n_killed, n = 0, 0
while True:
    n += 1
    ended = 0
    for after in (0, 1):
        child = os.fork()
        if not child:
            Deadly.n_left, Deadly.after = n, after
            with Device(described, Deadly()).claim():
                pass
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        n_killed += killed
        ended += not killed
        Device(described, LocalConnector()).restore()
        assert [open(name).read() for name in files] == before, (n, after)
    if ended == 2:
        break
print(n_killed)
"""


def test_killed_before_and_after_every_command_nothing_stays_changed(
    home: Path, system: Path
) -> None:
    path = home / "devices" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(describe(steps(system)).model_dump_json(exclude_none=True))
    files = [
        str(system / "policy0/governor"),
        str(system / "policy1/governor"),
        str(system / "mode"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT, "mine", *files],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) >= 16


def fake(answers: dict[tuple[str, ...] | str, Answer]) -> FakeConnector:
    return FakeConnector({("cat",): "boot-1\n", ("true",): "", **answers})


def fake_steps() -> DeviceDescription:
    return describe(
        {
            "clocks": {"do": "run", "run": ["fix"], "undo": ["unfix"], "until_reboot": True},
            "mode": {"do": "run", "read": ["q"], "run": ["m", "0"], "undo": ["m", "{before}"]},
        }
    )


def test_a_cut_connection_is_restored_by_the_next_holder(home: Path) -> None:
    connector = fake({("fix",): "", ("unfix",): "", ("q",): "3\n", ("m",): ""})
    first = Preparation(connector, fake_steps())
    with pytest.raises(DeviceError, match="is not as it was"), first.prepared():
        connector.reachable = False
    connector.reachable = True
    connector.ran.clear()
    assert Preparation(connector, fake_steps()).restore() == ["mode", "clocks"]
    assert [one for one in connector.ran if one[0] != "cat"] == [("m", "3"), ("unfix",)]


@pytest.mark.parametrize("n", range(12))
def test_cut_after_any_command_nothing_stays_changed(home: Path, n: int) -> None:
    state = {"clock": "free", "mode": "3"}

    def switch(argv: tuple[str, ...]) -> Answer:
        state["mode"] = argv[1]
        return ""

    def clock(argv: tuple[str, ...]) -> Answer:
        state["clock"] = {"fix": "fixed", "unfix": "free"}[argv[0]]
        return ""

    connector = fake(
        {("fix",): clock, ("unfix",): clock, ("q",): lambda _: state["mode"], ("m",): switch}
    )
    connector.cut_after = n
    try:
        with Preparation(connector, fake_steps()).prepared():
            assert state == {"clock": "fixed", "mode": "0"}
    except DeviceError:
        pass
    connector.reachable, connector.cut_after = True, None
    Preparation(connector, fake_steps()).restore()
    assert state == {"clock": "free", "mode": "3"}


def test_after_a_reboot_only_what_lasts_is_undone(home: Path) -> None:
    connector = fake({("fix",): "", ("unfix",): "", ("q",): "3\n", ("m",): ""})
    with (
        pytest.raises(DeviceError),
        Preparation(connector, fake_steps()).prepared(),
    ):
        connector.reachable = False
    connector.reachable = True
    connector.answers[("cat",)] = "boot-2\n"
    connector.ran.clear()
    Preparation(connector, fake_steps()).restore()
    assert ("m", "3") in connector.ran
    assert ("unfix",) not in connector.ran


def test_a_full_disk_stops_before_anything_is_changed(tmp_path: Path, system: Path) -> None:
    connector = fake({("fix",): AssertionError("changed without a note")})
    with small_disk(tmp_path / "small") as disk, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGENAS_HOME", str(disk.path))
        (disk.path / "locks").mkdir()
        disk.fill()
        with (
            pytest.raises(StorageError, match="cannot write"),
            Preparation(connector, fake_steps()).prepared(),
        ):
            pytest.fail("the body must not run")
        disk.free()


def test_a_damaged_journal_is_named(home: Path) -> None:
    connector = fake({})
    path = restore_path(connector)
    path.parent.mkdir(parents=True)
    for text in ('{"step": "x", "undo": "rm"}\n', '{"step": "x", "undo": []}\n', "{}\n", "x\n{}\n"):
        path.write_text(text)
        with pytest.raises(StorageError, match=path.name):
            Preparation(connector, fake_steps()).restore()
    path.unlink()


def test_a_torn_last_line_is_a_change_that_was_not_made(home: Path) -> None:
    connector = fake({("m",): ""})
    path = restore_path(connector)
    path.parent.mkdir(parents=True)
    path.write_text('{"step": "mode", "undo": ["m", "3"]}\n{"step": "cl')
    assert Preparation(connector, fake_steps()).restore() == ["mode"]


def test_a_refused_undo_is_told_with_the_devices_words(home: Path) -> None:
    connector = fake({("fix",): "", ("unfix",): Completed(1, b"", b"busy"), ("q",): "", ("m",): ""})
    with (
        pytest.raises(DeviceError, match=r"clocks: status 1 \(busy\)"),
        Preparation(connector, fake_steps()).prepared(),
    ):
        pass
    connector.answers[("unfix",)] = ""
    Preparation(connector, fake_steps()).restore()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(
        st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=20
    ).filter(lambda name: name not in (".", "..") and not set(name) & set("*?[]\\")),
    st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=20),
)
def test_hostile_names_and_values_stay_what_they_are(
    tmp_path: Path, home: Path, name: str, before: str
) -> None:
    folder = tmp_path / "files"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(before + "\n")
    step = {"do": "write", "files": str(path), "value": "$(touch pwned); `id` '\" *"}
    held = device({"hostile": step})
    with held.claim():
        assert path.read_text() == "$(touch pwned); `id` '\" *\n"
    assert path.read_text().removesuffix("\n") == before
    assert [one.name for one in folder.iterdir()] == [name]
    path.unlink()
