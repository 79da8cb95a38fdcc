"""One thread each, and a home of their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps tests away from the devices, tables and locks of the user who runs them."""
    home = tmp_path_factory.mktemp("edgenas-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGENAS_HOME", str(home))
        yield home
