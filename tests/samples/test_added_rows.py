"""Users and uploads that only the event log has become rows of the snapshot and ids of its maps."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_dataset import make_dataset

from karec.aggregates.advance import advance
from karec.aggregates.events import Events
from karec.catalog.impressions import Impressions
from karec.index import IdMap
from karec.samples.added_rows import with_added_rows

SNAPSHOT = make_dataset().snapshot
NEW_USER, NEW_ITEM, DELETED = 10**9, 10**9 + 1, 10**9 + 2
LATER_MS = SNAPSHOT.time_ms + 1000


def upload(item, number, creator_id=3, **columns):
    text = json.dumps(columns)
    return Events.from_columns(
        "upload", source=9, number=number, time_ms=LATER_MS, item_id=item, creator_id=creator_id, text=text
    )


def item_event(kind, item, number, **more):
    return Events.from_columns(kind, source=9, number=number, time_ms=LATER_MS + 1, item_id=item, **more)


def events(*parts):
    return Events.concatenate(parts)


def test_new_user_has_missing_columns_and_no_lists():
    shown = item_event("impression", 100, 1, user_id=NEW_USER)
    snapshot, notes = with_added_rows(SNAPSHOT, shown, None)
    row = snapshot.users.row(NEW_USER)
    assert row == len(SNAPSHOT.users) and len(snapshot.users) == row + 1
    for name, column in snapshot.users.columns.items():
        assert column.dtype == SNAPSHOT.users[name].dtype
        np.testing.assert_array_equal(column[:row], SNAPSHOT.users[name])
        is_empty = np.isnan(column[row]) if column.dtype.kind == "f" else column[row] <= 0
        assert is_empty or column[row] == 0, name
    assert all(len(relation.row_values(row)) == 0 for relation in snapshot.relations.values())
    assert notes == ["online store: 1 users that the data lack, added"]


def test_new_user_learns_from_their_impressions():
    shown = item_event("impression", 100, 1, user_id=NEW_USER)
    snapshot, _ = with_added_rows(SNAPSHOT, shown, None)
    one, scene, label = np.array([1]), np.array([0], np.int32), SNAPSHOT.meaning.enjoyed[0]
    labels = {label: np.ones(1, np.uint8)}
    exposure = Impressions(one * NEW_USER, one * 100, one * (LATER_MS + 1), scene, labels)
    later = advance(snapshot, exposure, LATER_MS + 2)
    assert later.relations["history"].row_values(later.users.row(NEW_USER)).tolist() == [100]


def test_upload_has_its_newest_values_and_counters_of_0():
    numbers = [n for n, c in SNAPSHOT.works.columns.items() if c.dtype.kind == "f" and "count" not in n]
    log = events(
        upload(NEW_ITEM, 1, **{numbers[0]: 1.5}),
        item_event("edit", NEW_ITEM, 2, text=json.dumps({numbers[0]: 2.5})),
    )
    snapshot, notes = with_added_rows(SNAPSHOT, log, None)
    row = snapshot.works.row(NEW_ITEM)
    assert row == len(SNAPSHOT.works) and snapshot.works["creator_id"][row] == 3
    assert snapshot.works["upload_ms"][row] == LATER_MS and snapshot.works[numbers[0]][row] == 2.5
    counters = [name for name in snapshot.works.columns if name.startswith("count_")]
    assert counters and all(snapshot.works[name][row] == 0 for name in counters)
    assert notes == ["online store: 1 uploads that the data lack, added"]


def test_uploads_deleted_or_blocked_since_are_left_out():
    log = events(
        upload(DELETED, 1),
        item_event("delete", DELETED, 2),
        upload(NEW_ITEM, 3),
        item_event("block", NEW_ITEM, 4),
    )
    snapshot, notes = with_added_rows(SNAPSHOT, log, None)
    assert len(snapshot.works) == len(SNAPSHOT.works) and notes == []


def test_snapshot_with_every_row_stays_as_it_is():
    known = item_event("impression", 100, 1, user_id=int(SNAPSHOT.users.ids[0]))
    snapshot, notes = with_added_rows(SNAPSHOT, known, None)
    assert notes == []
    np.testing.assert_array_equal(snapshot.users.ids, SNAPSHOT.users.ids)
    np.testing.assert_array_equal(snapshot.works.ids, SNAPSHOT.works.ids)


@pytest.fixture
def text_snapshot(tmp_path):
    """Works and creators whose ids are texts; ``tmp_path`` has their maps."""
    items = IdMap.build(["a", "b"], tmp_path / "items.karec").numbers(["a", "b"])
    creators = IdMap.build(["ann"], tmp_path / "creators.karec").numbers(["ann", "ann"])
    IdMap.build(SNAPSHOT.users.ids, tmp_path / "users.karec")
    works = SNAPSHOT.works.take(np.arange(2))
    works = replace(works, ids=items, columns={**works.columns, "creator_id": creators})
    return replace(SNAPSHOT, works=works)


def test_maps_get_the_ids_of_uploads_and_their_creators(text_snapshot, tmp_path):
    numbers = IdMap.open(tmp_path / "items.karec").numbers(["a", "c"])
    creator = int(IdMap.open(tmp_path / "creators.karec").numbers(["bob"])[0])
    log = upload(int(numbers[1]), 1, creator, id="c", creator="bob")
    snapshot, _ = with_added_rows(text_snapshot, log, tmp_path)
    items, creators = (IdMap.open(tmp_path / f"{name}.karec") for name in ("items", "creators"))
    assert items.names(snapshot.works.ids).tolist() == ["a", "b", "c"]
    assert items.numbers(["a", "c"]).tolist() == numbers.tolist()
    assert creators.names(snapshot.works["creator_id"]).tolist() == ["ann", "ann", "bob"]


def test_maps_stay_if_ids_are_numbers(tmp_path):
    for name in ("users", "items"):
        IdMap.build(SNAPSHOT.works.ids, tmp_path / f"{name}.karec")
    content = (tmp_path / "items.karec").read_bytes()
    snapshot, _ = with_added_rows(SNAPSHOT, upload(NEW_ITEM, 1, id=NEW_ITEM), tmp_path)
    assert NEW_ITEM in snapshot.works.ids and (tmp_path / "items.karec").read_bytes() == content


def test_users_map_gets_the_ids_that_events_have(tmp_path):
    """A user without an id in any event cannot have a row: pages and checks need the id."""
    old_ids = [f"u{number}" for number in range(len(SNAPSHOT.users))]
    users = IdMap.build(old_ids, tmp_path / "users.karec")
    IdMap.build(SNAPSHOT.works.ids, tmp_path / "items.karec")
    known = replace(SNAPSHOT, users=replace(SNAPSHOT.users, ids=users.numbers(old_ids)))
    new, nameless = users.numbers(["new", "nameless"]).tolist()
    log = events(
        item_event("impression", 100, 1, user_id=new, text="new"),
        item_event("impression", 107, 2, user_id=new),
        item_event("impression", 100, 3, user_id=nameless),
    )
    snapshot, notes = with_added_rows(known, log, tmp_path)
    names = IdMap.open(tmp_path / "users.karec").names(snapshot.users.ids)
    assert names.tolist() == [*old_ids, "new"]
    assert notes == ["online store: 1 users that the data lack, added"]
