"""Safetensors files of training: the same content is the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from edgenas.core.errors import StorageError
from edgenas.oneshot.checkpoint import write_tensors


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).view(2, 3), "ä": torch.ones(4, dtype=torch.int64)}
    header = {f"key{i}": f"välue {i}" for i in range(9)}
    contents = set()
    for i in range(6):
        write_tensors(tmp_path / f"{i}.safetensors", tensors, header)
        contents.add((tmp_path / f"{i}.safetensors").read_bytes())
    assert len(contents) == 1
    with safe_open(tmp_path / "0.safetensors", framework="pt") as file:
        assert file.metadata() == header
        assert torch.equal(file.get_tensor("b"), tensors["b"])
        assert torch.equal(file.get_tensor("ä"), tensors["ä"])


def test_a_folder_that_is_none_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_tensors(tmp_path / "file" / "a.safetensors", {"a": torch.ones(1)}, {})
