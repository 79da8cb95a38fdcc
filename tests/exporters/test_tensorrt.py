"""TensorRT engines are built here and say why they are not run."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgenas.core.artifact import Artifact
from edgenas.core.errors import ExportError, MissingExtraError, SchemaError
from edgenas.core.extras import unavailable_reason
from edgenas.core.schema import parse_yaml
from edgenas.exporters import Exporter, ExportRequest, get
from edgenas.exporters.base import Signature
from edgenas.exporters.tensorrt import (
    TensorRTExporter,
    TensorRTRecipe,
    build_engine,
    known_capabilities,
)
from edgenas.lowering.onnx import lower
from edgenas.testing.exporter import ExporterContract

needs_tensorrt = pytest.mark.skipif(
    unavailable_reason("tensorrt_rtx") is not None, reason="TensorRT-RTX is not installed"
)


def with_capability(capability: str | tuple[str, ...]) -> TensorRTExporter:
    recipe = get("tensorrt").recipe
    return TensorRTExporter(recipe.model_copy(update={"compute_capability": capability}))


@needs_tensorrt
class TestContract(ExporterContract):
    @pytest.fixture(params=["float32", "float16", "int8"])
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        return get("tensorrt", request.param)

    def test_same_network_gives_same_bytes(
        self, exporter: Exporter, export_request: ExportRequest, artifact: Artifact, tmp_path: Path
    ) -> None:
        """In a process of its own: what was built, or failed, before in this one changes bytes."""
        assert artifact.format == exporter.name
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            paths = [tmp_path / f"{name}.engine" for name in ("first", "second")]
            made = [pool.submit(exporter.export, export_request, path) for path in paths]
            assert len({one.result().sha256 for one in made}) == 1


@needs_tensorrt
def test_every_generation_gets_its_own_engine(request_small: ExportRequest, tmp_path: Path) -> None:
    capabilities = known_capabilities()
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(capabilities)
    engines = {
        with_capability(name).export(request_small, tmp_path / f"{name}.engine").sha256
        for name in ("8.6", "8.9", "12.0")
    }
    assert len(engines) == 3


@needs_tensorrt
def test_one_engine_is_for_several_generations(
    request_small: ExportRequest, tmp_path: Path
) -> None:
    one = with_capability("8.6").export(request_small, tmp_path / "one.engine")
    exporter = with_capability(("8.6", "8.9"))
    both = exporter.export(request_small, tmp_path / "both.engine")
    assert both.sha256 != one.sha256
    assert "compute capability 8.6 or 8.9" in str(exporter.unavailable_to_run_reason())
    told = exporter.recipe.model_dump(mode="json")
    assert TensorRTRecipe.model_validate(told, strict=False) == exporter.recipe
    with pytest.raises(ExportError, match=r"'8\.7'; allowed: .*build: device"):
        with_capability(("8.6", "8.7")).export(request_small, tmp_path / "none.engine")


RECIPE = """\
schema_version: 1
target: tensorrt
precision: float32
tolerance: 1.0e-5
"""


@pytest.mark.parametrize("named", ["8.6", "sm_86", '"86"', "[]", '["8.6", "8.6"]', "[8.6]"])
def test_what_names_no_generation_is_refused(named: str) -> None:
    with pytest.raises(SchemaError, match=r"in quotes, \"8\.9\", or a list of them"):
        parse_yaml(f"{RECIPE}compute_capability: {named}\n", TensorRTRecipe)


def test_a_recipe_has_a_generation_or_a_device() -> None:
    recipe = parse_yaml(f'{RECIPE}compute_capability: ["8.6", "8.9"]\n', TensorRTRecipe)
    assert recipe.compute_capabilities == ("8.6", "8.9")
    assert parse_yaml(f"{RECIPE}build: device\n", TensorRTRecipe).compute_capabilities == ()
    with pytest.raises(SchemaError, match="needs compute_capability"):
        parse_yaml(RECIPE, TensorRTRecipe)
    several = f'{RECIPE}build: device\ncompute_capability: ["8.6", "8.7"]\n'
    with pytest.raises(SchemaError, match="for the GPU that it has"):
        parse_yaml(several, TensorRTRecipe)


@needs_tensorrt
def test_builder_log_is_in_the_error(request_small: ExportRequest) -> None:
    """Turing has no float32 matrix product in this version, and says so.

    In a process of its own: the engine that a process builds next after a failure has other bytes.
    """
    model = lower(request_small.graph, request_small.weights)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        built = pool.submit(build_engine, model, compute_capabilities=("7.5",), tf32=False)
        with pytest.raises(ExportError, match=r"cannot build(.|\n)*FP32 GEMM is not supported"):
            built.result()


@needs_tensorrt
def test_unknown_generation_lists_the_known(request_small: ExportRequest, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'8\.7'; allowed: .*8\.6"):
        with_capability("8.7").export(request_small, tmp_path / "model.engine")
    assert list(tmp_path.iterdir()) == []


@needs_tensorrt
def test_tf32_is_off_unless_it_is_asked_for(
    request_small: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag is set by default; each build clears it, and a recipe may leave it."""
    import tensorrt_rtx as trt

    seen: list[bool] = []
    real = trt.Builder

    def builder(logger: Any) -> Any:
        made = real(logger)
        return SimpleNamespace(
            create_network=made.create_network,
            create_builder_config=made.create_builder_config,
            build_serialized_network=lambda network, config: seen.append(
                config.get_flag(trt.BuilderFlag.TF32)
            ),
        )

    monkeypatch.setattr(trt, "Builder", builder)
    for tf32 in (None, True):
        recipe = get("tensorrt").recipe
        changed = recipe if tf32 is None else recipe.model_copy(update={"tf32": tf32})
        with pytest.raises(ExportError, match="cannot build"):
            TensorRTExporter(changed).export(request_small, tmp_path / "model.engine")
    assert seen == [False, True]


@needs_tensorrt
def test_parser_log_is_in_the_error(request_small: ExportRequest) -> None:
    model = lower(request_small.graph, request_small.weights)
    with pytest.raises(ExportError, match=r"cannot parse(.|\n)*Failed to parse the ONNX model"):
        build_engine(model[:500], compute_capabilities=("8.6",), tf32=False)


@needs_tensorrt
def test_network_of_other_names_is_refused(request_small: ExportRequest) -> None:
    model = lower(request_small.graph, request_small.weights)
    expected = Signature("other", (1, 2, 15, 14), "logits", (1, 5))
    with pytest.raises(ExportError, match="other"):
        build_engine(model, compute_capabilities=("8.6",), tf32=False, expected=expected)


def test_missing_extra_is_named(
    request_small: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import import_module

    def without_tensorrt(name: str) -> object:
        if name.startswith("tensorrt_rtx"):
            raise ImportError(name)
        return import_module(name)

    monkeypatch.setattr("edgenas.core.extras.importlib.import_module", without_tensorrt)
    exporter = get("tensorrt")
    for reason in (exporter.unavailable_reason(), exporter.unavailable_to_run_reason()):
        assert reason is not None
        assert "edgenas[tensorrt]" in reason
    with pytest.raises(MissingExtraError, match=r"edgenas\[tensorrt\]"):
        exporter.export(request_small, tmp_path / "model.engine")
    assert list(tmp_path.iterdir()) == []


@needs_tensorrt
def test_why_it_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = tmp_path / "driver"
    monkeypatch.setattr("edgenas.exporters.tensorrt._DRIVER", driver)
    reason = get("tensorrt").unavailable_to_run_reason()
    assert reason is not None
    assert "compute capability 8.6" in reason
    assert "no NVIDIA driver" in reason
    driver.touch()
    assert "run where they are built" in str(get("tensorrt").unavailable_to_run_reason())
