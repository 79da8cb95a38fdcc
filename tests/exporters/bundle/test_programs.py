"""The programs that travel in bundles run by themselves, on old Python, and find what is wrong."""

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgenas.exporters.bundle import check_files, read_index
from tests.exporters.bundle.bundles import (
    VARIANTS,
    other_logits,
    rewrite,
    tiny_bundle,
    tiny_request,
)
from tests.runtimes.agent.test_tensorrt import CudaRuntime, tensorrt

DEVICE = Path(__file__).parents[3] / "edgenas/exporters/bundle/device"
PROGRAMS = sorted(DEVICE.glob("*.py"))
ALLOWED = {
    "numpy",
    "engine",
    "onnxruntime",
    "ai_edge_litert",
    "tflite_runtime",
    "tensorrt",
    "tensorrt_rtx",
    "PIL",
}


def check(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the bundle's own check from another folder."""
    return subprocess.run(
        [sys.executable, str(bundle / "check/check.py"), *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def verdicts(bundle: Path, code: int = 1) -> dict[str, dict[str, Any]]:
    done = check(bundle, "--json", "--runs", "2")
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    assert found["agrees"] == (code == 0)
    return {one["name"]: one for one in found["checks"]}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_python_3_8_reads_them_and_they_need_little(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    assert imported - set(sys.stdlib_module_names) <= ALLOWED


@pytest.mark.parametrize(("target", "precision", "recipe"), VARIANTS)
def test_a_sound_file_agrees(
    tmp_path: Path, target: str, precision: str, recipe: dict[str, Any]
) -> None:
    bundle = tiny_bundle(tmp_path, target, precision, recipe=recipe)
    found = verdicts(bundle, 0)
    assert list(found) == ["hashes", "opens", "names", "shapes", "types", "values", "top1"]
    # It leaves nothing behind that would be another file than those that are listed.
    assert all(one.passed for one in check_files(bundle, read_index(bundle)))


def test_it_prints_for_people(bundle: Path) -> None:
    done = check(bundle, "--runs", "3")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[-1] == "everything agrees"
    assert "at most 1e-05" in done.stdout
    assert "; on some-board-4c-01234567 with onnxruntime 0.5200 ms" in lines[-2]


def test_a_truncated_file_is_not_opened(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:100])
    found = verdicts(bundle)
    assert list(found) == ["hashes"]
    assert found["hashes"]["detail"] == "model.onnx is not what was written"
    assert "DO NOT DEPLOY" in check(bundle).stdout


def test_missing_files_and_names_that_lead_out(bundle: Path) -> None:
    (bundle / "labels.txt").unlink()
    with (bundle / "SHA256SUMS").open("a") as stream:
        stream.write("0" * 64 + "  ../secret\n")
    detail = verdicts(bundle)["hashes"]["detail"]
    assert "labels.txt is missing" in detail
    assert "is no file of a bundle" in detail


def test_no_sums(bundle: Path) -> None:
    (bundle / "SHA256SUMS").write_text("")
    assert verdicts(bundle)["hashes"]["detail"] == "SHA256SUMS is empty"
    (bundle / "SHA256SUMS").unlink()
    assert "cannot be read" in verdicts(bundle)["hashes"]["detail"]


def test_a_file_that_does_not_open(bundle: Path) -> None:
    rewrite(bundle, "model.onnx", b"nothing")
    assert verdicts(bundle)["opens"]["passed"] is False


@pytest.mark.parametrize(("target", "precision"), [("onnx", "float32"), ("tflite", "int8")])
def test_answers_of_another_network(tmp_path: Path, target: str, precision: str) -> None:
    request = tiny_request()
    bundle = tiny_bundle(tmp_path, target, precision, request=request, logits=other_logits(request))
    found = verdicts(bundle)
    assert (found["values"]["passed"], found["top1"]["passed"]) == (False, False)
    asked = "(at least 10)" if precision == "int8" else "(at most 1e-05)"
    assert asked in found["values"]["detail"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda how: how["input"].update(name="picture"), "names"),
        (lambda how: how["output"].update(shape=[1, 6]), "shapes"),
        (lambda how: how["input"].update(dtype="int8"), "types"),
    ],
)
def test_another_interface(bundle: Path, change: Callable[[dict], None], name: str) -> None:
    how = json.loads((bundle / "preprocessing.json").read_text())
    change(how)
    rewrite(bundle, "preprocessing.json", json.dumps(how).encode())
    found = verdicts(bundle)
    assert [key for key, one in found.items() if not one["passed"]] == [name]
    assert ", not " in found[name]["detail"]


def test_a_missing_engine_is_said(bundle: Path) -> None:
    rewrite(bundle, "check/engine.py", b"import no_such_engine\n")
    done = check(bundle)
    assert done.returncode == 2
    assert "no_such_engine" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_that_fails_while_it_runs(bundle: Path) -> None:
    line = "answers = self._session.run"
    text = (bundle / "check/engine.py").read_text()
    assert line in text
    broken = text.replace(line, f"raise ValueError('stuck')\n        {line}")
    rewrite(bundle, "check/engine.py", broken.encode())
    assert verdicts(bundle)["runs"]["detail"] == "ValueError: stuck"


# -- TensorRT, against stand-ins of its package and of CUDA ----------------------------------


def loaded(
    monkeypatch: pytest.MonkeyPatch, package: Any, library: Any, *, plain: Any = None
) -> ModuleType:
    """Imports the program as on a device with these: `package` is TensorRT-RTX, None is missing."""
    for name, one in (("tensorrt_rtx", package), ("tensorrt", plain)):
        if one is not None:
            one.__name__, one.__version__ = name, "10.0"
        monkeypatch.setitem(sys.modules, name, one)
    spec = importlib.util.spec_from_file_location("engine", DEVICE / "engine_tensorrt.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def load(name: str) -> Any:
        if library is None:
            raise OSError(name)
        return library

    monkeypatch.setattr(module.ctypes, "CDLL", load)
    return module


def test_an_engine_runs_in_the_memory_of_the_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine")
    module = loaded(monkeypatch, tensorrt(), CudaRuntime())
    model = module.Model(str(tmp_path / "model.engine"), 1, {})
    assert model.engine == "tensorrt_rtx 10.0"
    assert model.inputs == {"name": "x", "shape": [1, 8], "dtype": "float32"}
    assert (model.outputs["name"], model.batch) == ("y", 1)
    image = np.arange(8, dtype=np.float32)[np.newaxis]
    np.testing.assert_array_equal(model.run(image), 2 * image)


@pytest.mark.parametrize(
    ("package", "library", "words"),
    [
        (tensorrt(opens=False), CudaRuntime(), "another version of TensorRT"),
        (tensorrt(), None, "no CUDA runtime"),
        (tensorrt(), CudaRuntime(fail="malloc"), "CUDA error 2: out of memory"),
    ],
)
def test_an_engine_that_does_not_open_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: Any, library: Any, words: str
) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine")
    module = loaded(monkeypatch, package, library)
    with pytest.raises(RuntimeError, match=words):
        module.Model(str(tmp_path / "model.engine"), 1, {})


@pytest.mark.parametrize(
    ("build", "opened_by", "expected"),
    [
        ("ahead", "both", "tensorrt_rtx"),
        ("device", "both", "tensorrt"),
        ("device", "tensorrt_rtx", "tensorrt_rtx"),
        ("device", "tensorrt", "tensorrt"),
    ],
)
def test_an_engine_is_opened_by_the_package_that_built_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, build: str, opened_by: str, expected: str
) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine")
    rtx, plain = (
        tensorrt(opens=opened_by in ("both", name)) for name in ("tensorrt_rtx", "tensorrt")
    )
    module = loaded(monkeypatch, rtx, CudaRuntime(), plain=plain)
    model = module.Model(str(tmp_path / "model.engine"), 1, {"build": build})
    assert model.engine == f"{expected} 10.0"
    np.testing.assert_array_equal(model.run(np.ones((1, 8), np.float32)), np.full((1, 8), 2.0))


def test_what_neither_package_opens_names_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine")
    module = loaded(monkeypatch, tensorrt(opens=False), None, plain=tensorrt(opens=False))
    words = r"tensorrt 10\.0 does not open it; tensorrt_rtx 10\.0 does not open it"
    with pytest.raises(RuntimeError, match=words):
        module.Model(str(tmp_path / "model.engine"), 1, {"build": "device"})
    module = loaded(monkeypatch, None, None, plain=tensorrt(opens=False))
    with pytest.raises(RuntimeError, match=r"does not open it; tensorrt_rtx cannot be imported"):
        module.Model(str(tmp_path / "model.engine"), 1, {"build": "device"})


def test_what_was_built_ahead_is_not_tried_with_another_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine")
    module = loaded(monkeypatch, None, CudaRuntime(), plain=tensorrt())
    with pytest.raises(ImportError, match="tensorrt_rtx cannot be imported"):
        module.Model(str(tmp_path / "model.engine"), 1, {"build": "ahead"})


def test_the_check_cannot_try_a_file_whose_package_is_missing(bundle: Path) -> None:
    text = (bundle / "check/engine.py").read_text()
    line = "settings = onnxruntime.SessionOptions()"
    assert line in text
    broken = text.replace(line, "raise ImportError('no tensorrt_rtx')")
    rewrite(bundle, "check/engine.py", broken.encode())
    done = check(bundle)
    assert done.returncode == 2
    assert "no tensorrt_rtx; install what made the file" in done.stderr


def test_a_run_that_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine")
    module = loaded(monkeypatch, tensorrt(works=False), CudaRuntime())
    model = module.Model(str(tmp_path / "model.engine"), 1, {})
    with pytest.raises(RuntimeError, match="did not take the run"):
        model.run(np.zeros((1, 8), np.float32))
