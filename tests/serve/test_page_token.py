"""Tokens of next pages."""

import hmac
import time
from base64 import urlsafe_b64encode
from contextlib import suppress

import msgspec
import pytest
from live_bundle import live_config
from running_service import RunningService, with_serve_table

from karec.serve.page_token import MAC_BYTES, MAX_TOKEN_LETTERS, VALID_S, context_of, make_token, read_token
from karec.serve.problems import ProblemError

KEY, OTHER_KEY, NOW = b"k" * 32, b"o" * 32, 1_800_000_000
CONTEXT = context_of("u1", "home", None, [], None)
SECRET = "a-key-of-all-hosts-of-the-service"


def test_token_has_pages_and_shown_items():
    token = make_token(KEY, CONTEXT, 2, ["a", 7, "b"], NOW)
    for keys in ((KEY,), (OTHER_KEY, KEY)):
        assert read_token(keys, CONTEXT, token, NOW + VALID_S) == (2, ("a", 7, "b"))


def test_token_of_a_host_whose_clock_is_ahead_is_accepted():
    token = make_token(KEY, CONTEXT, 1, [1], NOW)
    assert read_token((KEY,), CONTEXT, token, NOW - 2) == (1, (1,))


def test_token_leaves_out_the_oldest_items_beyond_its_length():
    shown = [f"a-long-id-of-an-item-{number:06d}" for number in range(2_000)]
    token = make_token(KEY, CONTEXT, 200, shown, NOW)
    _, ids = read_token((KEY,), CONTEXT, token, NOW)
    assert MAX_TOKEN_LETTERS * 0.8 < len(token) <= MAX_TOKEN_LETTERS and list(ids) == shown[-len(ids) :]


@pytest.mark.parametrize(
    ("key", "context", "later_s", "message"),
    [
        (OTHER_KEY, CONTEXT, 0, "damaged, or another service"),
        (KEY, context_of("u2", "home", None, [], None), 0, "of a request with another user"),
        (KEY, CONTEXT, VALID_S + 1, "older than"),
    ],
)
def test_token_of_another_key_request_or_hour_is_refused(key, context, later_s, message):
    token = make_token(KEY, CONTEXT, 1, [1], NOW)
    with pytest.raises(ProblemError, match=message):
        read_token((key,), context, token, NOW + later_s)


def test_changed_token_is_refused():
    token = make_token(KEY, CONTEXT, 1, [1, 2, 3], NOW)
    for place in range(len(token)):
        letter = "A" if token[place] != "A" else "B"
        changed = token[:place] + letter + token[place + 1 :]
        with suppress(ProblemError):  # bits of the padding may change
            assert read_token((KEY,), CONTEXT, changed, NOW) == (1, (1, 2, 3))
    for text in ("", "a", "ä" * 8, "!" * 40, token[:20]):
        with pytest.raises(ProblemError, match="damaged"):
            read_token((KEY,), CONTEXT, text, NOW)


def test_token_of_another_version_is_refused():
    content = msgspec.msgpack.encode([CONTEXT, 1])
    mac = hmac.digest(KEY, content, "sha256")[:MAC_BYTES]
    with pytest.raises(ProblemError, match="another version"):
        read_token((KEY,), CONTEXT, urlsafe_b64encode(mac + content).decode(), NOW)


@pytest.fixture(scope="module")
def paged(tmp_path_factory):
    """A service with a key and the filter not_shown."""
    path = live_config(tmp_path_factory.mktemp("pages"))
    rows = '{ use = "index_rows" }'
    path.write_text(path.read_text().replace(rows, rows + ', { use = "not_shown" }'))
    with_serve_table(path, 'max_queue_ms = 60_000\npage_key = "env:KAREC_TEST_PAGE_KEY"')
    with RunningService(path, "--workers", "2", KAREC_TEST_PAGE_KEY=SECRET) as running:
        yield running


def test_next_pages_repeat_no_item(paged):
    page, seen = paged.ask(1, k=4), []
    for _ in range(4):
        ids = [item["item_id"] for item in page["items"]]
        assert len(ids) == 4 and {*ids}.isdisjoint(seen)
        seen += ids
        page = paged.ask(1, k=4, after=page["next"])


def test_next_page_of_another_request_is_refused(paged):
    token = paged.ask(1, k=4, exclude_ids=[1])["next"]
    for body in ({"user_id": 2}, {"user_id": 1}, {"user_id": 1, "exclude_ids": [2]}):
        answer = paged.post("/v1/recommend", {**body, "after": token})
        assert answer.status_code == 400 and answer.json()["field"] == "after", answer.text
    batch = paged.post("/v1/recommend", {"requests": [{"user_id": 1}, {"user_id": 1, "after": "x"}]})
    assert batch.status_code == 400 and batch.json()["field"] == "requests[1].after"


def test_service_without_a_key_has_no_next_pages(service):
    assert "next" not in service.ask(1)
    token = make_token(KEY, CONTEXT, 1, [1], int(time.time()))
    answer = service.post("/v1/recommend", {"user_id": 1, "after": token})
    assert answer.status_code == 422 and "page_key" in answer.json()["detail"]
