"""A job whose engines are built on its device: by what, for what, and what then times them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgenas.core.errors import ExportError, MissingExtraError, UsageError
from edgenas.core.extras import unavailable_reason
from edgenas.core.measurement import MeasurementPlan
from edgenas.exporters.tensorrt import TensorRTExporter
from edgenas.hardware.device import load_device
from edgenas.profiling.engine_place import DevicePlace
from edgenas.study.context import Run
from edgenas.study.job import load_job
from edgenas.study.measuring import measure_model
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps import export
from edgenas.study.steps.written import own_exporter, unanswered_reason
from edgenas.testing.exporter import small_request
from edgenas.testing.tensorrt import FakeTensorRt
from tests.runtimes.boards import tensorrt_board, trtexec_board
from tests.tiny_job import write_job

MakeRun = Callable[..., Run]
TARGETS = "export: {targets: [onnx, tflite]}"


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(device: Path | str, tensorrt: str, runtime: str = "onnxruntime") -> Run:
        section = f"export: {{targets: [tensorrt], tensorrt: {tensorrt}}}"
        place = f"device: {{id: '{device}', runtime: {runtime}}}"
        path = write_job(tmp_path, (TARGETS, f"{place}\n{section}"))
        return Run(RunFolder(tmp_path / "run"), load_job(path))

    return make


def recipe_of(run: Run) -> TensorRTExporter:
    exporter = run.exporters["tensorrt"]
    assert isinstance(exporter, TensorRTExporter)
    return exporter


def test_built_ahead_nothing_here_times_it(make_run: MakeRun) -> None:
    run = make_run("local", "{compute_capability: '8.9'}")
    assert recipe_of(run).recipe.compute_capability == "8.9"
    assert run.exporters["tensorrt"].place is None
    assert run.runtimes == ("onnxruntime",)
    assert run.runtime_of("tensorrt") is None


@pytest.mark.parametrize("runtime", ["onnxruntime", "trtexec"])
def test_built_on_the_device_its_own_runtime_times_it(
    make_run: MakeRun, tmp_path: Path, runtime: str
) -> None:
    board = trtexec_board(tmp_path, 101303)
    run = make_run(board, "{build: device, build_timeout_s: 60}", runtime)
    exporter = recipe_of(run)
    assert isinstance(exporter.place, DevicePlace)
    assert (exporter.place.runtime, exporter.place.most_test_images) == ("trtexec", 64)
    recipe = exporter.recipe
    assert (recipe.build, recipe.runtime, recipe.build_timeout_s) == ("device", "trtexec", 60)
    assert recipe.compute_capability is None  # what the recipe says is for other engines
    assert run.runtimes == tuple(dict.fromkeys((runtime, "trtexec")))
    assert run.runtime_of("tensorrt") == "trtexec"


def test_the_jobs_own_runtime_comes_first(make_run: MakeRun, tmp_path: Path) -> None:
    board = trtexec_board(tmp_path)
    board.write_text(board.read_text().replace("runtimes:\n", "runtimes:\n  tensorrt: {}\n"))
    for section, own, expected in (
        ("{build: device}", "onnxruntime", "tensorrt"),
        ("{build: device}", "trtexec", "trtexec"),
        ("{build: device, runtime: trtexec}", "tensorrt", "trtexec"),
    ):
        run = make_run(board, section, own)
        assert run.runtime_of("tensorrt") == expected
        assert set(run.runtimes) == {own, expected}


RECIPE = """\
schema_version: 1
target: tensorrt
precision: float32
tolerance: 1.0e-5
build: device
runtime: trtexec
compute_capability: "8.7"
"""


def test_what_the_job_does_not_say_is_as_the_users_own_recipe_says(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    path = tmp_path / "home/export/recipes/tensorrt-float32.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(RECIPE)
    run = make_run(trtexec_board(tmp_path, 101303), "{}")
    assert isinstance(run.exporters["tensorrt"].place, DevicePlace)
    recipe = recipe_of(run).recipe
    assert (recipe.build, recipe.runtime, recipe.compute_capability) == ("device", "trtexec", "8.7")
    ahead = make_run("local", "{build: ahead, compute_capability: '8.9'}")
    assert ahead.exporters["tensorrt"].place is None


def test_a_device_builds_for_one_gpu(make_run: MakeRun, tmp_path: Path) -> None:
    several = "{build: device, compute_capability: ['8.6', '8.7']}"
    with pytest.raises(UsageError, match="for the GPU that it has: name one"):
        _ = make_run(trtexec_board(tmp_path, 101303), several).exporters
    run = make_run("local", "{compute_capability: ['8.6', '8.9']}")
    assert recipe_of(run).recipe.compute_capabilities == ("8.6", "8.9")


@pytest.mark.skipif(
    unavailable_reason("tensorrt_rtx") is not None, reason="TensorRT-RTX is not installed"
)
def test_gpus_that_tensorrt_does_not_know_are_refused_before_any_work(make_run: MakeRun) -> None:
    run = make_run("local", "{compute_capability: ['8.6', '8.7']}")
    with pytest.raises(ExportError, match=r"'8\.7'; allowed: .*build: device"):
        run.check_possible(frozenset({"export"}))


def test_a_device_without_tensorrt_is_refused_at_once(make_run: MakeRun) -> None:
    run = make_run("local", "{build: device}")
    with pytest.raises(UsageError, match=r"names no TensorRT; add runtimes"):
        run.check_names()


def test_a_device_whose_tensorrt_is_gone_is_refused_before_any_work(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    fake = FakeTensorRt.install(tmp_path)
    run = make_run(tensorrt_board(tmp_path, fake), "{build: device}")
    fake.play(fault="no_gpu")
    with pytest.raises(MissingExtraError, match="no CUDA-capable device"):
        run.check_possible(frozenset({"export"}))
    fake.play()
    run.check_possible(frozenset({"export"}))
    run.device.close()


def test_another_version_is_another_file(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    before = make_run(trtexec_board(tmp_path, 101303), "{build: device}")
    places = export._places(before)["places"]
    assert places["tensorrt"]["version"] == "10.13.3"
    after = make_run(trtexec_board(tmp_path, 110000), "{build: device}")
    assert export._places(after)["places"] != {"places": places}
    assert export._places(make_run("local", "{}")) == {}
    for run in (before, after):
        run.device.close()


def test_an_engine_file_is_measured_by_what_runs_it(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = make_run(tensorrt_board(tmp_path, FakeTensorRt.install(tmp_path)), "{build: device}")
    path = tmp_path / "mine.engine"
    recipe_of(run).export(small_request(), path)
    few = MeasurementPlan(n_visits=2, n_runs=2)
    with run.device as device:
        assert measure_model(path, device, plan=few).latency.samples_ms.shape == (2, 2)
        with pytest.raises(UsageError, match="runtimes that run it here: tensorrt"):
            measure_model(path, device, runtime="onnxruntime", plan=few)
    with (
        load_device("local") as local,
        pytest.raises(UsageError, match="runtimes that run it here: none"),
    ):
        measure_model(path, local, plan=few)


def test_8_bits_on_tensorrt_are_those_of_engines(make_run: MakeRun, tmp_path: Path) -> None:
    board = trtexec_board(tmp_path, 101303)
    run = make_run(board, "{build: device}", "trtexec, precision: int8")
    run.check_names()
    assert own_exporter(run) is run.exporters["tensorrt"]
    assert unanswered_reason(own_exporter(run)) is not None
    ahead = make_run(board, "{build: ahead}", "trtexec, precision: int8")
    with pytest.raises(UsageError, match=r"trtexec in int8 runs engines alone.*build: device"):
        ahead.check_names()
    run.device.close()
