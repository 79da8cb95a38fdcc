"""Linting: a sound table has no findings, and every fault is found by its own check."""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgenas.core.paths import data_folder
from edgenas.costs.findings import Finding
from edgenas.costs.lint import lint
from edgenas.costs.table import CostTable, journal_path, passport_path, samples_path
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from tests.costs.conftest import priced_rows

MakeTable = Callable[..., CostTable]
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chip" / "tiny.csv"


def found(path: Path, **expected: str) -> list[Finding]:
    """Returns the findings; there are exactly those of the expected checks and severities."""
    findings = lint(path, now=NOW)
    names = {finding.check.replace(" ", "_"): finding.severity for finding in findings}
    assert names == expected, findings
    return findings


def test_a_sound_table_has_no_findings(path: Path, make_named: MakeTable) -> None:
    make_named(path)
    found(path)


def test_the_shipped_tables_have_no_errors() -> None:
    tables = sorted(data_folder("latency_tables").glob("*/*/*.csv"))
    assert tables
    for table in tables:
        findings = lint(table)
        assert not [finding for finding in findings if finding.severity == "error"], table
        assert not [finding for finding in findings if finding.check == "outlier"], table


def test_missing_and_broken_files(path: Path, make_named: MakeTable) -> None:
    found(path, files="error")
    make_named(path)
    passport_path(path).write_text("schema_version: 2\n")
    (finding,) = found(path, files="error")
    assert "schema_version" in finding.message


def test_every_broken_row_is_told(path: Path, make_named: MakeTable) -> None:
    make_named(path)
    lines = path.read_text().splitlines()
    lines[1] = re.sub(r'",[^,]+,', '",0,', lines[1])
    lines[2] = re.sub(r'",[^,]+,', '",nan,', lines[2])
    lines[3] = "rubbish"
    lines[5] = lines[4]
    path.write_text("\n".join(lines) + "\n")
    findings = lint(path, now=NOW)
    rows = [finding.message for finding in findings if finding.check == "rows"]
    assert len(rows) == 4
    for words in ("= 0.0", "= nan", "not a row", "two rows"):
        assert any(words in message for message in rows), words
    checks = {finding.check for finding in findings}
    assert {"checksum", "missing rows"} <= checks
    assert [finding.severity for finding in findings] == sorted(
        (finding.severity for finding in findings), key=["error", "warning", "note"].index
    )


def test_a_changed_file_is_told(path: Path, make_named: MakeTable) -> None:
    make_named(path)
    text = path.read_text()
    path.write_text(re.sub(r",6\n", ",5\n", text, count=1))
    found(path, checksum="error", samples="error")


def test_missing_and_foreign_rows(
    path: Path, make_named: MakeTable, named_space: SearchSpace
) -> None:
    rows = priced_rows(named_space)
    extra = replace(rows[0], operator="add(8x4x4+8x4x4)")
    make_named(path, rows=[*rows[3:], extra])
    first, second = found(path, missing_rows="error", foreign_rows="note")
    assert first.message.startswith(f"3 of {len(rows)} operators")
    assert "--missing" in first.remedy
    assert second.message.startswith("1 of ")


def test_a_space_that_has_changed(path: Path, make_named: MakeTable) -> None:
    make_named(path, space=get("mbv3_tiny", resolutions=[16]))
    meta = passport_path(path)
    meta.write_text(meta.read_text().replace("fingerprint: ", "fingerprint: a", 1))
    (finding,) = found(path, space="error")
    assert "has changed since" in finding.message
    meta.write_text(meta.read_text().replace("preset: mbv3_tiny", "preset: absent"))
    (finding,) = found(path, space="note")
    assert "cannot be made again" in finding.message


def test_outliers(path: Path, make_named: MakeTable, named_space: SearchSpace) -> None:
    rows = priced_rows(named_space)
    i = next(i for i, row in enumerate(rows) if row.operator.startswith("mbconv"))
    wrong = replace(rows[i], cost=rows[i].cost * 20, isolated=(rows[i].isolated or 1) * 20)
    make_named(path, rows=[*rows[:i], wrong, *rows[i + 1 :]])
    (finding,) = [f for f in lint(path, now=NOW) if f.check == "outlier"]
    assert finding.severity == "warning"
    assert wrong.operator in finding.message


def test_uncertain_rows(path: Path, make_named: MakeTable, named_space: SearchSpace) -> None:
    rows = priced_rows(named_space)
    rows[0] = replace(rows[0], std=rows[0].cost)
    rows[1] = replace(rows[1], n_visits=2)
    rows[2] = replace(rows[2], isolated=rows[2].cost / 0.02)
    make_named(path, rows=rows)
    found(path, uncertain="warning", few_visits="warning", floor="note")


@pytest.mark.parametrize(
    ("changes", "check", "severity", "words"),
    [
        ({"drift": {"slow_share": 0.7}}, "drift", "warning", "slow for 70%"),
        ({"created": "2025-11-01T00:00:00+00:00"}, "age", "note", "365 days old"),
        ({"created": "2027-01-01T00:00:00+00:00"}, "age", "warning", "days from now"),
        ({"created": "yesterday"}, "age", "error", "no date"),
        ({"calibration": {"latency_range_ms": [0.3, 0.31]}}, "coverage", "warning", "outside"),
        ({"calibration": {"scores": [-0.4, 0.0, 0.4]}}, "intervals", "warning", "reach from"),
    ],
)
def test_what_the_passport_says(
    path: Path,
    make_named: MakeTable,
    changes: dict[str, Any],
    check: str,
    severity: str,
    words: str,
) -> None:
    make_named(path, **changes)
    (finding,) = found(path, **{check: severity})
    assert words in finding.message


def test_errors_are_held_against_the_noise(path: Path, make_named: MakeTable) -> None:
    report = {
        "n_networks": 40,
        "mape": 0.08,
        "within_5_percent": 0.4,
        "within_10_percent": 0.6,
        "spearman": 0.8,
        "bias": 0.0,
    }
    make_named(path, calibration={"held_out": report})
    messages = [finding.message for finding in found(path, errors="warning")]
    assert len(messages) == 2
    make_named(path, calibration={"held_out": report | {"spearman": 0.99}, "noise_ceiling": report})
    (finding,) = found(path, noise="warning")  # no worse than the machine itself
    assert "8.0%" in finding.message


def test_throttling_and_an_unfinished_run_are_noted(path: Path, make_named: MakeTable) -> None:
    pause = {"at_s": 3.0, "duration_s": 60.0, "reason": "85 degrees"}
    make_named(path, environment={"throttle_pauses": [pause]})
    journal_path(path).write_text("{}\n")
    found(path, throttling="note", unfinished_run="note")


def test_samples(path: Path, make_named: MakeTable, named_space: SearchSpace) -> None:
    make_named(path)
    samples = samples_path(path)
    whole = gzip.decompress(samples.read_bytes()).decode()
    samples.unlink()
    found(path, samples="warning")
    samples.write_bytes(b"no gzip")
    found(path, samples="error")
    key = named_space.distinct_ops()[0].key
    lines = whole.splitlines()
    without = [line for line in lines if key not in line]
    twenty = [line if key not in line else re.sub(r"[^,]+$", "20", line) for line in lines]
    for broken, words in (
        (without, "have no samples"),
        (twenty, "other samples than their rows"),
        ([line for line in lines if "net:" not in line], "0 networks"),
        ([line for line in lines if "anchor" not in line], "0 visits to the anchor"),
        ([*lines, "0,0,anchor,0,1.0"], "comes after"),
        ([*lines, "10000,0,anchor,1,1.0"], "follows run"),
        ([*lines, "10000,0,anchor,0,-1"], "cost -1"),
        ([*lines, "10000,0,anchor,0"], "not a run"),
    ):
        samples.write_bytes(gzip.compress("\n".join(broken).encode()))
        assert any(words in finding.message for finding in found(path, samples="error")), words


def test_findings_are_json(path: Path, make_named: MakeTable) -> None:
    make_named(path, drift={"slow_share": 0.9})
    (finding,) = lint(path, now=NOW)
    assert json.dumps([finding.check, finding.remedy])
