"""Files are opened in another process: what ends or stops that one is an error, not our end."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.artifact import Artifact
from edgenas.core.errors import ExportError
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
