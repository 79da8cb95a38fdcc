"""Names with blanks, quotes, line ends and commands in them arrive as they are, on every way."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenas.core.measurement import MeasurementPlan
from edgenas.hardware.description import RunStep, RuntimeSettings, WriteStep
from edgenas.hardware.device import Device, load_device
from edgenas.hardware.preparation import Preparation
from edgenas.profiling.measure import measure_files
from edgenas.profiling.workload import model_bytes
from edgenas.spaces.base import SearchSpace
from edgenas.testing.adb.phone import missing_here
from edgenas.testing.missing import skip_outside_ci
from edgenas.testing.peers import Peer, adb_peer, local_peer, ssh_peer
from edgenas.testing.space_contract import width_space
from edgenas.testing.sshd import missing_program, running_sshd

TRAPS = [
    "$(touch pwned)", "`touch pwned`", "; touch pwned #", "' ; touch pwned ; '",
    '" ; touch pwned ; "', "a\nb", "a\ttouch pwned", "\\$(touch pwned)", "-rf", "--", "* ?", "~",
    "&& touch pwned", "| touch pwned", "ü ☃", "%s%n", "{a,b}", "!!", "$HOME", "\\", "'", '"',
    "a\x01b", "=x", "#x",
]  # fmt: skip
TRTEXEC = Path(__file__).parents[1] / "runtimes" / "trtexec_program.py"
PLAN = MeasurementPlan(n_visits=1, n_runs=1, n_warmup=0)
texts = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)
words = st.one_of(st.sampled_from(TRAPS), texts)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["local", "ssh", "adb"])
def peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    """A device in a folder whose own name is a trap."""
    folder = tmp_path_factory.mktemp("peer") / 'it\'s $(touch pwned) "here"\n;'
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGENAS_HOME", str(folder / "home"))
        if request.param == "local":
            yield local_peer(folder)
        elif request.param == "ssh":
            skip_outside_ci(missing_program(), pytest.skip)
            server = tmp_path_factory.mktemp("sshd")
            with running_sshd(server) as sshd, ssh_peer(folder, sshd) as peer:
                yield peer
        else:
            missing_here(pytest.skip)
            with adb_peer(folder) as peer:
                yield peer


@pytest.fixture(scope="module")
def device(peer: Peer) -> Iterator[Device]:
    changes = {}
    if peer.kind != "adb":
        python = peer.folder / "py $(touch pwned) 'thon"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        changes = {"python": str(python)}
    with load_device(peer.device_file(**changes)) as device:
        yield device


@pytest.fixture(scope="module")
def model(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    space: SearchSpace = width_space(peer.size)
    graph = space.network(space.sample(1, np.random.default_rng(0))[0])
    model_format = "tflite" if peer.kind == "adb" else "onnx"
    path = tmp_path_factory.mktemp("model") / f"model.{model_format}"
    path.write_bytes(model_bytes(graph, model_format, "float32"))
    return path


def check_not_pwned(peer: Peer, tmp_path: Path) -> None:
    """Nothing ran that was only a name."""
    folders = [peer.folder, tmp_path, Path.cwd(), peer.home]
    if peer.sshd is not None:
        folders += [peer.sshd.folder, peer.sshd.folder / "home"]
    if peer.phone is not None:
        folders += [peer.phone.path("/data"), peer.phone.path("/data/local/tmp")]
    assert not [folder for folder in folders if (folder / "pwned").exists()]


def test_files_of_any_name_are_measured(
    peer: Peer, device: Device, model: Path, tmp_path: Path
) -> None:
    """Every trap as the name of a file and of a folder, and as the key."""
    paths = {}
    for trap in TRAPS[:: 3 if peer.kind == "adb" else 1]:
        path = tmp_path / f"{trap} d" / f"{trap}{model.suffix}"
        path.parent.mkdir()
        shutil.copy(model, path)
        with path.open("ab") as stream:  # another content, thus another file on the device
            stream.write(b"" if model.suffix == ".onnx" else trap.encode())
        paths[trap] = path
    found = measure_files(device, peer.runtime, paths, PLAN)
    assert list(found) == list(paths)
    assert all(one.samples_ms.shape == (1, 1) for one in found.values())
    assert peer.unrestored() == []
    check_not_pwned(peer, tmp_path)


@given(st.lists(words, min_size=1, max_size=3), words)
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_names_and_arguments_reach_a_command_as_they_are(
    peer: Peer, device: Device, tmp_path: Path, arguments: list[str], name: str
) -> None:
    connector = device.connector
    done = connector.run(["printf", "%s\\0", *arguments], 60)
    assert done.stdout == b"".join(text.encode() + b"\0" for text in arguments)
    local = tmp_path / "content"
    local.write_bytes(name.encode())
    remote = f"{connector.workdir}/{name}-"
    connector.push(local, remote)
    assert connector.run(["cat", remote], 60).stdout == name.encode()
    back = tmp_path / "back"
    connector.pull(remote, back)
    assert back.read_bytes() == name.encode()
    connector.run(["rm", "--", remote], 60)
    check_not_pwned(peer, tmp_path)


prepared_words = words.filter(lambda text: not set(text) & set("\r\n"))


@given(prepared_words, prepared_words, st.lists(words, max_size=2))
@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_preparing_steps_of_any_words_are_taken_and_taken_back(
    peer: Peer, device: Device, tmp_path: Path, before: str, during: str, more: list[str]
) -> None:
    """A file is written, and a command run and undone, by a description with these words in it."""
    connector = device.connector
    folder = connector.workdir
    for name in ("governor", "mode"):
        local = tmp_path / name
        local.write_bytes(before.encode() + b"\n")
        connector.push(local, f"{folder}/{name}")
    setting = 'printf "%s\\n" "$2" >"$1"'
    run = {
        "do": "run",
        "run": ["sh", "-c", setting, "sh", f"{folder}/mode", during, *more],
        "read": ["cat", f"{folder}/mode"],
        "undo": ["sh", "-c", setting, "sh", f"{folder}/mode", "{before}", *more],
    }
    write = {"do": "write", "files": f"{folder}/governor", "value": during}
    steps = {"governor": WriteStep.model_validate(write), "mode": RunStep.model_validate(run)}
    description = device.description.model_copy(update={"prepare": steps})
    preparation = Preparation(connector, description)

    def states() -> list[bytes]:
        names = ("governor", "mode")
        return [connector.run(["cat", f"{folder}/{name}"], 60).stdout for name in names]

    with preparation.prepared():
        assert states() == [during.encode() + b"\n"] * 2
        assert preparation.pending() == ["mode", *(["governor"] if before != during else [])]
    # What a command prints is read without blanks around it; a file's content is kept whole.
    assert states() == [before.encode() + b"\n", before.encode().strip() + b"\n"]
    assert preparation.pending() == []
    check_not_pwned(peer, tmp_path)


def test_a_program_in_a_folder_of_any_name_is_run(
    peer: Peer, device: Device, model: Path, tmp_path: Path
) -> None:
    """The program that a device file names by its path there."""
    connector = device.connector
    folder = f"{connector.workdir}/it's $(touch pwned) `id`; \"d"
    program = f"{folder}/tool $(touch pwned)"
    if peer.phone is not None:
        name, settings = "benchmark_model", {"device_binary": program, "affinity": [0]}
        connector.push(peer.phone.benchmark_model(), program)
    else:
        name, settings = "trtexec", {"program": program}
        local = tmp_path / "tool"
        arguments = f"{sys.executable} -IS {TRTEXEC} 8401 none"
        local.write_text(f'#!/bin/sh\nexec {arguments} "$@"\n')
        connector.push(local, program)
    assert connector.run(["chmod", "755", program], 60).status == 0
    runtimes = RuntimeSettings.model_validate({name: settings})
    changes = {"runtimes": runtimes, "prepare": {}}
    other = Device(device.description.model_copy(update=changes), connector)
    found = measure_files(other, name, {"it's; $(touch pwned)": model}, PLAN)
    assert [one.samples_ms.shape for one in found.values()] == [(1, 1)]
    check_not_pwned(peer, tmp_path)
