"""The demo's report in Debian's chromium, and the summary that the demo prints."""

from __future__ import annotations

import copy
import shutil

import pytest
from small_job import TASKS

from karec.lab.demo.report import summary_figures, write_demo

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

WIDTHS = (1100, 390)
ITEM_ID = f"<img src=x onerror='window.owned = 1'>{'long' * 40}"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture(params=WIDTHS)
def page(request, browser):
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture
def open_report(page):
    """Opens a report's page. A request for another file or a message of the console fails the test."""
    urls, messages = [], []
    page.on("request", lambda sent: urls.append(sent.url))
    page.on("console", lambda message: messages.append(message.text))

    def open_page(path):
        page.goto(path.as_uri())
        return page

    yield open_page
    assert len(urls) == 1 and messages == []


def is_wider_than_the_screen(page):
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_report_fits_the_screen_and_passes_axe(open_report, job):
    page = open_report(job / "report" / "report.html")
    assert not is_wider_than_the_screen(page)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert not is_wider_than_the_screen(page)
    violations = axe.Axe().run(page).response["violations"]
    assert [(violation["id"], violation["nodes"][0]["html"]) for violation in violations] == []


def test_report_opens_with_figures_pictures_and_a_page(open_report, job):
    page = open_report(job / "report" / "report.html")
    assert page.locator(".figures li:visible").count() == 5
    assert page.locator("[role=img]:visible svg").count() == 2
    assert page.locator(".items li:visible").count() == 10
    assert page.locator("table:visible").count() == 0
    page.locator("summary").first.click()
    assert page.locator("table:visible").count() == 2


def test_cells_of_the_report_keep_one_line(open_report, job):
    page = open_report(job / "report" / "report.html")
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    heights = page.locator("td").evaluate_all("cells => cells.map(cell => cell.clientHeight)")
    assert len(heights) > 100 and max(heights) < 2 * min(heights)


def test_long_ids_of_the_platform_are_text_and_fit(open_report, report, tmp_path):
    changed = copy.deepcopy(report)
    changed["page"]["user"] = ITEM_ID
    changed["page"]["items"][0] |= {
        "item_id": ITEM_ID,
        "creator": ITEM_ID,
        "tags": [ITEM_ID],
        "sources": [ITEM_ID],
    }
    changed["notes"] = [ITEM_ID]
    page = open_report(write_demo(changed, tmp_path)[1])
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.evaluate("window.owned") is None and page.locator("img").count() == 0
    assert page.locator(".items li").first.inner_text().count(ITEM_ID[:30]) == 4
    assert not is_wider_than_the_screen(page)


def test_report_without_a_world_has_no_simulated_days(open_report, report, tmp_path):
    changed = {**report, "three_days": None, "scenes": None}
    page = open_report(write_demo(changed, tmp_path)[1])
    assert page.locator(".figures li").count() == 3 and page.locator("svg").count() == 1
    assert not is_wider_than_the_screen(page)


def test_figures_without_a_value_are_dashes(report):
    changed = copy.deepcopy(report)
    changed["funnel_loss"]["prerank"]["top10"] = None
    changed["quality"]["mmoe"]["click"]["auc"] = None
    values = [value for value, _ in summary_figures(changed)]
    assert values[1:3] == ["–", "–"] and "–" not in values[3:]


def test_demo_prints_one_screen(job, report):
    lines = (job / "screen.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40 and max(map(len, lines[:-3])) <= 100  # the last lines contain paths
    text = "\n".join(lines)
    for stage in report["funnel"][1:]:
        row = next(line.split() for line in lines if line.startswith(stage["stage"]))
        assert row == [
            stage["stage"], f"{stage['items_in']:,}", f"{stage['items_out']:,}", f"{stage['ms']:.2f}"
        ]  # fmt: skip
    aucs = [
        f"{report['quality'][model][task]['auc']:.4f}" for model in ("lr", "towers", "mmoe") for task in TASKS
    ]
    assert all(auc in text for auc in aucs)
    assert all(f"{report['funnel_loss']['prerank'][top]:.3f}" in text for top in ("top10", "top100"))
    for kept in report["second_round"]["kept"]["prerank"].values():
        assert f"{kept['before']['value']:.3f} → {kept['after']['value']:.3f}" in text
    assert str(job / "report" / "report.html") in text.replace("\n", "")
