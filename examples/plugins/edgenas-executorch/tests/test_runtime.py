"""ExecuTorch keeps the runtimes' contract."""

import pytest

from edgenas.testing.runtime_contract import RuntimeContract


class TestContract(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> str:
        return "executorch"
