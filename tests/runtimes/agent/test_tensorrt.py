"""Models in TensorRT, against stand-ins for its Python package and for the CUDA runtime.

TensorRT-RTX itself builds engines without a GPU, and does so here where it is installed.
"""

import ctypes
import gc
import json
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgenas.core.extras import require, unavailable_reason
from edgenas.profiling.workload import model_bytes
from edgenas.runtimes.agent import cuda
from edgenas.runtimes.agent.frames import RefusalError
from edgenas.runtimes.agent.tensorrt_build import built
from edgenas.runtimes.agent.tensorrt_models import TensorRtModel
from edgenas.runtimes.tensorrt import TensorRt
from edgenas.testing.space_contract import width_space

SETTINGS = {"threads": 1, "affinity": None, "tf32": False, "precision": "float32"}


class CudaRuntime:
    """In the place of libcudart: the GPU's memory is the host's."""

    def __init__(self, fail: str = "") -> None:
        self.fail = fail
        self.held: dict[int, Any] = {}
        self.calls: list[str] = []
        self.cudaGetErrorString = lambda status: b"out of memory"  # takes a result type

    def status(self, name: str) -> int:
        self.calls.append(name)
        return 2 if name == self.fail else 0

    def cudaStreamCreate(self, stream: Any) -> int:
        stream._obj.value = 5
        return self.status("stream")

    def cudaMalloc(self, address: Any, size: Any) -> int:
        memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(memory)
        self.held[address._obj.value] = memory
        return self.status("malloc")

    def cudaMemcpyAsync(self, target: Any, source: Any, size: Any, way: int, stream: Any) -> int:
        ctypes.memmove(target, source, size)
        return self.status({1: "upload", 2: "download"}[way])

    def cudaStreamSynchronize(self, stream: Any) -> int:
        return self.status("wait")

    def cudaFree(self, address: Any) -> int:
        del self.held[address.value]
        return self.status("free")

    def cudaStreamDestroy(self, stream: Any) -> int:
        return self.status("destroy")


class Context:
    """Doubles its input, in the memory that it was told of."""

    def __init__(self, works: bool) -> None:
        self.works, self.addresses = works, dict[str, int]()

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 5
        values = [(ctypes.c_float * 8).from_address(self.addresses[name]) for name in ("x", "y")]
        for i in range(8):
            values[1][i] = 2 * values[0][i]
        return self.works


DataType = Enum("DataType", ["FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8", "INT64"])


def tensorrt(
    *, version: int = 10, works: bool = True, opens: bool = True, dtype: str = "FLOAT"
) -> Any:
    """Return a stand-in for `tensorrt`, with all that the measuring process asks of it."""
    made = SimpleNamespace(flags=[], cleared=[], built=b"")
    engine = SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=lambda index: "xy"[index],
        get_tensor_mode=lambda name: {"x": "in", "y": "out"}[name],
        get_tensor_shape=lambda name: (1, 8),
        get_tensor_dtype=lambda name: DataType[dtype],
        create_execution_context=lambda: Context(works),
        create_engine_inspector=lambda: SimpleNamespace(
            get_engine_information=lambda form: json.dumps(
                {
                    "Layers": [
                        {
                            "Name": "Conv_0",
                            "LayerType": "CaskConvolution",
                            "Inputs": [{"Dimensions": [1, 8]}],
                            "Outputs": [{"Dimensions": [1, 8]}],
                        },
                        "Reformat_1",
                    ]
                }
            )
        ),
    )

    def parser(network: Any, logger: Any) -> Any:
        def parse(content: bytes) -> bool:
            made.built = content
            return content != b"broken"

        error = SimpleNamespace(desc=lambda: "no operator Foo")
        return SimpleNamespace(parse=parse, num_errors=1, get_error=lambda index: error)

    def build(network: Any, config: Any) -> Any:
        return None if made.built == b"impossible" else b"engine of " + made.built

    creation = SimpleNamespace()
    if version < 11:
        creation.EXPLICIT_BATCH = 0
    if version >= 10:
        creation.STRONGLY_TYPED = 1
    config = SimpleNamespace(set_flag=made.flags.append, clear_flag=made.cleared.append)
    builder = SimpleNamespace(
        create_network=lambda flags: flags,
        create_builder_config=lambda: config,
        build_serialized_network=build,
    )
    return SimpleNamespace(
        made=made,
        Logger=type("Logger", (), {"WARNING": 2, "__init__": lambda self, level: None}),
        ILogger=type("ILogger", (), {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2}),
        Runtime=lambda logger: SimpleNamespace(
            deserialize_cuda_engine=lambda content: engine if opens else None
        ),
        Builder=lambda logger: builder,
        OnnxParser=parser,
        NetworkDefinitionCreationFlag=creation,
        BuilderFlag=SimpleNamespace(TF32="tf32", FP16="fp16", INT8="int8"),
        ProfilingVerbosity=SimpleNamespace(DETAILED=2),
        TensorIOMode=SimpleNamespace(INPUT="in"),
        LayerInformationFormat=SimpleNamespace(JSON=1),
        nptype=nptype,
    )


def nptype(dtype: Any) -> Any:
    """As in TensorRT 8.5 with numpy 1.24 and later."""
    raise AttributeError("module 'numpy' has no attribute 'bool'.")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> CudaRuntime:
    library = CudaRuntime()
    monkeypatch.setattr(cuda, "open_library", lambda: library)
    return library


def opened(trt: Any, path: Path, **settings: Any) -> TensorRtModel:
    model = TensorRtModel(trt, {**SETTINGS, **settings}, str(path))
    model.fill()
    model.start()
    model.finish()
    return model


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"network")
    return path


def test_an_onnx_file_is_built_and_run(library: CudaRuntime, onnx_path: Path) -> None:
    trt = tensorrt()
    model = opened(trt, onnx_path)
    assert model.build_ms > 0
    assert trt.made.cleared == ["tf32"]
    assert trt.made.flags == []  # the types are the file's
    assert model.inputs == [{"name": "x", "shape": [1, 8], "dtype": "float32"}]
    assert model.outputs == [{"name": "y", "shape": [1, 8], "dtype": "float32"}]
    feeds = {"x": np.arange(8, dtype=np.float32)[None]}
    np.testing.assert_array_equal(model.infer(feeds)["y"], 2 * feeds["x"])
    library.calls.clear()
    model.run()
    assert library.calls == ["upload", "download", "wait"]
    # The input for timing is back.
    assert not np.array_equal(model._results["y"], 2 * feeds["x"])
    del model
    gc.collect()  # as the measuring process does when it unloads
    assert not library.held
    assert library.calls[-1] == "destroy"


@pytest.mark.parametrize(
    ("version", "precision", "flags"),
    [
        (8, "float32", []),
        (8, "float16", ["fp16"]),
        (8, "int8", ["int8"]),
        (10, "float16", []),
        (11, "float16", []),
        (10, "int8", []),
    ],
)
def test_before_version_10_a_precision_is_allowed_what_it_needs(
    library: CudaRuntime, onnx_path: Path, version: int, precision: str, flags: list[str]
) -> None:
    trt = tensorrt(version=version)
    opened(trt, onnx_path, precision=precision)
    assert trt.made.flags == flags


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("HALF", "float16"), ("INT8", "int8"), ("INT32", "int32"), ("INT64", "int64"),
     ("UINT8", "uint8"), ("BOOL", "bool")],
)  # fmt: skip
def test_tensors_have_the_types_of_the_engine(
    library: CudaRuntime, onnx_path: Path, dtype: str, expected: str
) -> None:
    model = TensorRtModel(tensorrt(dtype=dtype), SETTINGS, str(onnx_path))
    model.fill()
    assert {array.dtype.name for array in model._feeds.values()} == {expected}


def test_a_type_that_numpy_has_not_is_refused(library: CudaRuntime, onnx_path: Path) -> None:
    model = TensorRtModel(tensorrt(dtype="FP8"), SETTINGS, str(onnx_path))
    with pytest.raises(RefusalError, match="'x' has no fixed shape or type"):
        model.fill()


@pytest.mark.skipif(
    unavailable_reason("tensorrt_rtx") is not None, reason="TensorRT-RTX is not installed"
)
@pytest.mark.parametrize("precision", TensorRt.precisions)
def test_tensorrt_itself_builds_the_precisions_that_the_runtime_has(precision: str) -> None:
    space = width_space()
    graph = space.network(space.smallest())
    content = model_bytes(graph, "onnx", precision, symmetric=TensorRt.symmetric)
    assert built(require("tensorrt_rtx"), {**SETTINGS, "precision": precision}, content)


@pytest.mark.skipif(
    unavailable_reason("tensorrt_rtx") is not None, reason="TensorRT-RTX is not installed"
)
def test_tensorrt_itself_refuses_the_8_bits_of_others() -> None:
    space = width_space()
    content = model_bytes(space.network(space.smallest()), "onnx", "int8")
    with pytest.raises(RefusalError, match="Non-zero zero point is not supported"):
        built(require("tensorrt_rtx"), {**SETTINGS, "precision": "int8"}, content)


def test_an_engine_is_opened_as_it_is(library: CudaRuntime, tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"engine")
    model = opened(tensorrt(), path)
    assert model.build_ms == 0
    nodes = [(node["kind"], node["name"], node["out_shapes"]) for node in model.nodes()]
    assert nodes == [("CaskConvolution", "Conv_0", [[1, 8]]), ("layer", "Reformat_1", [])]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"broken", {}, r"cannot parse the ONNX file:\n  no operator Foo"),
        (b"impossible", {}, "cannot build the engine"),
        (b"network", {"opens": False}, "another version of TensorRT or of another kind of GPU"),
    ],
)
def test_what_tensorrt_refuses_is_refused(
    library: CudaRuntime, onnx_path: Path, content: bytes, options: Any, message: str
) -> None:
    onnx_path.write_bytes(content)
    with pytest.raises(RefusalError, match=message):
        opened(tensorrt(**options), onnx_path)


def test_a_run_that_is_not_taken_is_an_error(library: CudaRuntime, onnx_path: Path) -> None:
    with pytest.raises(RuntimeError, match="did not take the run"):
        opened(tensorrt(works=False), onnx_path)


@pytest.mark.parametrize("call", ["stream", "malloc", "upload", "download", "wait"])
def test_every_failure_of_cuda_is_an_error(
    library: CudaRuntime, onnx_path: Path, call: str
) -> None:
    library.fail = call
    with pytest.raises(RuntimeError, match="CUDA error 2: out of memory"):
        opened(tensorrt(), onnx_path)


def test_no_cuda_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_LIBRARIES", ("libno-such-cudart.so",))
    with pytest.raises(RefusalError, match="is it on LD_LIBRARY_PATH") as refused:
        cuda.open_library()
    assert refused.value.kind == "missing_engine"
