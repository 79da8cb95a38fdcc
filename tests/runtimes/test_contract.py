"""The engines that the measuring process imports keep the runtimes' contract."""

import pytest

from edgenas.testing.runtime_contract import RuntimeContract


class TestContract(RuntimeContract):
    @pytest.fixture(params=["onnxruntime", "litert"])
    def runtime(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)
