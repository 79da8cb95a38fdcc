"""What all tests share: one thread each, a home of their own, a server, recorded data."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from edgenas.testing.postgresql import PostgreSql
    from edgenas.testing.sshd import Sshd
    from edgenas.testing.tcp_proxy import TcpProxy

# Before anything loads a numerical library: tests run side by side, one thread each.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# `nohup` and background jobs leave these ignored, and every child process would inherit that: tests
# that hang up, interrupt or stop a process would wait for it for ever.
for _number, _usual in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

# The same examples in every run; slow machines are no failures.
settings.register_profile("edgenas", derandomize=True, deadline=None)
settings.load_profile("edgenas")


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps tests away from the devices, tables and locks of the user who runs them."""
    home = tmp_path_factory.mktemp("edgenas-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGENAS_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """The folder of recorded tables and oracles that are too large for the repository."""
    folder = os.environ.get("EDGENAS_BENCH_DATA")
    if not folder:
        pytest.skip("EDGENAS_BENCH_DATA is not set: it names the folder of recorded data")
    path = Path(folder)
    # A wrong setting is a mistake, not an absence: it must not silently skip the tests.
    assert path.is_dir(), f"EDGENAS_BENCH_DATA={folder} is no folder"
    return path


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real ssh server that lets this user in."""
    from edgenas.testing.missing import skip_outside_ci
    from edgenas.testing.sshd import missing_program, running_sshd

    skip_outside_ci(missing_program(), pytest.skip)
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def proxy(sshd: Sshd) -> Iterator[TcpProxy]:
    """A network to that server which can break."""
    from edgenas.testing.tcp_proxy import TcpProxy

    with TcpProxy(sshd.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """A real PostgreSQL server with a database for everybody who makes one."""
    from edgenas.testing.missing import skip_outside_ci
    from edgenas.testing.postgresql import missing_program, running_postgresql

    skip_outside_ci(missing_program(), pytest.skip)
    with running_postgresql() as server:
        yield server
