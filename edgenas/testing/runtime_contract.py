"""The contract of runtimes: inherit `RuntimeContract` and give it the fixture `runtime`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.core.artifact import FORMATS
from edgenas.core.errors import RefusedError
from edgenas.exporters.base import ExportRequest
from edgenas.hardware.device import Device, load_device
from edgenas.profiling.workload import LOWERINGS
from edgenas.runtimes.agent_file import agent_contents
from edgenas.runtimes.base import RUNTIMES, Bench, LoadInfo
from edgenas.runtimes.bench import open_bench
from edgenas.testing.exporter import small_request

OLDEST_PYTHON = (3, 8)
"""On devices: that of JetPack 5."""

TOLERANCES = {"float32": 1e-5, "float16": 1e-2, "int8": 0.5, "weight_int8": 0.1}
"""Greatest difference of an answer over the greatest one; uncalibrated codes are coarse."""


class RuntimeContract:
    """What profiling and measuring rely on, whatever the engine.

    Tests run on this machine's device ``local``, in its usual settings.
    """

    @pytest.fixture
    def runtime(self) -> str:
        """The name of the runtime under test."""
        raise NotImplementedError

    @pytest.fixture
    def network(self) -> ExportRequest:
        """A small network with odd sizes."""
        return small_request(seed=2)

    @pytest.fixture
    def device(self) -> Iterator[Device]:
        """This machine."""
        with load_device("local") as device:
            yield device

    @pytest.fixture
    def bench(self, device: Device, runtime: str) -> Iterator[Bench]:
        """A bench with nothing on it."""
        with open_bench(device, runtime) as bench:
            yield bench

    @pytest.fixture
    def model(self, runtime: str, network: ExportRequest, tmp_path: Path) -> Path:
        """The network as a file, in float32."""
        return write_model(runtime, network, tmp_path, precision="float32")

    def test_it_is_there_and_tells_its_version(self, runtime: str) -> None:
        """Skipping silently would hide a broken installation."""
        found = RUNTIMES.get(runtime)()
        assert found.name == runtime
        assert found.unavailable_reason() is None
        assert found.version() is not None
        assert found.requirement
        assert set(found.precisions) <= set(TOLERANCES)

    def test_its_format_has_a_suffix_and_can_be_written(self, runtime: str) -> None:
        """Else nothing can be profiled."""
        model_format = RUNTIMES.get(runtime).format
        assert FORMATS.get(model_format).startswith(".")
        assert callable(LOWERINGS.get(model_format))

    def test_its_part_of_the_measuring_process_can_travel(self, runtime: str) -> None:
        """It runs on devices with an old Python, without edgenas and the rest of its package."""
        module = getattr(RUNTIMES.get(runtime), "device_module", None)
        if module is None:
            return
        source = agent_contents(module)[f"{module.replace('.', '/')}.py"]
        imported: set[str] = set()
        for node in ast.walk(ast.parse(source, feature_version=OLDEST_PYTHON)):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or ".")
        own = module.partition(".")[0]
        assert not {name for name in imported if name.partition(".")[0] == own}
        ours = {name for name in imported if name.partition(".")[0] == "edgenas"}
        assert all(name.startswith("edgenas.runtimes.agent.") for name in ours)

    def test_a_loaded_model_computes_the_network(
        self, device: Device, runtime: str, network: ExportRequest, tmp_path: Path
    ) -> None:
        """What is timed is what was meant, in every precision."""
        images, logits = network.reference_inputs[:1], network.reference_logits[:1]
        for precision in RUNTIMES.get(runtime).precisions:
            model = write_model(runtime, network, tmp_path, precision=precision)
            with open_bench(device, runtime, precision=precision) as bench:
                info = bench.load("a", model)
                assert info.delegated
                if info.inputs[0].dtype != "float32":
                    continue  # codes: what they stand for is told by the file alone
                found = _answer(bench, info, images)
            difference = np.abs(found - logits).max() / np.abs(logits).max()
            assert difference <= TOLERANCES[precision], precision

    def test_visits_come_back_as_they_were_asked(self, bench: Bench, model: Path) -> None:
        """Their order, and every sample of them."""
        first = bench.load("a", model)
        bench.load("b", model)
        assert first.load_ms > 0
        assert first.rss_kib > 0
        visits = bench.visit(["a", "b", "a"], n_runs=3, n_warmup=1, timeout_s=60)
        assert [visit.key for visit in visits] == ["a", "b", "a"]
        assert all(len(visit.samples_ms) == 3 and min(visit.samples_ms) > 0 for visit in visits)
        assert not bench.visit(["a"], n_runs=1, n_warmup=0, timeout_s=60, deadline_s=0.0)
        assert bench.run_for("a", duration_s=0.1, timeout_s=60).n_runs > 0

    def test_it_keeps_to_its_threads(self, bench: Bench, runtime: str) -> None:
        """The table says on how many threads it was measured."""
        settings = RUNTIMES.get(runtime)().settings(bench.device.description)
        assert bench.info.engine == runtime
        assert bench.info.threads == settings.threads

    def test_answers_leave_the_timing_inputs_alone(
        self, bench: Bench, model: Path, network: ExportRequest
    ) -> None:
        """Asking a model something does not change what is timed, or the next answer."""
        info = bench.load("a", model)
        images = network.reference_inputs
        before = _answer(bench, info, images[:1])
        bench.visit(["a"], n_runs=1, n_warmup=0, timeout_s=60)
        other = _answer(bench, info, images[1:2])
        np.testing.assert_array_equal(_answer(bench, info, images[:1]), before)
        assert not np.array_equal(before, other)

    def test_operators_have_kinds_and_names(self, bench: Bench, model: Path) -> None:
        """For whoever looks into what was timed."""
        bench.load("a", model)
        nodes = bench.nodes("a")
        assert nodes
        assert all(node.kind and node.name for node in nodes)

    def test_what_it_refuses_does_not_end_it(
        self, bench: Bench, model: Path, tmp_path: Path
    ) -> None:
        """A damaged file, an input of another shape, a model that is not there."""
        damaged = tmp_path / f"damaged{model.suffix}"
        damaged.write_bytes(b"no model at all")
        with pytest.raises(RefusedError):
            bench.load("damaged", damaged)
        info = bench.load("a", model)
        with pytest.raises(RefusedError):
            bench.infer("a", {info.inputs[0].name: np.zeros((1, 3), np.float32)})
        bench.unload("a")
        with pytest.raises(RefusedError):
            bench.visit(["a"], n_runs=1, n_warmup=0, timeout_s=60)
        bench.load("a", model)
        assert bench.alive


def write_model(runtime: str, network: ExportRequest, folder: Path, *, precision: str) -> Path:
    """Return a file of a runtime's format with the network in it."""
    model_format = RUNTIMES.get(runtime).format
    path = folder / f"{precision}{FORMATS.get(model_format)}"
    lower = LOWERINGS.get(model_format)
    path.write_bytes(lower(network.graph, network.weights, precision=precision))
    return path


def _answer(
    bench: Bench, info: LoadInfo, images: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the logits of a loaded model for images that are channels first."""
    (tensor,) = info.inputs
    if tensor.shape != images.shape:
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    (found,) = bench.infer("a", {tensor.name: images}).values()
    return np.asarray(found, np.float32)
