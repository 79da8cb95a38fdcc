"""The text that a phone's shell gets: arguments and variables come out of it as they went in."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.adb_shell import (
    announced,
    shell_script,
    signal_aware,
    split_ending,
)
from edgenas.testing.connector_contract import ARGUMENTS, HOSTILE

SHELLS = [path for name in ("mksh", "sh", "bash", "busybox") if (path := shutil.which(name))]
ECHO = ["sh", "-c", 'for one; do printf "%s\\0" "$one"; done; printf "%s" "$A_1"; exit 7', "sh"]


@pytest.fixture(params=SHELLS, ids=lambda path: Path(path).name)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """A shell as Android's, or near to it."""
    return [request.param, *(["sh"] if request.param.endswith("busybox") else [])]


def outcome(shell: list[str], argv: list[str], env: dict[str, str]) -> tuple[int, bytes]:
    """Return the status that the script tells, and what the command printed."""
    done = subprocess.run(
        [*shell, "-c", shell_script(argv, env)],
        input=b"", capture_output=True, check=False, timeout=60, start_new_session=True,
    )  # fmt: skip
    head, _, stdout = done.stdout.partition(b"\n")
    assert announced(head.decode()) is not None
    status, printed = split_ending(done.stderr)
    assert printed == b""
    assert status == done.returncode
    return done.returncode, stdout


def echoed(shell: list[str], arguments: list[str], value: str) -> None:
    status, stdout = outcome(shell, [*ECHO, *arguments], {"A_1": value})
    *found, last = stdout.split(b"\0")
    assert status == 7
    assert [os.fsdecode(one) for one in found] == arguments
    assert os.fsdecode(last) == value


def test_hostile_arguments_and_values_arrive(shell: list[str]) -> None:
    echoed(shell, list(HOSTILE), "".join(HOSTILE))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(ARGUMENTS, max_size=5), value=ARGUMENTS)
def test_any_arguments_and_values_arrive(
    shell: list[str], arguments: list[str], value: str
) -> None:
    echoed(shell, arguments, value)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=ARGUMENTS.filter(lambda name: name not in ("", ".", "..")))
def test_a_program_of_any_name_is_looked_for_and_not_run_as_text(
    shell: list[str], name: str, tmp_path: Path
) -> None:
    program = f"{tmp_path}/no/{name}"
    done = subprocess.run(
        [*shell, "-c", shell_script([program], {})],
        input=b"", capture_output=True, check=False, timeout=60, start_new_session=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (127, b"edgenas-missing\n", b"")
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=20).filter(lambda name: not name.isidentifier()))
def test_other_names_of_variables_are_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="no name of an environment variable"):
        shell_script(["true"], {name: "x"})


def test_what_no_shell_can_get_is_refused() -> None:
    with pytest.raises(DeviceError, match="zero byte"):
        shell_script(["true", "a\0b"], {})
    with pytest.raises(DeviceError, match="longer than adb carries"):
        shell_script(["true", "é" * 40_000], {})


def test_signals_are_told_from_statuses() -> None:
    assert [signal_aware(status) for status in (0, 1, 128, 137, 255)] == [0, 1, 128, -9, 255]
