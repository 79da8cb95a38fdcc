"""``edgenas ofa``: import and show, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgenas import spaces
from edgenas.cli import main
from edgenas.oneshot.ofa_import import public_state
from edgenas.oneshot.supernet import Supernet


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = spaces.get("resnet_tiny")
    path = tmp_path_factory.mktemp("public") / "net.pth"
    torch.save(public_state(Supernet(space, statistics=True), space), path)
    return path


def test_import_and_show(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.safetensors"
    assert main(["ofa", "import", str(checkpoint), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "weights of resnet_tiny" in told
    assert "net.pth" in told
    assert main(["ofa", "show", str(out)]) == 0
    assert capsys.readouterr().out == told
    assert main(["ofa", "show", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["space"]["preset"] == "resnet_tiny"
    assert found["file"] == str(out)


def test_settings_of_the_command_line(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "net.safetensors")
    asked = ["ofa", "import", str(checkpoint), "--out", out, "--json", "--set", "resolutions=[16]"]
    assert main(asked) == 2
    assert "name the space with --space" in capsys.readouterr().err
    assert main([*asked, "--space", "resnet_tiny"]) == 0
    assert json.loads(capsys.readouterr().out)["space"]["settings"] == {"resolutions": [16]}


def test_refusals_have_their_exit_codes(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "net.safetensors")
    asked = ["ofa", "import", str(checkpoint), "--out", out]
    assert main([*asked, "--space", "mbv3_tiny"]) == 8
    assert "not the weights of mbv3_tiny" in capsys.readouterr().err
    assert main([*asked, "--space", "fbnet"]) == 2
    assert main(["ofa", "show", out]) == 8
    assert "make both with: edgenas ofa import" in capsys.readouterr().err
