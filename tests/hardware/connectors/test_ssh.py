"""The ssh connector against a real server: whom it trusts, what it refuses, where it puts files."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psutil import Process

from edgenas.core.errors import (
    DeviceError,
    MissingExtraError,
    RegistryError,
    SchemaError,
)
from edgenas.hardware.connectors import ssh as ssh_module
from edgenas.hardware.connectors.base import CONNECTORS, ConnectorSettings
from edgenas.hardware.connectors.ssh import SshConnector
from edgenas.hardware.connectors.ssh_process import SshProcess
from edgenas.hardware.device import load_device
from edgenas.testing.connector_contract import HOSTILE, shell
from edgenas.testing.sshd import Sshd, make_key, running_sshd, trust
from edgenas.testing.tcp_proxy import TcpProxy

ROOT = Path(__file__).resolve().parents[3]
DEVICE = """
schema_version: 1
id: mine
description: a test
connector: {{{connector}}}
lock: {{folder: {folder}}}
"""
MEBI = 1 << 20


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Sshd]:
    """A second server, whose keys a test may change."""
    with running_sshd(tmp_path / "other", alias="other") as server:
        yield server


def refusal(server: Sshd, **changes: object) -> str:
    """Return why a device is not reached."""
    with SshConnector(server.settings(**changes)) as connector:
        with pytest.raises(DeviceError) as error:
            connector.run(["true"], timeout_s=30)
        return str(error.value)


def described(folder: Path, connector: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(DEVICE.format(connector=connector, folder=folder))
    return path


def test_is_registered() -> None:
    assert CONNECTORS.get("ssh") is SshConnector
    with pytest.raises(RegistryError, match=r"nearest: ssh"):
        CONNECTORS.get("sshh")
    with pytest.raises(TypeError, match="settings of the connector ssh"):
        SshConnector(ConnectorSettings(kind="ssh"))


def test_two_descriptions_of_one_device_have_one_address(sshd: Sshd, tmp_path: Path) -> None:
    path = described(tmp_path, f"kind: ssh, host: device, config: {sshd.config}")
    with load_device(path) as device, SshConnector(sshd.settings(port=sshd.port)) as named:
        wanted = f"ssh:{shell(named, 'id -un').strip()}@127.0.0.1:{sshd.port}"
        assert device.connector.address == named.address == wanted
        assert device.python == "python3"
        held = pytest.raises(DeviceError, match=f"held by process {os.getpid()}")
        with device.claim(), load_device(path) as same, held, same.claim():
            pass


@pytest.mark.parametrize(
    ("connector", "message"),
    [
        ("kind: ssh", "key 'host' is missing"),
        ("kind: ssh, host: pi, usr: me", "unknown key 'usr'.*nearest: user"),
        ("kind: ssh, host: -oProxyCommand=id", "host"),
        ("kind: ssh, host: 'a b'", "host"),
        ("kind: ssh, host: pi, user: ''", "user"),
        ("kind: ssh, host: pi, port: 0", "port"),
        ("kind: ssh, host: pi, workdir: work", "workdir"),
        ("kind: ssh, host: pi, connect_timeout_s: 0", "connect_timeout_s"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, connector: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        load_device(described(tmp_path, connector))


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, sshd: Sshd) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with pytest.raises(MissingExtraError, match=r"edgenas\[ssh\]"):
        _ = SshConnector(sshd.settings()).address


def test_an_unknown_host_key_is_refused(other: Sshd) -> None:
    shown = fingerprint(other.folder / "host_key.pub")
    for known in ("", "# nothing\n", "elsewhere " + other.host_key + "\n"):
        other.known_hosts.write_text(known)
        text = refusal(other)
        assert "unknown devices are refused" in text
        assert f"shows the host key {shown} (ssh-ed25519)" in text
        assert str(other.known_hosts) in text
        assert text.endswith(f"run: ssh -F {other.config} other")
        assert other.known_hosts.read_text() == known
    other.known_hosts.unlink()
    assert "unknown devices are refused" in refusal(other)
    assert not other.known_hosts.exists()


def test_a_changed_host_key_is_refused(other: Sshd) -> None:
    make_key(other.folder / "older")
    key = " ".join((other.folder / "older.pub").read_text().split()[:2])
    trust(other, key)
    text = refusal(other)
    assert fingerprint(other.folder / "host_key.pub") in text
    assert f"knows it by {fingerprint(other.folder / 'older.pub')}" in text
    assert f"ssh-keygen -R '[127.0.0.1]:{other.port}' -f {other.known_hosts} and then" in text
    trust(other)
    with SshConnector(other.settings()) as connector:
        assert connector.run(["true"], timeout_s=30).status == 0


def test_a_host_key_of_another_type_than_the_known_one_is_refused(other: Sshd) -> None:
    path = other.folder / "rsa"
    make = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(path)]
    subprocess.run(make, check=True, timeout=60)
    trust(other, " ".join(path.with_suffix(".pub").read_text().split()[:2]))
    text = refusal(other)
    assert "knows it by" in text
    assert "ssh-keygen -R" in text


def test_a_revoked_host_key_is_refused(other: Sshd) -> None:
    trust(other)
    known = other.known_hosts.read_text()
    other.known_hosts.write_text(known + f"@revoked * {other.host_key}\n")
    assert "revoked" in refusal(other)


@pytest.mark.parametrize("line", ["UserKnownHostsFile none", "UserKnownHostsFile /dev/null"])
def test_no_configuration_makes_an_unknown_host_trusted(other: Sshd, line: str) -> None:
    config = other.config.read_text()
    lines = f"StrictHostKeyChecking no\n  {line}"
    other.config.write_text(re.sub("UserKnownHostsFile.*", lines, config))
    assert "unknown devices are refused" in refusal(other)


def test_a_file_of_known_hosts_that_is_broken_is_named(other: Sshd) -> None:
    other.known_hosts.write_text("broken\n")
    assert f"{other.known_hosts}, which says what devices are trusted" in refusal(other)


def test_a_wrong_key_or_user_is_told(other: Sshd) -> None:
    make_key(other.folder / "user_key2")
    config = other.config.read_text()
    other.config.write_text(config.replace("user_key", "user_key2"))
    text = refusal(other)
    assert "does not let us in" in text
    assert f"give it yours: ssh-copy-id -F {other.config} other" in text
    other.config.write_text(config)
    assert refusal(other, user="nobody-here").startswith("nobody-here@127.0.0.1:")
    assert "does not let us in" in refusal(other, user="nobody-here")


def test_an_identity_may_be_named(other: Sshd) -> None:
    config = other.config.read_text()
    other.config.write_text(re.sub("Identity.*\n", "\n", config))
    settings = other.settings(identity=str(other.identity), known_hosts=str(other.known_hosts))
    with SshConnector(settings) as connector:
        assert connector.run(["true"], timeout_s=30).status == 0
    assert "no-such-key" in refusal(other, identity="/no-such-key")
    assert "-i /no-such-key" in refusal(other, identity="/no-such-key")


@contextmanager
def ssh_agent(folder: Path, *keys: Path) -> Iterator[Path]:
    """Run an agent that holds these keys; yield the socket on which it is asked."""
    way = folder / "agent"
    with subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(way)], stdout=subprocess.DEVNULL, start_new_session=True
    ) as agent:
        try:
            end = time.monotonic() + 20
            while not way.exists():
                assert agent.poll() is None
                assert time.monotonic() < end
                time.sleep(0.02)
            for key in keys:
                add = ["ssh-add", "-q", str(key)]
                own = {**os.environ, "SSH_AUTH_SOCK": str(way)}
                subprocess.run(add, check=True, timeout=60, env=own)
            yield way
        finally:
            agent.kill()


def test_a_key_may_be_the_agents_alone(
    other: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the configuration nor the description names a key; the file itself is gone."""
    config = other.config.read_text()
    other.config.write_text(re.sub("Identit.*\n", "\n", config))
    monkeypatch.setenv("HOME", str(tmp_path))  # no keys there either
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert "does not let us in" in refusal(other)
    with ssh_agent(tmp_path, other.identity) as way:
        other.identity.unlink()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(way))
        with SshConnector(other.settings()) as connector:
            assert shell(connector, "echo let in") == "let in\n"
    assert "does not let us in" in refusal(other)  # the agent has ended


def test_a_device_that_is_not_there_is_told(other: Sshd) -> None:
    with TcpProxy(other.port) as proxy:
        port = proxy.port
    assert f":{port}: " in refusal(other, port=port)
    assert "does its ssh server run?" in refusal(other, port=port)
    text = refusal(other, host="no-such-device.invalid")
    assert "cannot connect to " in text
    assert "no-such-device.invalid:22" in text


def test_a_configuration_that_is_broken_is_told(other: Sshd) -> None:
    other.config.write_text("Port many\n")
    assert "Invalid Port integer value" in refusal(other)
    assert "ssh -G" in refusal(other)


def test_what_is_discarded_is_gone_whatever_its_name(
    ssh: SshConnector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_module, "_SPARE_BYTES", 0)
    monkeypatch.setattr(ssh_module, "_MOST_FILES", 20)  # thus several commands
    paths = [tmp_path / f"{name}.onnx" for name in HOSTILE]
    for path in paths:
        path.write_text("content")
    kept, *placed = (ssh.place(path) for path in paths)
    shell(ssh, 'touch "$1/another"', ssh.workdir)
    ssh.discard([*placed, f"{ssh.workdir}/another"])  # which was not placed
    assert {path.name for path in Path(ssh.workdir).iterdir()} == {Path(kept).name, "another"}
    assert all(path.read_text() == "content" for path in paths)
    assert ssh.place(paths[1]) == placed[0]


def test_of_what_is_discarded_the_oldest_goes_when_there_is_too_much(
    ssh: SshConnector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_module, "_SPARE_BYTES", 6000)
    placed = []
    for name in "abcdefgh":
        (tmp_path / name).write_text(name * 1000)
        placed.append(ssh.place(tmp_path / name))

    def there() -> str:
        return "".join(sorted(path.name[-1] for path in Path(ssh.workdir).iterdir()))

    ssh.discard(placed[:6])
    assert there() == "abcdefgh"
    assert ssh.place(tmp_path / "b") == placed[1]  # is needed again
    ssh.discard(placed[6:])
    assert there() == "bfgh"
    ssh.discard([placed[1]])
    assert there() == "bfgh"


def test_a_user_without_a_shell_is_told(tmp_path: Path) -> None:
    with running_sshd(tmp_path / "sshd", lines="ForceCommand echo go away") as server:
        text = refusal(server)
    assert "does not start commands" in text
    assert text.endswith("go away")


def test_the_way_may_lead_through_another_host(sshd: Sshd, other: Sshd) -> None:
    inner = sshd.config.read_text() + "  ProxyJump other\n"
    other.config.write_text(other.config.read_text() + inner)
    both = sshd.known_hosts.read_text() + other.known_hosts.read_text()
    known = other.folder / "both"
    known.write_text(both)
    settings = other.settings(host=sshd.alias, known_hosts=str(known))
    with SshConnector(settings) as connector:
        where = shell(connector, "echo $SSH_CONNECTION").split()
        assert where[3] == str(sshd.port)
        assert connector.address.endswith(f":{sshd.port}")
    known.write_text(sshd.known_hosts.read_text())
    text = refusal(other, host=sshd.alias, known_hosts=str(known))
    assert f"127.0.0.1:{other.port} shows the host key" in text
    other.config.write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    assert "more than 8 hosts" in refusal(other, host="a")


def test_the_way_may_be_a_command(sshd: Sshd, tmp_path: Path) -> None:
    copy = (
        "import socket, sys, threading, os; s = socket.create_connection(('127.0.0.1', "
        f"{sshd.port})); threading.Thread(target=lambda: [os.write(1, b) for b in "
        "iter(lambda: s.recv(65536), b'')], daemon=True).start(); "
        "[s.sendall(b) for b in iter(lambda: os.read(0, 65536), b'')]"
    )
    (tmp_path / "copy.py").write_text(copy)
    config = tmp_path / "config"
    config.write_text(
        sshd.config.read_text() + f"  ProxyCommand {sys.executable} {tmp_path}/copy.py\n"
    )
    with SshConnector(sshd.settings(config=str(config))) as connector:
        assert shell(connector, "echo through") == "through\n"
        (program,) = [child for child in Process().children() if "copy.py" in str(child.cmdline())]
    assert not program.is_running()


def test_a_file_is_placed_once(ssh: SshConnector, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "model.onnx", tmp_path / "b" / "model.onnx"
    for path, content in ((first, b"first"), (second, b"second")):
        path.parent.mkdir()
        path.write_bytes(content)
    remote = ssh.place(first)
    assert re.fullmatch(r".*/[0-9a-f]{16}-model\.onnx", remote)
    look = 'ls -i "$1"'
    before = shell(ssh, look, remote)
    assert ssh.place(first) == remote
    assert shell(ssh, look, remote) == before
    assert ssh.place(second) != remote
    assert shell(ssh, 'cat "$1"', remote) == "first"
    long = tmp_path / ("x" * 240 + ".onnx")
    long.write_bytes(b"long")
    assert shell(ssh, 'cat "$1"', ssh.place(long)) == "long"
    shell(ssh, 'rm -r "$1"', ssh.workdir)  # a device may clean up when it boots
    assert shell(ssh, 'cat "$1"', ssh.place(first)) == "first"


def test_a_new_file_is_placed_by_one_command(
    ssh: SshConnector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes some hundredths of a second at least, and a table needs hundreds of files."""
    start, started = ssh._start, []

    def counted(argv: Sequence[str], *args: Any, **others: Any) -> SshProcess:
        started.append(argv)
        return start(argv, *args, **others)

    assert ssh.workdir
    monkeypatch.setattr(ssh, "_start", counted)
    for number in range(3):
        path = tmp_path / f"{number}.onnx"
        path.write_text(str(number))
        assert Path(ssh.place(path)).read_text() == str(number)
        assert len(started) == number + 1


def test_leftovers_of_dead_sessions_are_removed(sshd: Sshd, tmp_path: Path) -> None:
    base = tmp_path / "base"
    old, young, foreign = base / "session.old", base / "session.young", base / "mine"
    for folder in (old, young, foreign):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").touch()
        os.utime(folder, (time.time() - 50 * 3600,) * 2)
    os.utime(young)
    with SshConnector(sshd.settings(workdir=str(base))) as connector:
        assert connector.workdir.startswith(f"{base}/session.")
        assert not old.exists()
    assert sorted(path.name for path in base.iterdir()) == ["mine", "session.young"]


def test_a_working_folder_that_cannot_be_made_is_told(sshd: Sshd) -> None:
    refused = pytest.raises(DeviceError, match=r"cannot make a working folder .*connector\.workdir")
    with SshConnector(sshd.settings(workdir="/proc/none")) as connector, refused:
        _ = connector.workdir


def test_the_default_working_folder_is_the_users_own(sshd: Sshd) -> None:
    with SshConnector(sshd.settings(workdir=None)) as connector:
        base = sshd.folder / "home" / ".cache" / "edgenas" / "work"
        assert Path(connector.workdir).parent == base
    assert list(base.iterdir()) == []


def test_what_no_command_can_get_is_refused(ssh: SshConnector) -> None:
    with pytest.raises(DeviceError, match="zero byte"):
        ssh.run(["echo", "a\0b"], timeout_s=30)
    with pytest.raises(DeviceError, match="'A B' cannot be the name"):
        ssh.spawn(["true"], {"A B": "1"})
    for argv in ([], [""], ["-c", "id"]):
        with pytest.raises(DeviceError, match="no command"):
            ssh.run(argv, timeout_s=30)


def fingerprint(path: Path) -> str:
    argv = ["ssh-keygen", "-l", "-f", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[1]
