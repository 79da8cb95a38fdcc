"""Verbs that need no run: what they print, JSON, exit codes, no tracebacks."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgenas import __version__, spaces
from edgenas.cli import main
from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.runtimes import RUNTIMES
from edgenas.study import api, doctor
from tests.tiny_job import write_job

VERBS = (
    *("doctor", "profile", "predict", "measure", "search", "pick", "export", "verify", "report"),
    "compile",
)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgenas {__version__}\n"


@pytest.mark.parametrize("verb", [*VERBS, "spaces"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["compil"], ["compile"], ["predict", "--spac", "x"]])
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "Usage" in capsys.readouterr().err


def test_spaces_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spaces", "list"]) == 0
    assert "mbv3_tiny" in capsys.readouterr().out
    assert main(["spaces", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {entry["name"] for entry in found} == set(spaces.SPACES)
    for entry in found:  # some are one published network
        wider = entry["least_macs"] < entry["greatest_macs"]
        assert wider == (entry["n_architectures"] > 1), entry["name"]


def test_spaces_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spaces", "show", "mbv3_tiny", "--set", "resolutions=[16, 20]"]) == 0
    assert "16, 20" in capsys.readouterr().out
    assert main(["spaces", "show", "mbv3_tiny", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["genes"]) == found["n_genes"]
    assert found["parameters"] == {"preset": "mbv3_tiny"}


def test_spaces_sample_keeps_a_limit_and_follows_the_seed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["spaces", "sample", "mbv3_tiny", "-n", "3", "--max-macs", "2e6", "--seed", "4"]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert main(command) == 0
    assert capsys.readouterr().out == first
    found = [json.loads(line) for line in first.splitlines()]
    assert len(found) == 3
    assert all(entry["n_macs"] <= 2e6 for entry in found)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["spaces", "show", "mbv3_tin"], 2, "nearest: mbv3_tiny"),
        (["spaces", "show", "mbv3_tiny", "--set", "kernel=3"], 1, "kernels"),
        (["spaces", "show", "mbv3_tiny", "--set", "kernels"], 2, "KEY=VALUE"),
        (["spaces", "sample", "mbv3_tiny", "--max-macs", "10"], 3, "the least is"),
        (["profile", "--space", "mbv3_tiny", "--runtime", "onnx"], 2, "nearest: onnxruntime"),
        (["profile", "--space", "mbv3_tiny", "--kind", "enrgy"], 2, "nearest: energy"),
        (["profile", "--space", "mbv3_tiny", "--kind", "load,load"], 2, "load more than once"),
        (
            ["profile", "--space", "mbv3_tiny", "--kind", "load", "--missing"],
            2,
            "--missing: ",
        ),
        (
            ["profile", "--space", "mbv3_tiny", "--endurance", "9"],
            2,
            "--endurance: ",
        ),
        (["predict", "--space", "mbv3_tiny", "--kind", "enrgy"], 2, "nearest: energy"),
        (["profile", "--space", "mbv3_tiny", "--device", "lokal"], 2, "nearest: local"),
        (["profile", "--space", "mbv3_tiny", "--precision", "int4"], 2, "float32"),
        (["profile", "--space", "mbv3_tiny", "--networks", "3"], 2, "at least 20"),
        (["measure", "absent.onnx"], 2, "no such file"),
        (["measure", "README.md"], 2, ".tflite"),
        (["pick", "absent"], 8, "no run folder"),
        (["report", "absent"], 8, "edgenas compile"),
        (["compile", "absent.yaml", "--out", "x"], 2, "cannot read"),
        (["doctor", "--device", "lokal"], 2, "nearest: local"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_job_errors_name_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = write_job(tmp_path, ("pick: knee", "picks: knee"))
    assert main(["compile", str(job), "--out", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    line = job.read_text().split("picks")[0].count("\n") + 1
    assert f"{job}:{line}: unknown key 'picks'" in message
    assert "nearest: pick" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no architecture was given"),
        ("[1]\n", "line 1: an object"),
        ("{\n", "line 1"),
        ('{"genes": [0, 1]}\n', "line 1: genes of mbv3_tiny"),
        ('{"genes": "abc"}\n', "list of 22 whole numbers"),
        ('{"config": {"depth": 3}}\n', "no gene 'depth'"),
        ('{"id": "0123456789"}\n', "ids need --run"),
        ('{"stage1.block0.kernel": 9}\n', "allowed: 3, 5, 7"),
    ],
)
def test_predict_refuses_wrong_lines(
    text: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["predict", "--space", "mbv3_tiny"]) == 2
    assert words in capsys.readouterr().err


def test_predict_without_a_table_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = spaces.get("mbv3_tiny", mix_width=72)
    line = json.dumps({"genes": space.largest().tolist()})
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    assert main(["predict", "--space", "mbv3_tiny", "--set", "mix_width=72"]) == 4
    message = capsys.readouterr().err
    assert "edgenas profile --space mbv3_tiny --set mix_width=72 --runtime onnxruntime" in message


def test_doctor_says_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["works"]
    names = {finding["name"] for finding in found["findings"]}
    assert {"package torch", "runtime onnxruntime", "runtime litert", "timing"} <= names


def test_doctor_names_the_extra_of_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "unavailable_reason", lambda module: f"no {module}")
    assert main(["doctor", "--no-noise"]) == 0  # the device can be measured
    text = capsys.readouterr().out
    assert "pip install 'edgenas[torch]'" in text
    assert "the chain needs what the warnings name" in text
    assert main(["doctor", "--no-noise", "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["works"]


def test_doctor_says_when_no_engine_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in RUNTIMES:
        monkeypatch.setattr(RUNTIMES.get(name), "unavailable_reason", lambda _: "missing")
    assert main(["doctor", "--json"]) == 6
    found = json.loads(capsys.readouterr().out)
    assert not found["works"]


def test_doctor_says_when_the_device_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise DeviceError("it does not answer")

    monkeypatch.setattr(LocalConnector, "run", fail)
    assert main(["doctor", "--json"]) == 5
    assert "it does not answer" in capsys.readouterr().out


def test_interrupt_is_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "compile_job", interrupt)
    assert main(["compile", str(write_job(tmp_path)), "--out", str(tmp_path / "run")]) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_gone_reader_is_no_traceback() -> None:
    command = f"{sys.executable} -m edgenas.cli spaces sample mbv3_tiny -n 3000 | head -n 1"
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_import_is_light_and_the_api_is_listed() -> None:
    code = (
        "import sys, edgenas; assert 'numpy' not in sys.modules, 'numpy'; "
        "assert 'compile' in dir(edgenas); assert callable(edgenas.compile); "
        "assert 'torch' not in sys.modules; print('light')"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "light\n", (done.stderr, time.monotonic() - began)
