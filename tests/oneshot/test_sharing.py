"""Which spaces a supernet can be made of, told without torch and before any work."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgenas import spaces
from edgenas.core.errors import SpaceError
from edgenas.core.schema import parse_yaml
from edgenas.oneshot.sharing import check_shared, shared_weights, weights_fingerprint
from edgenas.study.context import Run
from edgenas.study.job import Job
from edgenas.study.run_folder import RunFolder

JOB = """\
schema_version: 1
name: layers
data: {source: digits}
space: {preset: fbnet_cifar}
objectives: [accuracy, latency_ms]
pick: knee
"""


@pytest.mark.parametrize("name", ["mbv3_tiny", "ofa_mbv3_w1.0", "proxylessnas", "ofa_resnet50"])
def test_once_for_all_spaces_share_weights(name: str) -> None:
    check_shared(spaces.get(name))


@pytest.mark.parametrize("name", ["fbnet_cifar", "nas_bench_macro"])
def test_choices_of_operators_do_not(name: str) -> None:
    with pytest.raises(SpaceError, match="has no shared weights"):
        check_shared(spaces.get(name))


def test_resolutions_and_narrower_choices_do_not_change_the_weights() -> None:
    whole = weights_fingerprint(spaces.get("mbv3_tiny"))
    assert weights_fingerprint(spaces.get("mbv3_tiny", resolutions=[16])) == whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", expansions=[2, 4])) == whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", expansions=[2, 3])) != whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", kernels=[3, 7])) != whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", n_classes=5)) != whole
    assert weights_fingerprint(spaces.get("mbv3_tiny", norm_epsilon=1e-3)) != whole


def test_what_differs_is_told() -> None:
    shared = shared_weights(spaces.get("resnet_tiny"))
    assert shared["stem"].elastic == ("mid_channels", "out_channels", "residual")
    assert shared["stage1.block0"].elastic == ("in_channels", "mid_channels", "out_channels")
    assert shared["head"].elastic == ("in_channels",)
    block = shared_weights(spaces.get("mbv3_tiny"))["stage1.block1"]
    assert block.elastic == ("kernel", "mid_channels")
    assert block.kernels == (7, 5, 3)
    assert len(block.variants) == 9


def test_a_job_that_cannot_be_trained_is_refused_before_any_work(tmp_path: Path) -> None:
    run = Run(RunFolder(tmp_path / "run"), parse_yaml(JOB, Job))
    run.check_possible(frozenset({"profile"}))
    run = Run(RunFolder(tmp_path / "run"), parse_yaml(JOB, Job))
    with pytest.raises(SpaceError, match="has no shared weights"):
        run.check_possible(frozenset({"profile", "train"}))
    assert not (tmp_path / "run").exists()


def test_it_is_told_without_torch() -> None:
    code = "import sys, edgenas.oneshot.sharing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
