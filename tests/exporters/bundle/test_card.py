"""The model card says what manifest and proof say, and nothing that breaks its tables."""

import json
from pathlib import Path

import pytest

from edgenas.exporters.bundle.card import Accuracy, model_card
from edgenas.exporters.manifest import (
    CalibrationEntry,
    Manifest,
    MeasuredCost,
    load_manifest,
)
from tests.exporters.bundle.bundles import BUDGET, SLUG


@pytest.fixture
def manifest(bundle: Path) -> Manifest:
    return load_manifest(bundle / "manifest.json")


def test_it_holds_the_facts(bundle: Path, manifest: Manifest) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    for fact in (
        manifest.file.sha256,
        "onnx, float32",
        "`image`, float32, 1 x 3 x 16 x 14",
        "70.00% on 200 test images",
        "75.00% on the validation images",
        BUDGET,
        "0.5000 ms, [0.4000, 0.6000] at 90%",
        "0.5200 ms",
        SLUG,
        "fruit 0011223344556677",
        "onnxruntime | " + manifest.versions["onnxruntime"],
    ):
        assert fact in card, fact
    for check in manifest.checks:
        assert f"| {check.name} | passed |" in card


def test_tables_stay_tables(bundle: Path) -> None:
    lines = (bundle / "MODEL_CARD.md").read_text().splitlines()
    assert "fig \\| date" in "\n".join(lines)
    rows = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert {row.count("|") for row in rows} == {3, 4}


def test_it_says_how_ranges_were_found(manifest: Manifest) -> None:
    found = CalibrationEntry(method="mse", n_images=40, sqnr_db={})
    card = model_card(
        manifest.model_copy(update={"calibration": found}), Accuracy(0.5, 0.5, 10), ()
    )
    assert "| ranges | mse, on 40 training images |" in card


def test_it_says_what_is_not_known(manifest: Manifest) -> None:
    bare = manifest.model_copy(
        update={
            "measured_latency": None,
            "predicted_latency": None,
            "not_run": {"measured_latency": "no GPU here"},
        }
    )
    card = model_card(bare, Accuracy(None, None, 0), ())
    assert "no labels" in card
    assert "none was asked of this file" in card
    assert "| measured_latency | not made | no GPU here |" in card
    assert "was not timed" in card


def test_prediction_of_another_table_and_other_costs_are_told(manifest: Manifest) -> None:
    predicted = manifest.predicted_latency
    assert predicted is not None
    cost = MeasuredCost(
        objective="energy_mj",
        unit="mJ",
        device=SLUG,
        runtime="onnxruntime",
        value=1.25,
        low=1.0,
        high=1.5,
    )
    changed = manifest.model_copy(
        update={
            "predicted_latency": predicted.model_copy(
                update={"mismatch": ("device: x, not y",), "low_ms": None, "high_ms": None}
            ),
            "measured_costs": (cost,),
        }
    )
    card = model_card(changed, Accuracy(0.5, 0.5, 10), ())
    assert "device: x, not y" in card
    assert "no interval" in card
    assert "| measured energy_mj | 1.25 [1, 1.5] mJ; onnxruntime on" in card


def test_a_manifest_of_before_bundles_is_read(bundle: Path, manifest: Manifest) -> None:
    """The fields of `resize` that came with bundles may be missing."""
    document = json.loads((bundle / "manifest.json").read_text())
    for key in ("stored", "crop_share"):
        del document["input"]["resize"][key]
    (bundle / "manifest.json").write_text(json.dumps(document))
    assert load_manifest(bundle / "manifest.json").input.resize.stored is None
