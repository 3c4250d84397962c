"""The page in Debian's chromium. Ids of the platform would be scripts if a browser took them as markup."""

from __future__ import annotations

import shutil
import signal

import pytest
from live_bundle import named
from running_service import RunningService
from tried_scene import tried_config

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

TOKEN = "a-token-of-this-test"
USER = "<script>window.owned = 1</script>"
ITEM = f"<img src=x onerror='window.owned = 1'>{'long' * 40}"
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "token").write_text(TOKEN)
    path = tried_config(folder, '\n[serve]\ntoken = "file:token"\n', ids=named(folder, USER, ITEM))
    with RunningService(path) as running:
        running.client.headers["authorization"] = f"Bearer {TOKEN}"
        yield running


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


class Tab:
    """A tab with the page. `messages`: of its console."""

    def __init__(self, browser, service, *, has_token=True, **options):
        self.context = browser.new_context(base_url=service.url, **{"viewport": DESK, **options})
        if has_token:
            self.context.add_init_script(f"sessionStorage.setItem('karec.token', '{TOKEN}')")
        self.page = self.context.new_page()
        self.messages = []
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))

    def open(self):
        """Opens the page and waits for the cards."""
        self.page.goto("/")
        self.page.locator("#left .card").first.wait_for()
        return self.page

    def ids(self, side="left"):
        return self.page.locator(f"#{side} .card").evaluate_all("cards => cards.map(card => card.dataset.id)")

    def wait_for_other_ids(self, before):
        script = """ids => {
            const now = [...document.querySelectorAll('#left .card')].map(card => card.dataset.id);
            return now.length && now.join() !== ids.join(); }"""
        self.page.wait_for_function(script, arg=before)
        return self.ids()


@pytest.fixture
def open_tab(browser, service):
    """Makes tabs. A message in a console fails the test."""
    tabs = []

    def make(**options):
        tabs.append(Tab(browser, service, **options))
        return tabs[-1]

    yield make
    for tab in tabs:
        tab.context.close()
        assert tab.messages == []


def switch(page, name):
    return page.locator(f'#switches input[value="{name}"]')


def test_page_loads_only_itself_and_runs_no_other_script(open_tab, service):
    tab = open_tab()
    urls = []
    tab.page.on("request", lambda request: urls.append(request.url))
    tab.open()
    assert set(urls) <= {f"{service.url}/", f"{service.url}/v1/try", "data:,"}
    policy = service.client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    script = "const script = document.createElement('script'); script.textContent = 'window.owned = 1';"
    assert (
        tab.page.evaluate(f"() => {{ {script} document.body.append(script); return window.owned; }}") is None
    )
    assert tab.messages and all("Content Security Policy" in message for message in tab.messages)
    tab.messages.clear()


def test_slider_changes_the_page_and_cards_show_the_difference(open_tab, service):
    tab = open_tab()
    page = tab.open()
    before = tab.ids()
    page.locator("#diversity").fill("1")
    after = tab.wait_for_other_ids(before)
    plain = tab.ids("right")
    user_id = page.locator("#user").input_value()
    for ids, fields in ((after, {"diversity": 1.0}), (plain, {"without": ["rerank"]})):
        answer = service.post("/v1/try", {"user_id": user_id, **fields}).json()
        assert ids == [item["item_id"] for item in answer["items"]]
    cards = page.locator("#left .card").evaluate_all(
        "cards => cards.map(card => [card.matches('.different'), card.querySelector('.mark').textContent])"
    )
    for position, (item, (is_different, mark)) in enumerate(zip(after, cards, strict=True)):
        other = plain.index(item) if item in plain else None
        assert is_different == (other != position)
        assert mark == (
            "only here" if other is None else "" if other == position else f"other page: {other + 1}"
        )


def test_switches_skip_a_step_and_the_stage_rerank(open_tab):
    tab = open_tab()
    page = tab.open()
    before = tab.ids()
    switch(page, "prerank.quota").uncheck()
    assert tab.wait_for_other_ids(before) != before
    switch(page, "prerank.quota").check()
    page.wait_for_function(
        "ids => [...document.querySelectorAll('#left .card')].map(c => c.dataset.id).join() === ids",
        arg=",".join(before),
    )
    switch(page, "rerank").uncheck()
    tab.wait_for_other_ids(before)
    assert tab.ids() == tab.ids("right") and page.locator(".different").count() == 0
    assert not page.locator("#diversity").is_disabled()
    switch(page, "prerank.dpp").uncheck()
    assert page.locator("#diversity").is_disabled()
    assert switch(page, "prerank.index_rows").count() == 0 == switch(page, "rank.ranker").count()


def test_cards_have_reasons_and_the_table_has_times(open_tab):
    page = open_tab().open()
    assert "returned by" in page.locator("#left .card").first.inner_text()
    assert "rerank.dpp: place 1" in page.locator("#left").inner_text()
    page.locator("summary").click()
    row = page.locator("#steps tr", has_text="rank.ranker")
    assert float(row.locator("td").nth(2).inner_text()) > 0


def test_ids_of_the_platform_are_text(open_tab):
    page = open_tab().open()
    assert page.locator("#user").input_value().startswith(USER)
    assert page.locator("#left h3").first.inner_text().startswith(ITEM[:30])
    assert page.evaluate("window.owned") is None and page.locator("main img").count() == 0


def test_refusal_is_shown_and_an_absent_service_is_called_again(open_tab):
    tab = open_tab()
    n_calls = 0

    def abort_first(route):
        nonlocal n_calls
        n_calls += 1
        return route.abort() if n_calls == 1 else route.continue_()

    tab.page.route("**/v1/try", abort_first)
    tab.page.goto("/")
    tab.page.locator("#status.problem", has_text="cannot be reached").wait_for()
    tab.page.locator("#left .card").first.wait_for()
    tab.page.locator("#k").fill("500")
    tab.page.route(
        "**/v1/try", lambda route: route.fulfill(status=503, json={"title": "x", "detail": "full"})
    )
    tab.page.locator("button").click()
    tab.page.locator("#status.problem", has_text="full").wait_for()
    assert tab.page.locator(".card").count() == 0
    assert all("Failed to load resource" in message for message in tab.messages)
    tab.messages.clear()


def test_integer_ids_stay_exact(open_tab):
    page = open_tab().open()
    texts = {"007": "7", "-07": "-7", "000": "0", "9007199254740993": "9007199254740993", "7a": '"7a"'}
    for text, body in texts.items():
        assert page.evaluate("text => idToJson(text, 'integer')", text) == body
        assert page.evaluate("text => idToJson(text, 'string')", text) == f'"{text}"'
    assert (
        page.evaluate("""() => JSON.parse('{"item_id": 9007199254740993}', exact).item_id""")
        == "9007199254740993"
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_reports_nothing_and_nothing_is_wider_than_the_screen(open_tab, theme, viewport):
    page = open_tab(color_scheme=theme, viewport=viewport).open()
    page.locator("summary").click()
    violations = axe.Axe().run(page).response["violations"]
    assert [(entry["id"], entry["nodes"][0]["html"]) for entry in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_keyboard_reaches_and_operates_every_control(open_tab):
    tab = open_tab()
    page = tab.open()
    page.evaluate("document.activeElement.blur()")
    focused = []
    while "Steps and times of the page" not in focused and len(focused) < 40:
        page.keyboard.press("Tab")
        name, outline = page.evaluate("""() => { const now = document.activeElement;
            return [now.id || now.value || now.textContent.trim(), getComputedStyle(now).outlineStyle]; }""")
        focused.append(name)
        assert outline != "none", name
    expected = [
        "user",
        "scene",
        "k",
        "past",
        "Show pages",
        "diversity",
        "prerank.quota",
        "rerank",
        "rerank.dpp",
    ]
    assert [name for name in focused if name in expected] == expected
    before = tab.ids()
    page.locator("#diversity").focus()
    page.keyboard.press("End")
    middle = tab.wait_for_other_ids(before)
    switch(page, "rerank").focus()
    page.keyboard.press("Space")
    assert tab.wait_for_other_ids(middle) != middle


def test_token_is_requested_and_kept_in_the_tab(open_tab):
    tab = open_tab(has_token=False)
    page = tab.page
    page.goto("/")
    page.locator("#token:visible").wait_for()
    page.keyboard.type("not the token")
    with page.expect_response("**/v1/try") as answer:
        page.keyboard.press("Enter")
    assert answer.value.status == 401
    page.locator("#token").fill(TOKEN)
    page.keyboard.press("Enter")
    page.locator("#left .card").first.wait_for()
    assert page.evaluate("Object.values(sessionStorage)") == [TOKEN]
    assert page.evaluate("localStorage.length") == 0
    page.reload()
    page.locator("#left .card").first.wait_for()
    assert not page.locator("#token").is_visible()
    assert all("401" in message for message in tab.messages)
    tab.messages.clear()


def test_page_and_its_calls_can_be_switched_off(service):
    path = service.config
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "page = false\n", encoding="utf-8")
    service.signal(signal.SIGHUP)
    service.wait_until(lambda: service.client.get("/").status_code == 404)
    assert service.client.get("/v1/try").status_code == 404
    path.write_text(text, encoding="utf-8")
    service.signal(signal.SIGHUP)
    service.wait_until(lambda: service.client.get("/").status_code == 200)
