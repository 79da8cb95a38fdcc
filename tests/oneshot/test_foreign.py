"""Tensors from foreign files: what is read, what is refused, and that no code of theirs runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgenas.core.errors import CheckpointError
from edgenas.oneshot.foreign import check_values, read_tensors


class _Code:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _written(content: object, folder: Path, **how: Any) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path, **how)
    return path


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_wrote_is_read(tmp_path: Path, wrapped: bool, zipped: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    state = module.state_dict()
    content = {"state_dict": state} if wrapped else state
    path = _written(content, tmp_path, _use_new_zipfile_serialization=zipped)
    found = read_tensors(path)
    assert found.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in found.items())


def test_safetensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(2)}, path)
    assert torch.equal(read_tensors(path)["a"], torch.ones(2))


def test_parameters_are_tensors(tmp_path: Path) -> None:
    found = read_tensors(_written({"a": torch.nn.Parameter(torch.ones(2))}, tmp_path))
    assert not found["a"].requires_grad


def test_no_code_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = _written({"state_dict": _Code(trace)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"would run Python code \(\w+\.mkdir\)"):
        read_tensors(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds a list; a mapping of names to tensors is needed"),
        ({"state_dict": [1]}, "holds a list; a mapping"),
        ({}, "it is empty"),
        ({"a": torch.zeros(1), "b": 3, 4: torch.zeros(1)}, r"b \(int\), 4 \(Tensor\)"),
        ({"a": torch.zeros(2).to_sparse()}, r"no mapping of names to dense tensors: a \(Tensor\)"),
        (
            {"state_dict": {"a": torch.zeros(1)}, "epoch": 3, "best_acc": 0.5},
            "beside 'state_dict' also best_acc, epoch; save the weights alone",
        ),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_tensors(_written(content, tmp_path))


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*absent\.pth: .*No such file"):
        read_tensors(tmp_path / "absent.pth")
    path = _written({"a": torch.zeros(1000)}, tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"text that is no pickle", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot read .*weights\.pth: "):
            read_tensors(path)
    for content in (b"", b"x" * 100):
        other = tmp_path / "weights.safetensors"
        other.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot read .*weights\.safetensors: "):
            read_tensors(other)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.weight", torch.tensor([1.0, float("nan")]), "NaN or infinite values in 1 tensors: a"),
        ("a.weight", torch.tensor([float("inf")]), "NaN or infinite"),
        ("a.running_var", torch.tensor([0.5, -0.1]), "variances below 0 in 1 tensors: a"),
        ("a.weight", torch.zeros(1, dtype=torch.float64), r"a\.weight \(torch\.float64\)"),
        ("a.weight", torch.zeros(1, dtype=torch.int8), r"1 are not: a\.weight \(torch\.int8\)"),
    ],
)
def test_values_that_no_network_can_run_with(name: str, value: torch.Tensor, message: str) -> None:
    path = Path("weights.pth")
    check_values(path, {"b.weight": torch.zeros(2, dtype=torch.float16)})
    with pytest.raises(CheckpointError, match=message):
        check_values(path, {name: value, "b.weight": torch.zeros(2)})


def test_long_lists_are_cut(tmp_path: Path) -> None:
    content = {f"k{i}": i for i in range(14)}
    with pytest.raises(CheckpointError, match=r"k9 \(int\) and 4 more$"):
        read_tensors(_written(content, tmp_path))
