"""benchmark_model on the emulated phone: timed for real, refused where it does something else."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError, SchemaError
from edgenas.core.schema import dump_yaml
from edgenas.hardware.device import Device, load_device
from edgenas.lowering import tflite
from edgenas.lowering.weights import random_weights
from edgenas.runtimes import RUNTIMES, open_bench
from edgenas.runtimes.base import runtimes_on
from edgenas.testing.adb import EmulatedPhone
from edgenas.testing.adb.phone import missing_here
from edgenas.testing.adb.shell import Fault
from edgenas.testing.adb.tool_output import VERSIONS
from edgenas.testing.space_contract import width_space

Describe = Callable[..., Device]


@pytest.fixture(scope="module")
def phone() -> Iterator[EmulatedPhone]:
    missing_here(pytest.skip)
    with EmulatedPhone() as phone:
        yield phone


@pytest.fixture
def describe(phone: EmulatedPhone, tmp_path: Path) -> Iterator[Describe]:
    """A function that describes the phone with given settings of benchmark_model."""
    devices: list[Device] = []

    def write(**settings: Any) -> Device:
        settings = {"binary": str(phone.benchmark_model()), **settings}
        document = {
            "schema_version": 1,
            "id": "phone",
            "description": "emulated",
            "connector": phone.connector,
            "runtimes": {"benchmark_model": {k: v for k, v in settings.items() if v is not None}},
        }
        path = tmp_path / "phone.yaml"
        path.write_text(dump_yaml(document))
        devices.append(load_device(path))
        return devices[-1]

    yield write
    phone.heal()
    for device in devices:
        device.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small and a large network."""
    space = width_space(32)
    paths = {}
    for name, row in (("small", space.smallest()), ("large", space.largest())):
        graph = space.network(row)
        paths[name] = tmp_path_factory.mktemp("models") / f"{name}.tflite"
        paths[name].write_bytes(tflite.lower(graph, random_weights(graph)))
    return paths


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_times_models(
    version: str, phone: EmulatedPhone, describe: Describe, models: dict[str, Path]
) -> None:
    device = describe(binary=str(phone.benchmark_model(version)), version=version)
    with open_bench(device, "benchmark_model") as bench:
        assert bench.info.engine == "benchmark_model"
        assert bench.info.engine_version.startswith(f"{version}+")
        assert len(bench.info.affinity) == bench.info.threads == 1
        info = bench.load("a", models["small"])
        bench.load("b", models["large"])
        assert (info.delegated, info.outside) == (True, ())
        assert (info.inputs[0].shape, info.inputs[0].dtype) == ((1, 32, 32, 3), "float32")
        assert info.outputs[0].shape == (1, 5)
        assert info.load_ms > 0
        assert info.peak_memory_kib is not None
        assert info.peak_memory_kib > 0
        visits = bench.visit(["a", "b", "a"], n_runs=3, n_warmup=2, timeout_s=60)
        assert [visit.key for visit in visits] == ["a", "b", "a"]
        assert all(len(visit.samples_ms) == 3 for visit in visits)
        assert all(min(visit.samples_ms) > 0 for visit in visits)
        starts = [visit.at_s for visit in visits]
        assert starts == sorted(starts)
        kinds = [(node.kind, node.inside) for node in bench.nodes("a")]
        assert kinds[0] == ("CONV_2D", True)
        assert all(inside for _, inside in kinds)


def test_more_runs_than_the_statistics_tell_are_made_by_several_processes(
    phone: EmulatedPhone, describe: Describe, models: dict[str, Path]
) -> None:
    with open_bench(describe(), "benchmark_model") as bench:
        bench.load("a", models["small"])
        (visit,) = bench.visit(["a"], n_runs=7, n_warmup=0, timeout_s=60)
        assert len(visit.samples_ms) == 7
        asked = [command for command in phone.commands() if "--num_runs" in command][-3:]
        assert [command.partition("--num_runs=")[2][0] for command in asked] == ["3", "3", "1"]
        assert all("--warmup_runs=0 " in command for command in asked)


def test_a_deadline_ends_between_visits(describe: Describe, models: dict[str, Path]) -> None:
    with open_bench(describe(), "benchmark_model") as bench:
        bench.load("a", models["small"])
        assert bench.visit(["a"] * 3, n_runs=1, n_warmup=0, timeout_s=60, deadline_s=0.0) == []


def test_models_are_removed_from_the_phone(
    phone: EmulatedPhone, describe: Describe, models: dict[str, Path]
) -> None:
    def there() -> list[str]:
        return [path.name for path in phone.path("/data/local/tmp").glob("*/*.tflite")]

    with open_bench(describe(), "benchmark_model") as bench:
        bench.load("a", models["small"])
        bench.load("again", models["small"])
        bench.load("b", models["large"])
        assert len(there()) == 2
        bench.unload("a")
        assert len(there()) == 2  # the same file is loaded as "again" too
        bench.unload("again")
        assert len(there()) == 1
        with pytest.raises(AgentError, match="no model is loaded under the key 'a'"):
            bench.visit(["a"], n_runs=1, n_warmup=0, timeout_s=60)
    assert there() == []
    assert not bench.alive
    with pytest.raises(AgentError, match="open a new bench"):
        bench.visit(["b"], n_runs=1, n_warmup=0, timeout_s=60)


def test_the_cpus_are_those_of_the_description(
    phone: EmulatedPhone, describe: Describe, models: dict[str, Path]
) -> None:
    with open_bench(describe(affinity=[0]), "benchmark_model") as bench:
        assert bench.info.affinity == (0,)
        bench.load("a", models["small"])
    assert "\ntaskset 1 " in [one for one in phone.commands() if "--graph" in one][-1]
    with (
        pytest.raises(AgentError, match=r"does not let a process run on its CPUs \[63\]"),
        open_bench(describe(affinity=[63]), "benchmark_model"),
    ):
        pass
    with (
        pytest.raises(AgentError, match=r"2 thread\(s\) on the CPUs \[0\]"),
        open_bench(describe(affinity=[0], threads=2), "benchmark_model"),
    ):
        pass


@pytest.mark.parametrize(
    ("delegate", "precision", "expected"),
    [
        ("gpu", "float32", ["--gpu_precision_loss_allowed=false"]),
        ("gpu", "int8", ["--gpu_precision_loss_allowed=false"]),
        ("gpu", "float16", ["--gpu_precision_loss_allowed=true"]),
        ("nnapi", "float32", []),
        ("nnapi", "float16", ["--nnapi_allow_fp16=true"]),
        ("xnnpack", "float16", []),
    ],
)
def test_a_delegate_computes_in_no_less_than_the_precision(
    phone: EmulatedPhone,
    describe: Describe,
    models: dict[str, Path],
    delegate: str,
    precision: str,
    expected: list[str],
) -> None:
    device = describe(delegate=delegate)
    with open_bench(device, "benchmark_model", precision=precision) as bench, suppress(AgentError):
        bench.load("a", models["small"])  # the phone has neither a GPU nor NNAPI
    asked = [one for one in phone.commands() if "--num_runs" in one][-1].split()
    found = [one for one in asked if "precision" in one or "fp16" in one]
    assert found == expected


def test_a_model_is_profiled_only_where_the_delegate_leaves_something_out(
    phone: EmulatedPhone, describe: Describe, models: dict[str, Path], partly_delegated: Path
) -> None:
    with open_bench(describe(), "benchmark_model") as bench:
        n_before = len([one for one in phone.commands() if "--num_runs" in one])
        bench.load("whole", models["small"])
        bench.load("part", partly_delegated)
        asked = [one for one in phone.commands() if "--num_runs" in one][n_before:]
    assert ["--enable_op_profiling=true" in one for one in asked] == [False, False, True]


def test_the_period_of_runs_holds_what_is_between_them(
    describe: Describe, models: dict[str, Path]
) -> None:
    with open_bench(describe(), "benchmark_model") as bench:
        bench.load("a", models["small"])
        run = bench.run_for("a", duration_s=0.5, timeout_s=60)
    assert run.n_runs > 1
    assert run.n_runs * run.period_ms >= 499.999


def test_operators_outside_the_delegate_are_named(
    describe: Describe, partly_delegated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), open_bench(describe(), "benchmark_model") as bench:
        info = bench.load("a", partly_delegated)
        inside = [(node.kind, node.inside) for node in bench.nodes("a")]
    assert (info.delegated, info.outside) == (True, ("CUMSUM",))
    assert inside == [("ROUND", True), ("CUMSUM", False)]
    assert "runs outside the delegate: CUMSUM" in caplog.text


def test_without_a_profile_operators_are_missed_and_not_named(
    describe: Describe, partly_delegated: Path
) -> None:
    with open_bench(describe(op_profiling=False), "benchmark_model") as bench:
        assert bench.load("a", partly_delegated).outside == (
            "operators that it names only with op_profiling",
        )
        with pytest.raises(AgentError, match=r"set runtimes\.benchmark_model\.op_profiling"):
            bench.nodes("a")


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_other_precisions_run_inside_the_delegate(
    precision: str, describe: Describe, tmp_path: Path
) -> None:
    graph = width_space(32).network(width_space(32).smallest())
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite.lower(graph, random_weights(graph), precision=precision))
    with open_bench(describe(), "benchmark_model") as bench:
        assert bench.load("a", path).outside == ()
        (visit,) = bench.visit(["a"], n_runs=3, n_warmup=1, timeout_s=60)
    assert min(visit.samples_ms) > 0
    assert precision in RUNTIMES.get("benchmark_model").precisions


def test_without_a_delegate_nothing_is_delegated(
    describe: Describe, models: dict[str, Path]
) -> None:
    with open_bench(describe(delegate="none"), "benchmark_model") as bench:
        assert not bench.load("a", models["small"]).delegated
        assert not any(node.inside for node in bench.nodes("a"))


@pytest.mark.parametrize(("delegate", "name"), [("gpu", "GPU"), ("nnapi", "NNAPI")])
def test_a_delegate_that_the_phone_does_not_have_is_an_error(
    delegate: str, name: str, describe: Describe, models: dict[str, Path]
) -> None:
    with (
        open_bench(describe(delegate=delegate), "benchmark_model") as bench,
        pytest.raises(AgentError, match=f"asked for the delegate {name}, it applied none"),
    ):
        bench.load("a", models["small"])


def test_what_cannot_be_done_is_refused(describe: Describe, models: dict[str, Path]) -> None:
    with open_bench(describe(), "benchmark_model") as bench:
        bench.load("a", models["small"])
        with pytest.raises(AgentError, match="computes on inputs of its own"):
            bench.infer("a", {})
        with pytest.raises(AgentError, match="holds no memory between visits"):
            bench.memory_kib()
        with pytest.raises(AgentError, match="loaded already"):
            bench.load("a", models["small"])
        with pytest.raises(AgentError, match="n_runs >= 1"):
            bench.visit(["a"], n_runs=0, n_warmup=0, timeout_s=60)
        assert len(bench.visit(["a"], n_runs=1, n_warmup=0, timeout_s=60)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no TFLite file"), (b"\x1c\0\0\0TFL3" + bytes(50), "no whole TFLite file")],
)
def test_a_file_that_is_no_model_is_refused(
    content: bytes, message: str, describe: Describe, tmp_path: Path
) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with open_bench(describe(), "benchmark_model") as bench:
        with pytest.raises(AgentError, match=message):
            bench.load("a", path)
        with pytest.raises(AgentError, match="no such model file"):
            bench.load("a", tmp_path / "absent.tflite")


# -- faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("garble", "benchmark_model on the device 'phone': benchmark_model printed"),
        ("truncate", "benchmark_model printed its timings 0 times"),
        ("kill", r"failed \(signal 9\)"),
        ("cut", "was cut while 'taskset' ran there"),
    ],
)
def test_a_faulty_visit_is_an_error_and_the_next_one_is_right(
    kind: Any, message: str, phone: EmulatedPhone, describe: Describe, models: dict[str, Path]
) -> None:
    with open_bench(describe(), "benchmark_model") as bench:
        bench.load("a", models["small"])
        phone.fail(Fault(kind, "--num_runs", skip=1))
        with pytest.raises(DeviceError, match=message):
            bench.visit(["a", "a", "a"], n_runs=3, n_warmup=1, timeout_s=60)
        assert bench.alive
        assert len(bench.visit(["a", "a"], n_runs=3, n_warmup=1, timeout_s=60)) == 2


def test_a_tool_that_hangs_times_out_and_ends_the_bench(
    phone: EmulatedPhone, describe: Describe, models: dict[str, Path]
) -> None:
    with open_bench(describe(), "benchmark_model") as bench:
        bench.load("a", models["small"])
        phone.fail(Fault("hang", "--num_runs"))
        with pytest.raises(DeviceTimeoutError, match="taskset did not end within"):
            bench.visit(["a"], n_runs=3, n_warmup=1, timeout_s=1)
        assert not bench.alive


# -- the program ----------------------------------------------------------------------------


def test_a_program_on_the_phone_is_used_where_it_is(
    phone: EmulatedPhone, describe: Describe, models: dict[str, Path]
) -> None:
    path = phone.path("/data/local/tmp/own_benchmark")
    path.write_bytes(phone.benchmark_model().read_bytes())
    device = describe(binary=None, device_binary="/data/local/tmp/own_benchmark")
    with (
        pytest.raises(DeviceError, match="own_benchmark cannot be run on the device 'phone'"),
        open_bench(device, "benchmark_model"),
    ):
        pass
    path.chmod(0o755)
    with open_bench(device, "benchmark_model") as bench:
        assert bench.info.engine_version.startswith("unnamed+")
        assert bench.load("a", models["small"]).delegated


def test_a_program_that_is_not_there_is_named(describe: Describe) -> None:
    with (
        pytest.raises(
            DeviceError, match=r"/no/such/program: no such file.*benchmark_model\.binary"
        ),
        open_bench(describe(binary="/no/such/program"), "benchmark_model"),
    ):
        pass


def test_an_option_that_the_program_does_not_know_is_an_error(
    phone: EmulatedPhone, describe: Describe, models: dict[str, Path], tmp_path: Path
) -> None:
    program = tmp_path / "old"
    text = phone.benchmark_model().read_text()
    program.write_text(text.replace("sys.argv[1:],", '[*sys.argv[1:], "--use_tpu=true"],'))
    with (
        open_bench(describe(binary=str(program)), "benchmark_model") as bench,
        pytest.raises(AgentError, match="does not know --use_tpu=true"),
    ):
        bench.load("a", models["small"])


def test_only_a_device_whose_file_names_a_program_has_this_runtime(describe: Describe) -> None:
    local = load_device("local")
    assert "benchmark_model" not in runtimes_on(local.description)
    assert "benchmark_model" in runtimes_on(describe().description)
    assert {"litert", "onnxruntime"} <= set(runtimes_on(local.description))
    with (
        pytest.raises(DeviceError, match=r"no runtime benchmark_model: its device file names no"),
        open_bench(local, "benchmark_model"),
    ):
        pass
    with pytest.raises(SchemaError, match="binary and device_binary exclude each other"):
        describe(device_binary="/data/local/tmp/x")


def test_the_runtime_says_what_it_is() -> None:
    runtime = RUNTIMES.get("benchmark_model")()
    assert (runtime.format, runtime.version()) == ("tflite", None)
    assert runtime.requirement == "edgenas[litert]"
    assert runtime.unavailable_reason() is None
