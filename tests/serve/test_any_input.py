"""Any value in any field of any endpoint gets a response or a problem that names the field."""

import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.integers(),
    st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**40]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e308, 5e-324]),
)
TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from(["home", "city", "", "\x00", "u1", "1", "é" * 300, "block"])
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
FIELDS = (
    *("user_id", "scene", "k", "shown", "context", "time_ms", "request_id", "deadline_ms", "explain"),
    *("try", "other"),
)
GOOD = {
    "user_id": st.integers(0, 20),
    "scene": st.sampled_from(["home", "city"]),
    "k": st.integers(1, 50),
    "shown": st.lists(st.integers(0, 400), max_size=3),
    "context": st.dictionaries(
        st.text(max_size=5), LEAVES.filter(lambda x: not isinstance(x, int)), max_size=2
    ),
    "time_ms": st.none() | st.integers(0, 2 * 10**12),
    "deadline_ms": st.none() | st.floats(1, 60_000),
    "explain": st.booleans(),
}
REQUESTS = st.builds(
    lambda good, odd: {**good, **odd},
    st.fixed_dictionaries(
        {"user_id": GOOD["user_id"]}, optional={key: entry for key, entry in GOOD.items() if key != "user_id"}
    ),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=2),
)
ROW_KEYS = (
    *(
        "event",
        "user_id",
        "item_id",
        "creator_id",
        "labels",
        "scene",
        "position",
        "play_ms",
        "request_id",
        "time_ms",
    ),
    *("text", "id", "columns", "scale", "offset", "other"),
)
KINDS = ("impression", "label", "play", "follow", "unfollow", "search", "upload", "edit", "delete", "adjust")
ROWS = VALUES | st.builds(
    lambda kind, user, odd: {
        "event": kind,
        "user_id": user,
        "item_id": 9_000_000 + user,
        "creator_id": 3,
        **odd,
    },
    st.sampled_from(KINDS),
    st.integers(0, 20),
    st.dictionaries(st.sampled_from(ROW_KEYS), VALUES, max_size=3),
)
BOUNDED = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def posted(service, path, body):
    """Returns the response after `checked`."""
    text = json.dumps(body)  # NaN and Infinity stay as they are
    answer = service.client.post(
        path, content=text.encode("utf-8", "replace"), headers={"content-type": "application/json"}
    )
    checked(answer)
    return answer


def checked(answer: httpx.Response) -> None:
    """Checks that the response is JSON of an expected status, and a problem if it is not 200."""
    assert answer.status_code in (200, 400, 404, 422, 503), answer.text
    result = answer.json()
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert result["status"] == answer.status_code and result["title"] and result["detail"]
        assert (answer.status_code == 422) == ("field" in result)
        assert (answer.status_code == 503) == ("retry-after" in answer.headers)  # a deadline of a moment


@BOUNDED
@given(body_of_request=REQUESTS)
def test_any_request_gets_a_page_or_a_field(service, body_of_request):
    answer = posted(service, "/v1/recommend", body_of_request)
    if answer.status_code == 200:
        items = answer.json()["items"]
        assert len({item["item_id"] for item in items}) == len(items) <= body_of_request.get("k", 10)
        assert all(isinstance(item["score"], float | int) for item in items)


@BOUNDED
@given(body_of_request=st.lists(REQUESTS, min_size=1, max_size=3))
def test_any_batch_gets_pages_or_a_field(service, body_of_request):
    answer = posted(service, "/v1/recommend", {"requests": body_of_request})
    if answer.status_code == 200:
        assert len(answer.json()["pages"]) == len(body_of_request)
    elif answer.status_code == 422 and "field" in answer.json():
        assert answer.json()["field"].startswith("requests[")


@pytest.mark.parametrize("path", ["events", "items"])
@BOUNDED
@given(rows=st.lists(ROWS, max_size=4))
def test_any_row_is_stored_or_counted_as_refused(service, path, rows):
    answer = posted(service, f"/v1/{path}", {path: rows})
    if answer.status_code == 200:
        result = answer.json()
        assert result["events"] + sum(result["refused"].values()) == len(rows)


@BOUNDED
@given(body=VALUES, path=st.sampled_from(["recommend", "events", "items"]))
def test_any_json_gets_a_response(service, body, path):
    posted(service, f"/v1/{path}", body)


@BOUNDED
@given(body=st.binary(max_size=200), path=st.sampled_from(["recommend", "events", "items"]))
def test_any_bytes_get_a_response(service, body, path):
    checked(service.client.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"}))


@BOUNDED
@given(what=st.sampled_from(["users", "items"]), text=TEXTS | st.integers().map(str), scene=st.none() | TEXTS)
def test_any_id_in_a_path_gets_a_response(service, what, text, scene):
    path = "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "replace")) or "%20"
    checked(service.client.get(f"/v1/{what}/{path}", params={} if scene is None else {"scene": scene}))
