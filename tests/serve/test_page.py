"""The page in a browser: Debian's chromium. The platform's ids are texts that would be scripts if anybody let
them."""

from __future__ import annotations

import re
import shutil
import signal

import pytest
from live_bundle import named
from running_service import RunningService
from tried_scene import PLAIN, tried_config

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: the page is not tested"
)
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("there is no chromium: the page is not tested in a browser", allow_module_level=True)

TOKEN = "a-token-of-this-test"
LONG = "long" * 40
USER = "<script>window.owned = 1</script>"
WORK = f"<img src=x onerror='window.owned = 1'>{LONG}"
VIEWS = "service", "try", "known"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "token").write_text(TOKEN)
    more = '\n[serve]\ntoken = "file:token"\n'
    path = tried_config(folder, more, ids=named(folder, USER, WORK))
    with RunningService(path) as running:
        running.client.headers["authorization"] = f"Bearer {TOKEN}"
        for user in (1, 2, 3):
            running.ask(f"{USER}{user}")
        yield running


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


class Looked:
    """A page with the token, and what its console said."""

    def __init__(self, browser, service, token=True, **options):
        self.context = browser.new_context(base_url=service.url, **{"viewport": DESK, **options})
        if token:
            self.context.add_init_script(f"sessionStorage.setItem('karec.token', '{TOKEN}')")
        self.page, self.said = self.context.new_page(), []
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))

    def see(self, view):
        """``view``, when what it asked for is there."""
        self.page.goto(f"/#{view}")
        self.page.reload()
        wanted = {"service": "#workers tbody tr", "try": "#left .card", "known": "#look"}[view]
        self.page.locator(wanted).first.wait_for()
        return self.page

    def feed(self, side="left"):
        return self.page.locator(f"#{side} .card").evaluate_all("cards => cards.map(card => card.dataset.id)")

    def until_changed(self, before, side="left"):
        """The feed, once it is another than ``before``."""
        script = (
            "([side, ids]) => { const now = [...document.querySelectorAll(`#${side} .card`)].map(c => "
            "c.dataset.id);"
        )
        self.page.wait_for_function(
            script + " return now.length && now.join() !== ids.join(); }", arg=[side, before]
        )
        return self.feed(side)


@pytest.fixture
def look(browser, service):
    """``look()`` opens a page; nothing may stand in its console when the test is over."""
    opened = []

    def begin(**options):
        opened.append(Looked(browser, service, **options))
        return opened[-1]

    yield begin
    for each in opened:
        each.context.close()
        if each.said:
            pytest.fail(f"the console says {each.said}")


def slide(page, value):
    page.locator("#diversity").fill(str(value))


def switch(page, place):
    return page.locator(f'#switches input[value="{place}"]')


def test_the_service_is_shown_with_its_funnel_latencies_versions_and_workers(look, service):
    page = look().see("service")
    page.locator("#funnel svg").wait_for()
    assert re.match(
        "Funnel: .*recall .*prerank .*rank .*rerank", page.locator("#funnel svg").get_attribute("aria-label")
    )
    assert "prerank" in page.locator("#latency svg").get_attribute("aria-label")
    assert "v0000000001" in page.locator("#versions").inner_text()
    assert page.locator("#state").inner_text() == "1 of 1 workers ready"
    page.locator("#funnel summary").click()
    rows = page.locator("#funnel tbody th").all_inner_texts()
    assert rows == ["recall", "prerank", "rank", "rerank"]
    page.locator("summary", has_text="Every step").click()
    assert "rerank.page_rules" in page.locator("#steps").inner_text()


def test_the_page_loads_nothing_but_itself_and_allows_no_other_script(look, service):
    looked = look()
    asked = []
    looked.page.on("request", lambda request: asked.append(request.url))
    looked.see("try")
    assert all(url.startswith(service.url) for url in asked)
    # none is found out about by another
    told = set(re.findall(r'"(/page/[^"]+)"', service.client.get("/").text))
    assert {url.removeprefix(service.url) for url in asked if "/page/" in url} <= told
    policy = service.client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    inline = "const script = document.createElement('script'); script.textContent = 'window.owned = 1';"
    assert (
        looked.page.evaluate(f"() => {{ {inline} document.body.append(script); return window.owned; }}")
        is None
    )
    assert all("Content Security Policy" in line for line in looked.said)
    looked.said.clear()


def test_diversity_changes_the_feed_and_differences_are_marked(look, service):
    looked = look()
    page = looked.see("try")
    before = looked.feed()
    slide(page, 1)
    after, plain = looked.until_changed(before), looked.feed("right")
    user = page.locator("#user").input_value()
    for ids, fields in ((after, {"diversity": 1.0}), (plain, {"without": PLAIN})):
        told = service.post("/v1/try", {"user": user, **fields}).json()
        assert ids == [item["id"] for item in told["feed"]["items"]]
    new = page.locator("#left .new").evaluate_all("cards => cards.map(card => card.dataset.id)")
    gone = page.locator("#right .gone").evaluate_all("cards => cards.map(card => card.dataset.id)")
    moved = page.locator("#left .moved").evaluate_all("cards => cards.map(card => card.dataset.id)")
    assert set(new) == {*after} - {*plain} and set(gone) == {*plain} - {*after}
    assert set(moved) == {id for id in {*after} & {*plain} if after.index(id) != plain.index(id)}
    assert new or moved


def test_a_switch_leaves_a_step_out_and_puts_it_back(look):
    looked = look()
    page = looked.see("try")
    before = looked.feed()
    switch(page, "prerank.quota").uncheck()
    assert looked.until_changed(before) != before
    switch(page, "prerank.quota").check()
    page.wait_for_function(
        "ids => [...document.querySelectorAll('#left .card')].map(c => c.dataset.id).join() === ids",
        arg=",".join(before),
    )


def test_without_the_steps_that_have_one_diversity_cannot_be_moved(look):
    page = look().see("try")
    for place in ("prerank.dpp", "rerank.dpp"):
        switch(page, place).uncheck()
    assert page.locator("#diversity").is_disabled()


def test_a_step_that_others_need_has_no_switch(look):
    page = look().see("try")
    assert switch(page, "prerank.quota").count() == 1
    assert switch(page, "prerank.index_rows").count() == 0 == switch(page, "rank.ranker").count()


def test_the_scene_as_it_is_can_stand_beside(look):
    looked = look()
    page = looked.see("try")
    as_it_is = looked.feed()
    page.locator("#beside").select_option("scene")
    page.wait_for_function(
        "() => document.getElementById('right-title').textContent === 'The scene as it is'"
    )
    assert (
        looked.feed("right") == as_it_is == looked.feed() and page.locator(".new, .gone, .moved").count() == 0
    )


def test_texts_of_the_platform_are_shown_as_texts(look):
    looked = look()
    page = looked.see("try")
    user = page.locator("#user").input_value()
    assert user.startswith(USER) and page.locator("#left h3").first.inner_text().startswith(WORK[:40])
    page.locator("#left h3 button").first.click()
    assert page.locator("#work-title").inner_text().startswith("Work <img")
    page.locator("#work-found dl").first.wait_for()
    page.locator("#work-close").click()
    page.locator("#know").click()
    page.locator("#look-found h2").first.wait_for()
    assert page.locator("#look-found h2").first.inner_text() == f"User {user}"
    assert page.evaluate("window.owned") is None and page.locator("main img").count() == 0


def test_what_is_refused_is_said(look):
    looked = look()
    page = looked.see("known")
    page.locator("#look-kind").select_option("works")
    page.locator("#look-id").fill("no such work")
    page.locator("#look button").click()
    page.locator("#look-told.problem").wait_for()
    assert page.locator("#look-told").inner_text()
    assert looked.said == [
        "error: Failed to load resource: the server responded with a status of 404 (Not Found)"
    ]
    looked.said.clear()


def test_a_service_that_is_not_there_is_asked_again_until_it_is(look):
    looked = look()
    asked = []

    def once(route):
        asked.append(route.request.url)
        return route.abort() if len(asked) == 1 else route.continue_()

    looked.page.route("**/v1/try", once)
    looked.page.goto("/#try")
    looked.page.locator("#told.problem", has_text="cannot be reached").wait_for()
    looked.page.locator("#left .card").first.wait_for()
    assert len(asked) >= 2 and looked.said == ["error: Failed to load resource: net::ERR_FAILED"]
    looked.said.clear()


def test_zeros_before_an_id_of_digits_are_no_part_of_it(look):
    page = look().see("known")
    script = "const { idOf } = await import('/page/trying.js'); return"
    said = {
        "007": "7",
        "-07": "-7",
        "0": "0",
        "000": "0",
        "9007199254740993": "9007199254740993",
        "7a": '"7a"',
    }
    for text, body in said.items():
        assert page.evaluate(f"async text => {{ {script} idOf(text, 'integer'); }}", text) == body
        assert page.evaluate(f"async text => {{ {script} idOf(text, 'text'); }}", text) == f'"{text}"'


@pytest.mark.parametrize("system", ["light", "dark"])
def test_a_theme_is_the_systems_until_one_is_chosen_and_that_stays(look, system):
    page = look(color_scheme=system).see("service")

    def light():
        red = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(re.search(r"\d+", red).group()) > 128

    assert light() == (system == "light")
    other = "dark" if system == "light" else "light"
    page.locator("#theme").select_option(other)
    assert light() == (other == "light")
    page.reload()
    assert light() == (other == "light")


def test_a_phone_shows_every_view_without_scrolling_sideways(look):
    looked = look(viewport=PHONE)
    for view in VIEWS:
        page = looked.see(view)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    page.locator("#look-id").fill(f"{USER}1")
    page.locator("#look button").click()
    page.locator("#look-found h2").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(look, theme, view):
    page = look(color_scheme=theme).see(view)
    if view == "known":
        page.locator("#look-id").fill(f"{USER}1")
        page.locator("#look button").click()
        page.locator("#look-found h2").first.wait_for()
    page.evaluate("() => document.querySelectorAll('details').forEach(details => { details.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    assert not [
        (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
    ]


def test_everything_is_reached_and_done_by_keyboard(look):
    looked = look()
    page = looked.see("try")
    page.evaluate("document.activeElement.blur()")
    passed = []
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate("""() => { const now = document.activeElement, style = getComputedStyle(now);
            return {name: now.id || now.value || now.textContent.trim(),
                    outline: style.outlineStyle, width: style.outlineWidth,
                    card: !!now.closest('.card h3')}; }""")
        passed.append(at)
        if at["card"]:
            break
    names = [each["name"] for each in passed]
    wanted = [
        "To the content",
        "Service",
        "theme",
        "user",
        "scene",
        "k",
        "beside",
        "diversity",
        "prerank.quota",
        "know",
    ]
    assert [name for name in names if name in wanted] == wanted
    assert passed[-1]["card"] and all(each["outline"] != "none" and each["width"] != "0px" for each in passed)
    page.keyboard.press("Enter")
    page.locator("#work[open]").wait_for()
    page.keyboard.press("Escape")
    page.locator("#work[open]").wait_for(state="hidden")
    assert page.evaluate("!!document.activeElement.closest('.card h3')")
    before = looked.feed()
    page.locator("#diversity").focus()
    page.keyboard.press("End")
    assert looked.until_changed(before) != before


def test_the_token_is_asked_for_and_kept_in_the_tab(look, service):
    looked = look(token=False)
    page = looked.page
    page.goto("/")
    page.locator("#token[open]").wait_for()
    page.keyboard.type("not the token at all")
    page.keyboard.press("Enter")
    page.locator("#token-why:visible").wait_for()
    page.locator("#token-text").fill(TOKEN)
    page.keyboard.press("Enter")
    page.locator("#workers tbody tr").first.wait_for()
    assert (
        page.evaluate("Object.values(sessionStorage)") == [TOKEN]
        and page.evaluate("localStorage.length") == 0
    )
    page.reload()
    page.locator("#workers tbody tr").first.wait_for()
    assert page.locator("#token[open]").count() == 0
    assert all("401" in line for line in looked.said)
    looked.said.clear()


def test_a_service_without_the_page_has_neither_it_nor_what_it_tries(service):
    path = service.config
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "page = false\n", encoding="utf-8")
    service.signal(signal.SIGHUP)
    service.until(lambda: service.client.get("/page/main.js").status_code == 404)
    assert service.client.get("/v1/try").status_code == 404
    assert "<h1>karec" in service.client.get("/").text  # what /docs is
    path.write_text(text, encoding="utf-8")
    service.signal(signal.SIGHUP)
    service.until(lambda: service.client.get("/page/main.js").status_code == 200)
