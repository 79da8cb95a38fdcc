"""The report's data, its figures and the page as text."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgenas.core.errors import SchemaError, StorageError
from edgenas.study.report import (
    EvaluatedPoint,
    ExportCheck,
    ExportedFile,
    FileCost,
    ReportData,
    read_report_data,
    render_report,
    write_report,
    write_report_data,
)
from edgenas.study.report.figures import MAX_POINTS, figures, thinned
from edgenas.study.report.markup import count, number, percent, plain, seconds, span
from edgenas.study.report.sections import verdict

sys.path.insert(0, str(Path(__file__).parent))
import report_data

HOSTILE = "</script><img src=x onerror=alert(1)> & \"q\" 'a' <b>"


class _Page(HTMLParser):
    """Collects the tags, what they load, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self._raw: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = {"src", "data", "action", "poster", "srcset"}
        self.loads += [str(value) for name, value in attrs if name in loading]
        self.loads += [str(v) for k, v in attrs if k == "href" and not str(v).startswith("#")]
        self._raw = tag if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        if tag == self._raw:
            self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw is None:
            self.text += data


def changed(data: ReportData, **changes: Any) -> ReportData:
    """Return `data` with fields changed and everything validated again."""
    return ReportData.model_validate(data.model_dump() | changes)


@pytest.mark.parametrize("data", [report_data.full(), report_data.bare()], ids=["full", "bare"])
def test_data_survives_its_file(data: ReportData, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report_data(data, path)
    assert read_report_data(path) == data


def test_two_picks_are_refused() -> None:
    pick = report_data.full().pick
    assert pick is not None
    with pytest.raises(ValidationError, match="2 members are picked"):
        changed(report_data.full(), front=(pick.model_dump(), pick.model_dump()))


def test_a_budget_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="not a constraint: 'fast'"):
        changed(report_data.full(), constraints=("fast",))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "document"),
        ("{}", "name: Field required"),
        ('{"schema_version": 2}', "schema_version"),
        (report_data.bare().to_json().replace('"device"', '"devise"'), "device: Field required"),
    ],
)
def test_damaged_data_names_its_place(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(SchemaError, match=r"edgenas compile") as caught:
        read_report_data(path)
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


def test_missing_data_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"cannot read .*report\.json"):
        read_report_data(tmp_path / "report.json")


def test_the_tightest_limit_counts() -> None:
    texts = ("latency_ms <= 3", "latency_ms <= 2 @ 90%", "accuracy >= 0.8", "accuracy >= 0.9")
    data = changed(report_data.bare(), constraints=texts)
    assert data.limit("latency_ms") == 2
    assert data.limit("accuracy") == 0.9
    assert data.limit("n_macs") is None


def test_other_costs_stand_in_the_proof_and_the_front() -> None:
    full = report_data.full()
    costs = (
        FileCost(
            objective="energy_mj",
            unit="mJ",
            predicted=1.25,
            low=1.1,
            high=1.5,
            measured=1.375,
            modelled=True,
            budget_kept=True,
        ),
        FileCost(objective="load_ms", unit="ms", measured=31.5),
    )
    exports = (changed_file(full.exports[0], costs=costs), *full.exports[1:])
    front = tuple(member.model_copy(update={"costs": {"energy_mj": 1.25}}) for member in full.front)
    data = changed(full, exports=exports, front=front, constraints=("energy_mj <= 2",))
    assert verdict(data).text.endswith(
        "energy_mj: modelled, not measured. Not measured here: tensorrt."
    )
    text = _Page(render_report(data)).text
    for part in (
        "Other costs of the files",
        "energy_mj, mJ (modelled)",
        "1.10 to 1.50",
        "load_ms, ms",
        "it follows from powers",
    ):
        assert part in text
    assert "Other costs" not in _Page(render_report(full)).text
    assert ReportData.from_json(data.to_json()) == data


def test_files_for_other_runtimes_are_told_and_not_asked() -> None:
    full = report_data.full()
    first, second, *others = full.exports
    above = changed(full, exports=(first, changed_file(second, budget_kept=False), *others))
    found = verdict(above)
    assert found.state == "kept"
    assert "Above it, and not asked: tflite." in found.text
    page = _Page(render_report(above)).text
    assert "above, not asked" in page
    assert "broken" not in page
    only = changed(full, exports=(changed_file(second, budget_kept=False),))
    assert verdict(only).state == "unproven"


def changed_file(file: ExportedFile, **changes: Any) -> ExportedFile:
    return ExportedFile(**{**file.model_dump(), **changes})


def test_verdicts() -> None:
    full = report_data.full()
    kept = verdict(full)
    assert (kept.state, "Not measured here: tensorrt" in kept.text) == ("kept", True)
    broken = full.exports[0].model_copy(update={"budget_kept": False})
    assert verdict(changed(full, exports=(broken, *full.exports[1:]))).state == "broken"
    assert verdict(changed(full, exports=())).state == "unproven"
    assert verdict(report_data.bare()).state == "none"


def test_figures_hold_what_was_measured() -> None:
    data = report_data.full()
    drawn = figures(data)
    assert list(drawn) == ["front", "progress", "remeasured", "blocks"]
    names = [trace["name"] for trace in drawn["front"]["data"]]
    expected = ["evaluated", "over the budget", "Pareto front", "measured on the device"]
    assert names == [*expected, "the pick"]
    line = drawn["front"]["data"][2]
    assert line["x"] == [member.latency_ms for member in data.front]
    first = data.front[0]
    assert first.high_ms is not None
    assert line["error_x"]["array"][0] == pytest.approx(first.high_ms - first.latency_ms)
    assert [shape["x0"] for shape in drawn["front"]["layout"]["shapes"]] == [0.5]
    bars = {trace["name"]: trace["x"] for trace in drawn["blocks"]["data"]}
    for runtime in report_data.RUNTIMES:
        own = [block.latency_ms for block in data.blocks if block.runtime == runtime]
        assert bars[runtime] == own


def test_figures_are_valid_for_plotly() -> None:
    from plotly import graph_objects

    for figure in figures(report_data.full()).values():
        graph_objects.Figure(figure)  # validates every attribute's name and value


def test_a_long_search_is_thinned_and_the_page_says_so() -> None:
    points = tuple(
        EvaluatedPoint(id=f"a{i}", status="complete", accuracy=0.9, latency_ms=1 + i * 1e-5)
        for i in range(20_000)
    )
    assert len(thinned(points)) == MAX_POINTS
    assert (thinned(points)[0], thinned(points)[-1]) == (points[0], points[-1])
    page = render_report(changed(report_data.full(), evaluations=points))
    assert "Of 20,000 evaluations, 4,000 are drawn." in page
    assert len(page.encode()) < 6_000_000


@pytest.mark.parametrize("data", [report_data.full(), report_data.bare()], ids=["full", "bare"])
def test_the_page_stands_alone(data: ReportData, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(data, path)
    content = path.read_text(encoding="utf-8")
    page = _Page(content)
    assert page.loads == []
    assert page.tags.count("script") == 3
    assert content.count("plotly.js v") == 1
    assert path.stat().st_size < 6_000_000
    assert "default-src 'none'" in content


def test_the_page_says_the_numbers() -> None:
    text = _Page(render_report(report_data.full())).text
    for part in (
        "98.33 %",
        "0.243 ms",
        "up to 0.251 in 3 processes",
        "latency_ms <= 0.5 @ 90%",
        "✓ kept",
        "45.50 %",
    ):
        assert part in text
    for part in ("needs an NVIDIA GPU", "not run here", "the anchor was slow in 11 %"):
        assert part in text


def test_the_page_says_what_is_missing() -> None:
    text = _Page(render_report(report_data.bare())).text
    for part in (
        "No budget was set",
        "No architecture has been picked",
        "No prediction intervals were recorded",
        "No file was exported",
        "was measured again on the device",
        "No costs by block",
        "progress was not recorded",
        "No latency table",
        "No data set",
    ):
        assert part in text


def test_an_empty_front_is_said() -> None:
    data = changed(report_data.bare(), front=())
    assert figures(data) == {}
    page = render_report(data)
    assert "no architecture that keeps every constraint" in page
    assert "data-figure=" not in page


def test_a_failed_export_stands_in_the_proof() -> None:
    failed = ExportedFile(target="tflite", error="operator hswish: no lowering")
    wrong = ExportedFile(
        target="onnx",
        file="model.onnx",
        checks=(ExportCheck(name="values", passed=False, detail="3e-3 is over 1e-5"),),
    )
    page = render_report(changed(report_data.full(), exports=(failed, wrong)))
    text = _Page(page).text
    assert "no file" in text
    assert "Export failed: operator hswish: no lowering" in text
    assert "0 of 1 passed" in text
    assert page.count("<details open>") == 2


def test_hostile_names_stay_text() -> None:
    full = report_data.full()
    member = full.front[0].model_copy(update={"id": HOSTILE, "config": {HOSTILE: HOSTILE}})
    data = changed(
        full,
        name=HOSTILE,
        device=HOSTILE,
        front=(member, *full.front[1:]),
        exports=(ExportedFile(target=HOSTILE, error=HOSTILE, not_run={HOSTILE: HOSTILE}),),
        training={HOSTILE: {HOSTILE: HOSTILE}},
        versions={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
    )
    content = render_report(data)
    page = _Page(content)
    assert "img" not in page.tags
    assert page.tags.count("script") == 3
    assert HOSTILE in page.text
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', content)
    assert found is not None
    drawn = json.loads(found[1])
    assert "&lt;img src=x" in drawn["front"]["data"][2]["text"][0]
    assert "<img" not in json.dumps(drawn)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_report(report_data.bare(), tmp_path / "file" / "report.html")


def test_numbers_as_people_read_them() -> None:
    assert [number(v) for v in (0.1234, 1.234, 12.34, 1234.5)] == ["0.123", "1.23", "12.3", "1,234"]
    assert [count(v) for v in (17, 3.1e4, 5.98e6, 2.4e9)] == ["17", "31.0 k", "5.98 M", "2.40 G"]
    assert (percent(0.98765), span(1.0, 2.0)) == ("98.77 %", "1.00 to 2.00")
    assert "–" in percent(None)
    assert "–" in span(None, 2.0)
    assert [seconds(v) for v in (0.04, 71.4, 3725)] == ["0.0 s", "1 min 11 s", "1 h 02 min"]
    assert [plain(v) for v in ([1, 2], True, None, 0.1, {"a": 1})] == [
        "1 2",
        "yes",
        "–",
        "0.1",
        '{"a": 1}',
    ]
