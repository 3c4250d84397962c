"""Events over HTTP on items of every type are effective in all workers."""

import json

import httpx
import pytest
from nine_scenes import ITEM_TYPES, ROOM_TYPES, SCENES, nine_scenes_config
from running_service import LONG_S, RunningService

USER = 3
MIXED = """
[scenes.mixed]
inherits = "home"
mix.scenes = { live = "live", song = "song_request" }
mix.caps = { live = 0.25 }
mix.guarantees = { live = 0.1, song = 0.25 }
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    path = nine_scenes_config(tmp_path_factory.mktemp("types"))
    path.write_text(path.read_text() + MIXED)
    calibration = {"stage": "rank", "scale": 0.0, "bias": 0.0, "rate": 0.5}
    calibrations = dict.fromkeys(("work", "live", "song"), calibration)
    (path.parent / "calibration.json").write_text(json.dumps({"mixed": calibrations}))
    with RunningService(path, "--workers", "2") as running:
        rooms = [("live", 70_000 + n) for n in range(9)] + [("room", 80_000 + n) for n in range(9)]
        rows = [{"event": "open", "item_type": name, "item_id": item} for name, item in rooms]
        answer = running.post("/v1/items", {"items": rows}).json()
        assert answer == {"events": 18, "refused": {}}
        follows = [{"event": "follow", "user_id": USER, "creator_id": 5000 + n} for n in range(4)]
        assert running.post("/v1/events", {"events": follows}).json()["events"] == 4
        yield running


def item_ids(service, scene, client=httpx):
    body = {"user_id": USER, "scene": scene, "k": 4}
    page = client.post(f"{service.url}/v1/recommend", json=body, timeout=LONG_S).json()
    return [item["item_id"] for item in page["items"]]


def pages_of_workers(service, scene):
    """Returns a page for each of 16 new connections, which both workers answer."""
    return [item_ids(service, scene) for _ in range(16)]


@pytest.mark.parametrize("scene", SCENES)
def test_impression_and_block_leave_out_an_item_in_both_workers(service, scene):
    service.wait_until(lambda: all(pages_of_workers(service, scene)))
    shown, blocked = item_ids(service, scene)[:2]
    item_type = ITEM_TYPES.get(scene, "work")
    impression = {"event": "impression", "user_id": USER, "item_id": shown, "item_type": item_type}
    block = {"event": "block", "item_id": blocked, "item_type": item_type}
    assert service.post("/v1/events", {"events": [impression]}).json() == {"events": 1, "refused": {}}
    assert service.post("/v1/items", {"items": [block]}).json() == {"events": 1, "refused": {}}
    gone = {blocked} if item_type in ROOM_TYPES else {shown, blocked}
    service.wait_until(lambda: not any(gone & {*page} for page in pages_of_workers(service, scene)))
    item = service.client.get(f"/v1/items/{blocked}", params={"scene": scene}).json()
    assert item["is_blocked"] and item["item_id"] == blocked
    user = service.client.get(f"/v1/users/{USER}", params={"scene": scene}).json()
    assert user["lists"]["shown"]["newest"][0] == shown


def test_closed_room_is_on_no_page_of_both_workers(service):
    service.wait_until(lambda: all(pages_of_workers(service, "live")))
    room = item_ids(service, "live")[0]
    row = {"event": "close", "item_type": "live", "item_id": room}
    assert service.post("/v1/items", {"items": [row]}).json()["events"] == 1
    service.wait_until(lambda: not any(room in page for page in pages_of_workers(service, "live")))
    misplaced = service.post("/v1/events", {"events": [row]}).json()
    assert misplaced == {"events": 0, "refused": {"close goes to /v1/items": 1}}


def test_mixed_page_has_item_types_that_events_take(service):
    service.wait_until(lambda: all(pages_of_workers(service, "live")))
    body = {"user_id": USER, "scene": "mixed", "k": 8, "shown": ["another-kind-of-id"], "explain": True}
    page = service.client.post(f"{service.url}/v1/recommend", json=body, timeout=LONG_S).json()
    types = [item["item_type"] for item in page["items"]]
    assert [item["position"] for item in page["items"]] == list(range(8))
    assert 1 <= types.count("live") <= 2 and types.count("song") >= 2 and types.count("work") >= 1
    assert all(item["score"] == 0.5 and item["sources"] and item["reason"] for item in page["items"])
    rows = [
        {"event": "impression", "user_id": USER, "scene": "mixed", "request_id": page["request_id"]}
        | {key: item[key] for key in ("item_id", "item_type", "position")}
        for item in page["items"]
    ]
    assert service.post("/v1/events", {"events": rows}).json() == {"events": 8, "refused": {}}
    user = {
        name: service.client.get(f"/v1/users/{USER}", params={"scene": scene}).json()["lists"]["shown"][
            "newest"
        ]
        for name, scene in (("work", "home"), ("live", "live"), ("song", "song_request"))
    }
    for item in page["items"]:
        assert item["item_id"] in user[item["item_type"]]
