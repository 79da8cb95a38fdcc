"""Runnable examples for Python, C++ and Android, with a file's numbers filled in."""

from __future__ import annotations

import json
from collections.abc import Iterable

from edgenas.exporters.bundle.preprocessing import Preprocessing
from edgenas.exporters.bundle.texts import filled, program, template
from edgenas.exporters.manifest import Manifest

_LITERT_FOR_ANDROID = "1.4.0"
_GREY = "return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) shr 16).toFloat()"
_RGB = "return (if (channel == 0) red else if (channel == 1) green else blue).toFloat()"


def examples(manifest: Manifest, how: Preprocessing, engine: str | None) -> dict[str, str]:
    """Return the examples that a file has, text by path in the bundle.

    `engine` is what opens the file in Python (see `Exporter.device_program`).
    """
    found: dict[str, str] = {}
    if engine is not None:
        found["examples/python/classify.py"] = program("classify.py")
        found["examples/python/engine.py"] = engine
    if manifest.target == "onnx":
        found["examples/cpp/CMakeLists.txt"] = template("CMakeLists.txt")
        found["examples/cpp/classify.cpp"] = _cpp(manifest, how)
    # Android's bitmaps are grey or coloured; what has other channels is no picture.
    if manifest.target in ("onnx", "tflite") and how.channels in (1, 3):
        found["examples/android/Classifier.kt"] = _kotlin(manifest, how)
    return found


def _numbers(manifest: Manifest, how: Preprocessing) -> dict[str, str]:
    """Return what all languages write alike."""
    batch = how.input.shape[0]
    return {
        "file": manifest.file.name,
        "file_text": _text(manifest.file.name),
        "input_name": _text(how.input.name),
        "output_name": _text(how.output.name),
        "batch": str(batch if isinstance(batch, int) else 1),
        "channels": str(how.channels),
        "height": str(how.resize.height),
        "width": str(how.resize.width),
        "n_classes": str(len(manifest.output.class_names)),
        "low": repr(how.pixel_range[0]),
        "high": repr(how.pixel_range[1]),
        "mean": _floats(how.mean),
        "std": _floats(how.std),
    }


def _cpp(manifest: Manifest, how: Preprocessing) -> str:
    session = "".join(
        f"  options.AddConfigEntry({_text(name)}, {_text(value)});\n"
        for name, value in manifest.options.get("session", {}).items()
    )
    return filled("classify.cpp", {**_numbers(manifest, how), "session": session})


def _kotlin(manifest: Manifest, how: Preprocessing) -> str:
    numbers = {name: value.replace("$", "\\$") for name, value in _numbers(manifest, how).items()}
    parts = {
        "likeliest": template("likeliest.kt"),
        "preparation": _preparation(how),
        "constants": filled("constants.kt", numbers),
    }
    if manifest.target == "onnx":
        session = "".join(
            f"        addConfigEntry({_text(name)}, {_text(value)})\n"
            for name, value in manifest.options.get("session", {}).items()
        )
        version = manifest.versions.get("onnxruntime", "latest.release")
        values = {**numbers, **parts, "session": session, "engine_version": version}
        return filled("Classifier_onnx.kt", values)
    run = _kotlin_run(how)
    values = {**numbers, **parts, "run": run, "engine_version": _LITERT_FOR_ANDROID}
    return filled("Classifier_tflite.kt", values)


def _kotlin_run(how: Preprocessing) -> str:
    source, result = how.input.codes, how.output.codes
    if source is None or result is None:
        return template("run_float.kt").rstrip("\n")
    return filled(
        "run_codes.kt",
        {
            "input_scale": repr(source.scale),
            "input_zero_point": str(source.zero_point),
            "output_scale": repr(result.scale),
            "output_zero_point": str(result.zero_point),
        },
    ).rstrip("\n")


def _preparation(how: Preprocessing) -> str:
    first = how.input.layout == "NCHW"
    return filled(
        "preparation.kt",
        {
            "layout_words": f"channels {'first' if first else 'last'}, {how.input.layout}",
            "place": "c * HEIGHT * WIDTH + i" if first else "i * CHANNELS + c",
            "level": _GREY if how.channels == 1 else _RGB,
            "framing": _framing(how).rstrip("\n"),
        },
    )


def _framing(how: Preprocessing) -> str:
    resize = how.resize
    if resize.stored is not None:
        height, width = resize.stored
        return filled(
            "framing_stored.kt", {"stored_height": str(height), "stored_width": str(width)}
        )
    if resize.crop_share is not None:
        return filled("framing_crop.kt", {"crop_share": repr(resize.crop_share)})
    return template("framing_whole.kt")


def _text(value: str) -> str:
    """Return a string as C++ and Kotlin write it (Kotlin's ``$`` apart)."""
    return json.dumps(value)


def _floats(values: Iterable[float]) -> str:
    return ", ".join(f"{value!r}f" for value in values)
