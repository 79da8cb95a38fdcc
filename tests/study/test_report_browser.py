"""The report in a real browser: everything draws, the console is clean, nothing is fetched."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgenas.study.report import ReportData, write_report
from edgenas.testing.missing import skip_outside_ci

sys.path.insert(0, str(Path(__file__).parent))
import report_data

playwright = pytest.importorskip(
    "playwright.sync_api",
    reason="Playwright drives the browser; it comes with the extra `dev`",
)

pytestmark = pytest.mark.browser

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = "</script><img src=x onerror=alert(1)><b>"


@dataclass
class Seen:
    """What a page said and asked for."""

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        reason = "Chromium is not installed (Debian: apt-get install chromium)"
        skip_outside_ci(reason, pytest.skip)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()


def opened(
    browser: playwright.Browser, data: ReportData, path: Path, width: int
) -> tuple[playwright.Page, Seen]:
    """Write and open a report; return its page, once all plots have drawn, and what it said."""
    write_report(data, path)
    page, seen = browser.new_page(viewport={"width": width, "height": 900}), Seen()
    page.on("console", lambda message: seen.console.append(message.text))
    page.on("pageerror", lambda error: seen.console.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
    return page, seen


@pytest.mark.parametrize("width", [1280, 420])
def test_all_plots_draw_and_nothing_complains(
    browser: playwright.Browser, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "report.html"
    page, seen = opened(browser, report_data.full(), path, width)
    drawn = page.locator("[data-figure][data-drawn=true]")
    assert drawn.count() == page.locator("[data-figure]").count() == 4
    for name in ("front", "progress", "remeasured", "blocks"):
        box = page.locator(f"#plot-{name} svg.main-svg").first.bounding_box()
        assert box is not None
        assert 250 < box["width"] <= width
    assert page.locator("#plot-blocks .bars .point").count() == 22
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.console == []
    assert seen.requests == [path.as_uri()]
    page.close()


def test_a_run_with_missing_parts_is_clean_too(browser: playwright.Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    page, seen = opened(browser, report_data.bare(), path, 1280)
    assert page.locator("[data-drawn=true]").count() == 1
    assert page.locator(".missing").count() >= 8
    assert (seen.console, seen.requests) == ([], [path.as_uri()])
    page.close()


def test_hostile_names_run_nothing(browser: playwright.Browser, tmp_path: Path) -> None:
    full = report_data.full()
    front = (full.front[0].model_copy(update={"id": HOSTILE}), *full.front[1:])
    blocks = tuple(block.model_copy(update={"name": HOSTILE}) for block in full.blocks[:1])
    data = full.model_copy(update={"name": HOSTILE, "front": front, "blocks": blocks})
    page, seen = opened(browser, data, tmp_path / "report.html", 1280)
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("img").count() == 0
    assert HOSTILE in page.locator("#plot-blocks .ytick").first.text_content()
    assert seen.console == []
    page.close()


def test_hovering_tells_the_network(browser: playwright.Browser, tmp_path: Path) -> None:
    data = report_data.full()
    page, seen = opened(browser, data, tmp_path / "report.html", 1280)
    pick = data.pick
    assert pick is not None
    star = page.locator("#plot-front .scatterlayer .trace").last.locator(".point").first
    star.scroll_into_view_if_needed()
    box = star.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    label = page.locator("#plot-front .hoverlayer .hovertext").first
    label.wait_for(state="attached", timeout=10_000)
    text = label.text_content() or ""
    assert pick.id in text
    assert "accuracy 97" in text
    assert "stage1.depth" in text
    assert seen.console == []
    page.close()


def test_no_button_leads_elsewhere(browser: playwright.Browser, tmp_path: Path) -> None:
    page, _ = opened(browser, report_data.full(), tmp_path / "report.html", 1280)
    buttons = page.locator("#plot-front .modebar-btn")
    titles = [buttons.nth(i).get_attribute("data-title") for i in range(buttons.count())]
    assert len(titles) == 6
    assert not [title for title in titles if title and ("loud" in title or "hare" in title)]
    assert page.locator("a:not([href^='#'])[href]").count() == 0
    page.close()


def test_the_front_sorts(browser: playwright.Browser, tmp_path: Path) -> None:
    data = report_data.full()
    page, seen = opened(browser, data, tmp_path / "report.html", 1280)
    button = page.locator("#front th button", has_text="Measured")

    def column() -> list[float]:
        return [
            float(text) for text in page.locator("#front tbody td:nth-child(5)").all_inner_texts()
        ]

    before = column()
    button.click()
    assert column() == sorted(before)
    button.click()
    assert column() == sorted(before, reverse=True)
    header = page.locator("#front th", has_text="Measured")
    assert header.get_attribute("aria-sort") == "descending"
    assert seen.console == []
    page.close()


def test_it_prints(browser: playwright.Browser, tmp_path: Path) -> None:
    page, seen = opened(browser, report_data.full(), tmp_path / "report.html", 1280)
    paper = tmp_path / "report.pdf"
    page.pdf(path=paper, format="A4")
    assert paper.read_bytes().startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main > section details:not([open]):not(td *)").count() == 0
    assert page.locator("td details[open]").count() == 1
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert seen.console == []
    page.close()
