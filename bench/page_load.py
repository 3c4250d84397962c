"""How long the service's page takes in a browser, of a service that runs.

    karec serve --config HERE/karec.toml &
    python bench/page_load.py http://127.0.0.1:8080 [loads, 20]

Each load is by a new profile of Debian's chromium, which has nothing of the page yet. ``loaded``: all files
are there and the first script has run; ``painted``: something is seen; ``numbers``: the first of the
service's numbers are seen; ``feeds``: the same for the view "Try a user", when both feeds of ten works are
seen. From the beginning of navigation.
"""

from __future__ import annotations

import shutil
import sys
from statistics import median
from typing import Any

from playwright.sync_api import Browser, sync_playwright

SEEN = {"numbers": ("service", "#tiles dd"), "feeds": ("try", "#right .card:nth-child(10)")}
TIMES = """() => ({
    loaded: performance.getEntriesByType('navigation')[0].loadEventEnd,
    painted: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN,
    KB: performance.getEntriesByType('resource').filter(each => each.name.includes('/page/'))
        .reduce((sum, each) => sum + each.decodedBodySize, 0) / 1e3,
})"""


def load(browser: Browser, url: str, view: str, wanted: str) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{url}/#{view}")
    seen: Any = page.wait_for_function(
        "wanted => document.querySelector(wanted) && performance.now()", arg=wanted
    )
    times: dict[str, float] = page.evaluate(TIMES)
    found = {**times, "seen": seen.json_value()}
    context.close()
    return found


def main(url: str, loads: int = 20) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        load(browser, url, *SEEN["numbers"])
        print(f"{loads} loads, ms: median (most)")
        for what, (view, wanted) in SEEN.items():
            every = [load(browser, url, view, wanted) for _ in range(loads)]
            for name in ("loaded", "painted", "seen"):
                values = [each[name] for each in every]
                print(
                    f"{view:8} {what if name == 'seen' else name:8} {median(values):7.0f} ({max(values):.0f})"
                )
        print(f"files of the page: {every[0]['KB']:.0f} KB")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
