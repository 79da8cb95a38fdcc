"""A sample of the support matrix is seen again, and the document is what was seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.exporting.families import module_of, request_of
from benchmarks.exporting.matrix import README, RESULTS, SAMPLE, made, seen
from benchmarks.exporting.rows import read_rows
from benchmarks.exporting.support import Seen, support_readme
from edgenas.exporters import ExportRequest, get
from edgenas.testing.golden import combinations

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=SAMPLE)
def sample(request: pytest.FixtureRequest) -> tuple[str, ExportRequest]:
    return request.param, request_of(module_of(request.param, n_steps=80))


@pytest.mark.parametrize("kind", [k for k in combinations() if k[0] != "tensorrt"], ids="-".join)
def test_a_family_passes_as_it_did(
    sample: tuple[str, ExportRequest], kind: tuple[str, str]
) -> None:
    family, request = sample
    (row,) = [
        row
        for row in read_rows(RESULTS)
        if (row["family"], row["target"], row["precision"]) == (family, *kind)
    ]
    found = made(request, *kind)
    assert found["status"] == row["status"] == "passed", found["error"]
    if get(*kind).recipe.tolerance is not None:
        assert found["checks"]["values"] <= get(*kind).recipe.tolerance


def test_the_readme_is_what_was_seen() -> None:
    assert Path(__file__).parents[2] / "export" / "README.md" == README
    assert README.read_text(encoding="utf-8") == support_readme(
        [seen(r) for r in read_rows(RESULTS)]
    )


def test_what_was_not_seen_is_not_said() -> None:
    text = support_readme(
        [
            Seen("b", "onnx", "float32", "passed", 2.5e-7),
            Seen("a", "onnx", "int8", "failed", 7.25),
            Seen("a", "tensorrt", "float16", "built"),
        ]
    )
    rows = [line for line in text.splitlines() if line.startswith(("| family", "| `a`", "| `b`"))]
    assert rows == [
        "| family | onnx float32 | onnx int8 | tensorrt float16 |",
        "| `a` |  | ✗ 7.2 dB | built |",
        "| `b` | ✓ 2.5e-07 |  |  |",
    ]
    assert "plug-in" not in text
    assert "tflite" not in text.split("## Families")[0].split("|---")[1]


def test_targets_of_plug_ins_stand_after_our_own() -> None:
    text = support_readme(
        [Seen("a", "another", "int8", "passed", 30.0), Seen("a", "onnx", "float32", "passed", 1e-7)]
    )
    assert "| `another` | of its plug-in |" in text
    assert "| family | onnx float32 | another int8 |" in text
    assert "| `a` | ✓ 1.0e-07 | ✓ 30.0 dB |" in text
