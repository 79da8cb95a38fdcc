"""The C++ example is compiled and answers as recorded; Android's has the file's numbers in it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.errors import ExportError
from edgenas.exporters.bundle.texts import filled, template
from edgenas.testing.missing import skip_outside_ci
from edgenas.testing.onnxruntime_sdk import lay_out_sdk, missing_sdk
from tests.exporters.bundle.bundles import VARIANTS, tiny_bundle, tiny_request
from tests.exporters.bundle.test_python_example import PROGRAM

TEMPLATES = sorted((Path(PROGRAM).parents[1] / "templates").iterdir())


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    skip_outside_ci(missing_sdk(), pytest.skip)
    return lay_out_sdk(tmp_path_factory.mktemp("sdk"))


def build(bundle: Path, sdk: Path) -> Path:
    """Builds the example as its CMake file says and returns the program."""
    source, folder = bundle / "examples/cpp", bundle.parent / "build"
    for command in (
        ["cmake", "-S", str(source), "-B", str(folder), f"-DONNXRUNTIME_ROOT={sdk}"],
        ["cmake", "--build", str(folder)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "classify"


def run(program: Path, bundle: Path, *arguments: object, code: int = 0) -> list[str]:
    command = [program, bundle / "model.onnx", bundle / "labels.txt", *arguments]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    return (done.stdout if code == 0 else done.stderr).splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [{}, {"batch": 5}])
def test_cpp_answers_as_recorded(sdk: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    bundle = tiny_bundle(tmp_path, recipe=recipe)
    program = build(bundle, sdk)
    expected = np.load(bundle / "check/outputs.npy")
    rows = run(program, bundle, bundle / "check/inputs.npy", "--logits")
    found = np.array([line.split() for line in rows], np.float32)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()

    labels = (bundle / "labels.txt").read_text().splitlines()
    lines = run(program, bundle, bundle / "check/inputs.npy")
    assert [
        line.startswith(labels[row.argmax()]) for line, row in zip(lines, expected, strict=True)
    ]
    shares = [float(share) for share in re.findall(r"([0-9.]+)%", lines[0])]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.5)

    pixels = np.random.default_rng(0).integers(0, 256, (16, 14, 3), np.uint8)
    np.save(tmp_path / "image.npy", pixels)
    values = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.25]
    np.save(tmp_path / "input.npy", values.transpose(2, 0, 1)[None].astype(np.float32))
    as_image = run(program, bundle, tmp_path / "image.npy", "--logits")[0].split()
    as_input = run(program, bundle, tmp_path / "input.npy", "--logits")[0].split()
    assert np.array(as_image, float) == pytest.approx(np.array(as_input, float), abs=1e-4)

    _refusals(program, bundle, tmp_path)


def _refusals(program: Path, bundle: Path, folder: Path) -> None:
    """What it cannot read is said in a line, with an exit status."""
    (folder / "text.npy").write_text("no array at all")
    np.save(folder / "double.npy", np.zeros((1, 3, 16, 14)))
    np.save(folder / "short.npy", np.zeros((1, 3, 16, 13), np.float32))
    np.save(folder / "turned.npy", np.asfortranarray(np.zeros((1, 3, 16, 14), np.float32)))
    for name, words in (
        ("absent.npy", "cannot open"),
        ("text.npy", "is no .npy file"),
        ("double.npy", "neither float32 inputs"),
        ("short.npy", "no whole number of inputs"),
        ("turned.npy", "in Fortran's order"),
    ):
        (line,) = run(program, bundle, folder / name, code=1)
        assert words in line
    (line,) = run(program, bundle, code=2)
    assert line.startswith("usage: ")


def kotlin(folder: Path, *arguments: Any, **options: Any) -> str:
    bundle = tiny_bundle(folder, *arguments, **options)
    return (bundle / "examples/android/Classifier.kt").read_text()


def test_android_has_the_numbers(tmp_path: Path) -> None:
    text = kotlin(tmp_path)
    for line in (
        'const val FILE = "model.onnx"',
        "const val CHANNELS = 3",
        "const val HEIGHT = 16",
        "const val WIDTH = 14",
        "val MEAN = floatArrayOf(0.5f, 0.4f, 0.3f)",
        "val STD = floatArrayOf(0.2f, 0.3f, 0.25f)",
        "values[c * HEIGHT * WIDTH + i] =",
        'session.run(mapOf("image" to input))',
    ):
        assert line in text
    assert re.search(r"com\.microsoft\.onnxruntime:onnxruntime-android:[0-9.]+\"", text)


def test_android_takes_codes_and_grey_images(tmp_path: Path) -> None:
    request = tiny_request(channels=1)
    text = kotlin(tmp_path, "tflite", "int8", recipe={"quantised_io": True}, request=request)
    how = json.loads((tmp_path / "bundle/preprocessing.json").read_text())
    assert f"value / {how['input']['codes']['scale']!r}f" in text
    assert "0x8000" in text
    assert "values[i * CHANNELS + c] =" in text
    assert "import org.tensorflow.lite.Interpreter" in text


@pytest.mark.parametrize(
    ("framing", "words"),
    [
        ({"stored": (20, 22)}, "scaled(plane, width, height, whole, 22, 20, true)"),
        ({"stored": None, "crop_share": 0.875}, "ceil(WIDTH / 0.875)"),
        ({"stored": None}, "scaled(plane, width, height, whole, WIDTH, HEIGHT, false)"),
    ],
)
def test_android_frames_images_as_in_training(
    tmp_path: Path, framing: dict[str, Any], words: str
) -> None:
    assert words in kotlin(tmp_path, **framing)


@pytest.mark.parametrize(("target", "precision", "recipe"), VARIANTS)
def test_nothing_is_left_to_fill_in(
    tmp_path: Path, target: str, precision: str, recipe: dict[str, Any]
) -> None:
    bundle = tiny_bundle(tmp_path, target, precision, recipe=recipe)
    for path in (bundle / "examples").rglob("*"):
        if path.is_file():
            assert not re.search(r"@[a-z_]+@", path.read_text()), path
    text = (bundle / "examples/android/Classifier.kt").read_text()
    for left, right in ("()", "[]", "{}"):
        assert text.count(left) == text.count(right)


def test_settings_of_the_session_are_in_every_example(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, "onnx", "weight_int8")
    entry = '("session.disable_quant_qdq", "1")'
    assert f"AddConfigEntry{entry};" in (bundle / "examples/cpp/classify.cpp").read_text()
    assert f"addConfigEntry{entry}" in (bundle / "examples/android/Classifier.kt").read_text()


def test_a_place_without_a_value_is_an_error() -> None:
    with pytest.raises(ExportError, match=r"constants\.kt asks for 'file_text'"):
        filled("constants.kt", {})


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_are_read_as_package_data(path: Path) -> None:
    assert template(path.name) == path.read_text()
