"""Names of public checkpoints: recorded ones met exactly, every spelling that of one tensor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgenas import spaces
from edgenas.core.errors import UsageError
from edgenas.oneshot.ofa_names import PRESETS, public_tensors, spellings


@pytest.mark.parametrize(
    "name", ["ofa_mbv3_w1.0", "ofa_mbv3_w1.2", "ofa_proxyless_w1.3", "ofa_resnet50"]
)
def test_names_and_shapes_are_the_recorded_ones(bench_data: Path, name: str) -> None:
    recorded = json.loads((bench_data / f"ofa_oracle/{name}.json").read_text())["state_dict"]
    found = {tensor.public: list(tensor.shape) for tensor in public_tensors(spaces.get(name))}
    assert found == recorded


@pytest.mark.parametrize("name", PRESETS)
def test_no_two_tensors_can_be_called_the_same(name: str) -> None:
    tensors = public_tensors(spaces.get(name))
    names = [spelling for tensor in tensors for spelling in spellings(tensor.public)]
    assert len(names) == len(set(names))
    assert len({tensor.ours for tensor in tensors}) == len(tensors)


@pytest.mark.parametrize(
    ("public", "others"),
    [
        ("first_conv.conv.weight", {"first_conv.conv.conv.weight"}),
        ("input_stem.1.conv.conv.conv.weight", {"input_stem.1.conv.conv.weight"}),
        ("blocks.3.conv2.bn.bn.running_var", {"blocks.3.conv2.bn.running_var"}),
        (
            "blocks.1.conv.depth_conv.bn.bn.weight",
            {
                "blocks.1.conv.depth_conv.bn.weight",
                "blocks.1.mobile_inverted_conv.depth_conv.bn.bn.weight",
                "blocks.1.mobile_inverted_conv.depth_conv.bn.weight",
            },
        ),
        (
            "blocks.2.conv.depth_conv.conv.7to5_matrix",
            {"blocks.2.mobile_inverted_conv.depth_conv.conv.7to5_matrix"},
        ),
        ("classifier.linear.linear.bias", {"classifier.linear.bias"}),
    ],
)
def test_older_spellings(public: str, others: set[str]) -> None:
    assert set(spellings(public)) == {public, *others}


def test_other_spaces_have_no_public_names() -> None:
    with pytest.raises(UsageError, match=r"no supernet of proxylessnas; allowed: ofa_mbv3_w1\.0"):
        public_tensors(spaces.get("proxylessnas"))


def test_they_are_known_without_torch() -> None:
    code = "import sys, edgenas.oneshot.ofa_differences; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
