"""Files are opened in another process: what ends or stops that one is an error, not our end."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from edgenas.core.artifact import Artifact
from edgenas.core.errors import ExportError, StorageError
from edgenas.exporters import ExportRequest, get
from edgenas.exporters import trial as trials
from edgenas.exporters.trial import try_file


def test_answers_are_those_of_the_exporter(
    request_small: ExportRequest, onnx_artifact: Artifact
) -> None:
    exporter, images = get("onnx"), request_small.reference_inputs
    found = try_file(exporter, onnx_artifact.path, {"a": images, "b": images[:2]})
    np.testing.assert_array_equal(found.logits["a"], exporter.infer(onnx_artifact.path, images))
    np.testing.assert_array_equal(found.logits["b"], found.logits["a"][:2])
    assert found.signature == exporter.expected(request_small)
    assert found.outside == ()


def test_refusals_come_back(request_small: ExportRequest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ExportError, match="cannot load"):
        try_file(get("onnx"), path, {"a": request_small.reference_inputs})


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})", "was ended by SIGSEGV"),
        ("import sys; sys.exit('no such luck')", "exit status 1(.|\\n)*no such luck"),
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
    ],
)
def test_a_process_that_dies_or_hangs_is_an_error(
    request_small: ExportRequest,
    onnx_artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    message: str,
) -> None:
    real = trials.subprocess.run

    def run(command: list[str], **how: Any) -> Any:
        assert command[0] == sys.executable
        return real([sys.executable, "-c", program], **how)

    monkeypatch.setattr(trials.subprocess, "run", run)
    start = time.monotonic()
    images = {"a": request_small.reference_inputs}
    limit_s = 0.5 if "sleep" in program else 60
    with pytest.raises(ExportError, match=message):
        try_file(get("onnx"), onnx_artifact.path, images, timeout_s=limit_s)
    assert time.monotonic() - start < 30
    assert onnx_artifact.path.exists()


def test_what_an_engine_throws_while_it_runs_is_told_in_a_line(
    request_small: ExportRequest,
    onnx_artifact: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def throw(*_: object) -> None:
        raise RuntimeError("no kernel for this")

    exporter = get("onnx")
    asked = {"target": "onnx", "path": str(onnx_artifact.path)}
    (tmp_path / "asked.json").write_text(
        json.dumps({**asked, "recipe": exporter.recipe.model_dump(mode="json")})
    )
    save_file({"a": request_small.reference_inputs}, tmp_path / "images.safetensors")
    monkeypatch.setattr(type(exporter), "infer", throw)
    trials.main(tmp_path)
    told = json.loads((tmp_path / "told.json").read_text())
    wanted = f"{onnx_artifact.path}: it does not run: RuntimeError: no kernel for this"
    assert told == {"error": wanted}


def test_a_full_disk_says_nothing_of_the_file(
    request_small: ExportRequest, onnx_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither here nor in the other process."""
    images = {"a": request_small.reference_inputs}
    real = trials.subprocess.run

    def run(command: list[str], **how: Any) -> Any:
        program = (
            "import sys; from pathlib import Path; from edgenas.exporters import trial as t\n"
            "def full(*_): raise OSError(28, 'No space left on device')\n"
            f"t.save_file = full; t.main(Path({command[-1]!r}))"
        )
        return real([sys.executable, "-c", f"import edgenas.exporters\n{program}"], **how)

    with monkeypatch.context() as patch:
        patch.setattr(trials.subprocess, "run", run)
        with pytest.raises(StorageError, match=r"No space left on device.*set TMPDIR"):
            try_file(get("onnx"), onnx_artifact.path, images)

    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(trials, "save_file", full)
    with pytest.raises(StorageError, match=r"No space left on device.*set TMPDIR"):
        try_file(get("onnx"), onnx_artifact.path, images)
