"""Which engine stands for a runtime, older engines, and inputs of every type."""

import gc
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

from edgenas.runtimes.agent import engines
from edgenas.runtimes.agent.frames import RefusalError
from edgenas.runtimes.agent.litert_models import LiteRtModel
from edgenas.runtimes.agent.model import noise
from edgenas.runtimes.agent.onnx_models import OnnxRuntimeModel


def module(name: str, version: str) -> ModuleType:
    made = ModuleType(name)
    made.__version__ = version  # type: ignore[attr-defined]
    return made


def test_tflite_runtime_stands_in_for_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", module("tflite_runtime", "2.14.0"))
    older = module("tflite_runtime.interpreter", "2.14.0")
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", older)
    found = engines.load("litert")
    assert found.module is older
    assert (found.distribution, found.version) == ("tflite_runtime.interpreter", "2.14.0")
    assert found.model is LiteRtModel


def test_the_version_is_that_of_the_distribution_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        if name != "onnxruntime-gpu":
            raise metadata.PackageNotFoundError(name)
        return "1.23.0"

    monkeypatch.setattr(engines.metadata, "version", version)
    found = engines.load("onnxruntime")
    assert (found.distribution, found.version) == ("onnxruntime-gpu", "1.23.0")


def test_nothing_that_stands_for_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RefusalError, match=r"ai_edge_litert.*; tflite_runtime") as refused:
        engines.load("litert")
    assert refused.value.kind == "missing_engine"


class OldInterpreter:
    """As before TensorFlow 2.15: tensors are asked for by their index alone."""

    def __init__(self, **settings: Any) -> None:
        self._own = litert.Interpreter(**settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def _get_tensor_details(self, tensor_index: int) -> Any:
        return self._own._get_tensor_details(tensor_index, subgraph_index=0)


def test_an_older_interpreter_names_its_nodes(tflite_file: Path) -> None:
    older = SimpleNamespace(Interpreter=OldInterpreter, OpResolverType=litert.OpResolverType)
    named = []
    for engine in (litert, older):
        model = LiteRtModel(engine, {"delegate": "none", "threads": 1}, str(tflite_file))
        model.fill()
        model.start()
        model.finish()
        named.append([(node["kind"], node["name"]) for node in model.nodes()])
    assert named[0] == named[1]
    assert "CONV_2D" in {kind for kind, _ in named[0]}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_noise_has_no_denormals(dtype: str) -> None:
    array = noise("x", [1, 64, 64, 3], dtype)
    assert array.dtype == dtype
    assert np.abs(array).min() >= np.finfo(dtype).tiny
    assert array.std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_quantised_noise_fills_the_range_and_stays_in_it(dtype: str) -> None:
    array = noise("x", ["batch", 64, 64, 3], dtype)
    assert array.shape == (1, 64, 64, 3)
    limits = np.iinfo(dtype)
    assert array.min() == limits.min
    assert array.max() == limits.max
    assert abs(array.mean() - (limits.max + limits.min) / 2) < 2


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint16"])
def test_other_numbers_are_small(dtype: str) -> None:
    array = noise("x", [1, 1000], dtype)
    assert array.min() >= 0
    assert array.max() < 100


@pytest.mark.parametrize(("shape", "dtype"), [([1, "width"], "float32"), ([1, 0], "float32"),
                                              ([1, 3], None)])  # fmt: skip
def test_an_input_left_open_is_refused(shape: list[Any], dtype: str | None) -> None:
    with pytest.raises(RefusalError, match="no fixed shape or type"):
        noise("x", shape, dtype)


class Session:
    """In the place of a session of ONNX Runtime whose second operator a GPU does not have."""

    made: ClassVar[list[dict[str, dict[str, str]]]] = []
    """The options of each session's providers."""

    def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
        pairs = [(one, {}) if isinstance(one, str) else one for one in providers]
        self.options, self.providers = options, [name for name, _ in pairs]
        self.made.append(dict(pairs))

    def get_providers(self) -> list[str]:
        return [*self.providers, "CPUExecutionProvider"]

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x", shape=[1, 4], type="tensor(float16)")]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="y")]

    def run(self, names: list[str] | None, feeds: dict[str, Any]) -> list[Any]:
        return [feeds["x"]]

    def io_binding(self) -> Any:
        return SimpleNamespace(bind_cpu_input=lambda *_: None, bind_output=lambda *_: None)

    def run_with_iobinding(self, binding: Any) -> None: ...

    def end_profiling(self) -> str:
        node = '{{"cat": "Node", "name": "{0}_kernel_time", "args": {{"op_name": "{0}", ' \
               '"provider": "{1}", "input_type_shape": [], "output_type_shape": []}}}}'  # fmt: skip
        nodes = [node.format("Conv", "CUDAExecutionProvider"),
                 node.format("CumSum", "CPUExecutionProvider")]  # fmt: skip
        path = Path(self.options.profile_file_prefix + ".json")
        path.write_text(f"[{', '.join(nodes)}]")
        return str(path)


def gpu_engine(*available: str) -> Any:
    return SimpleNamespace(
        SessionOptions=lambda: SimpleNamespace(add_session_config_entry=lambda *_: None),
        ExecutionMode=SimpleNamespace(ORT_SEQUENTIAL=0),
        InferenceSession=Session,
        get_available_providers=lambda: list(available),
    )


def test_operators_that_a_gpu_leaves_to_the_cpu_are_named() -> None:
    engine = gpu_engine("CUDAExecutionProvider", "CPUExecutionProvider")
    settings = {"threads": 1, "providers": ["CUDAExecutionProvider"]}
    model = OnnxRuntimeModel(engine, settings, "x.onnx")
    model.fill()
    model.start()
    model.finish()
    assert model.outside == ["CumSum"]
    assert model.delegated
    assert model.inputs[0]["dtype"] == "float16"


@pytest.mark.parametrize(
    ("precision", "allowed"),
    [("float32", {}), ("float16", {"trt_fp16_enable": "1"}), ("int8", {"trt_int8_enable": "1"})],
)
def test_tensorrt_builds_once_and_computes_as_the_precision_says(
    monkeypatch: pytest.MonkeyPatch, precision: str, allowed: dict[str, str]
) -> None:
    monkeypatch.setattr(Session, "made", [])
    providers = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    settings = {"threads": 1, "providers": providers, "precision": precision}
    model = OnnxRuntimeModel(gpu_engine(*providers, "CPUExecutionProvider"), settings, "x.onnx")
    assert model.build_ms > 0
    folder = Path(Session.made[0]["TensorrtExecutionProvider"]["trt_engine_cache_path"])
    assert folder.is_dir()
    model.fill()
    model.start()
    model.finish()  # which names the operators, by a session of its own
    assert len(Session.made) == 3
    cached = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
    for options in Session.made:  # all look where the first one put its engines
        assert options == {
            "TensorrtExecutionProvider": {**cached, **allowed},
            "CUDAExecutionProvider": {},
        }
    assert not folder.exists()
    assert [node["kind"] for node in model.nodes()] == ["Conv", "CumSum"]
    assert len(Session.made) == 3


def test_engines_of_a_model_that_fails_are_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = {"threads": 1, "providers": ["TensorrtExecutionProvider"], "precision": "float32"}
    with pytest.raises(RefusalError):
        OnnxRuntimeModel(gpu_engine("CPUExecutionProvider"), settings, "x.onnx")
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_provider_that_is_not_there_is_refused() -> None:
    settings = {"threads": 1, "providers": ["TensorrtExecutionProvider"], "precision": "float32"}
    with pytest.raises(RefusalError, match=r"no provider \['Tensorrt.*there are \['CPU"):
        OnnxRuntimeModel(gpu_engine("CPUExecutionProvider"), settings, "x.onnx")
