"""Tests that the events of an online store extend a dataset."""

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from replayed_log import events_of, head_of, write_store
from small_dataset import make_dataset

from karec.aggregates.events import Events, Head
from karec.catalog.item_types import ItemTable
from karec.catalog.table import Table
from karec.errors import DataError, LogSchemaError
from karec.online.event_files import EventFiles
from karec.online.export import export_events
from karec.online.read_log import EventSource
from karec.online.store.online_store import START
from karec.online.store.sqlite import SqliteStore
from karec.refresh.item_types import role_tables
from karec.samples.from_events import newest_append_ms, with_events
from karec.times import DAY_MS

BASE = make_dataset().snapshot
KNOWN = 500  # exposures that the data contain; the log has the rest


@pytest.fixture
def known(dataset):
    """The dataset as it was before the log began."""
    return replace(dataset, exposures=dataset.exposures.take(slice(0, KNOWN)))


def write(path, *events, head, now_ms=None):
    """Stores events. ``path``: a file, or the source of a former call. Returns the source."""
    if isinstance(path, EventSource):
        path = Path(path.url.removeprefix("sqlite:"))
    return EventSource(write_store(path, BASE, head, *events, now_ms=now_ms))


@pytest.fixture
def store_source(dataset, tmp_path):
    """The store of the exposures that ``known`` lacks."""
    head = head_of(dataset)
    events = events_of(dataset.exposures.take(slice(KNOWN, None)), head)
    return write(tmp_path / "online.db", events.take(slice(50)), events.take(slice(50, None)), head=head)


def of_user_1(kind, time_ms, work, number, **added):
    return Events.from_columns(
        kind, source=9, number=number, time_ms=time_ms, user_id=1, item_id=work, **added
    )


def rows(exposures):
    columns = [exposures.user_id, exposures.work_id, exposures.time_ms, exposures.scene, exposures.play_ms]
    return sorted(zip(*(column.tolist() for column in (*columns, *exposures.labels.values())), strict=True))


def test_with_events_restores_rows_that_the_data_lack(dataset, known, store_source):
    extended = with_events(known, store_source)
    assert rows(extended.exposures) == rows(dataset.exposures)
    assert (np.diff(extended.exposures.time_ms) >= 0).all()
    assert "100 exposures added to 500 of the data" in extended.notes[-1]


def test_with_events_reads_exported_days_and_the_store(dataset, known, store_source, tmp_path):
    store = SqliteStore(Path(store_source.url.removeprefix("sqlite:")))
    files = EventFiles(str(tmp_path / "events"))
    last_ms = int(dataset.exposures.time_ms[-1])
    last_day = datetime.datetime.fromtimestamp(last_ms / 1e3, datetime.UTC).date()
    exported = export_events(store, head_of(dataset), files, last_day, last_ms + 9 * DAY_MS)
    assert 0 < exported.n_events < 100 == exported.n_events + len(store.poll(START, 200).events)
    store.close()
    extended = with_events(known, EventSource(store_source.url, files.display))
    assert rows(extended.exposures) == rows(dataset.exposures)


def test_exposures_in_data_and_log_count_once(dataset, store_source):
    with pytest.raises(
        DataError,
        match=r"none of 100 exposures is usable.*100 exposures that the data contain "
        r"already",
    ):
        with_events(dataset, store_source)
    larger = replace(dataset, exposures=dataset.exposures.take(slice(0, KNOWN + 60)))
    extended = with_events(larger, store_source)
    assert rows(extended.exposures) == rows(dataset.exposures)
    assert "60 exposures that the data contain already, left out" in extended.notes[-1]


def test_positions_of_events_count_from_1_if_the_data_have_positions(dataset, known, tmp_path):
    head = head_of(dataset)
    events = events_of(dataset.exposures.take(slice(KNOWN, None)), head)
    position = np.arange(len(events), dtype=np.int32) % 5 - 1  # -1 is unknown, 0 the first
    source = write(tmp_path / "online.db", replace(events, position=position), head=head)
    with_positions = replace(known, exposures=replace(known.exposures, position=np.full(KNOWN, 7, np.int16)))
    result = with_events(with_positions, source).exposures.position
    assert result.dtype == np.int16 and sorted(result) == sorted([7] * KNOWN + (position + 1).tolist())
    assert with_events(known, source).exposures.position is None


def test_newest_day_is_test_and_the_day_before_is_validation(known, store_source):
    extended = with_events(known, store_source)
    train, valid, test = extended.split()
    assert len(train) and len(valid) and len(test)
    last = int(extended.exposures.time_ms[-1])
    assert (test.time_ms > last - DAY_MS).all() and test.time_ms[-1] == last
    assert (valid.time_ms > valid.time_ms[-1] - DAY_MS).all() and valid.time_ms[-1] <= last - DAY_MS
    assert train.time_ms[-1] <= valid.time_ms[-1] - DAY_MS


def test_validation_day_skips_days_without_exposures(dataset, tmp_path):
    head, late = head_of(dataset), dataset.exposures.take(slice(-30, None))
    late = replace(late, time_ms=late.time_ms + 40 * DAY_MS)
    extended = with_events(dataset, write(tmp_path / "online.db", events_of(late, head), head=head))
    _, valid, test = extended.split()
    assert len(test) <= 30 and valid.time_ms[-1] == dataset.exposures.time_ms[-1]


def test_later_label_and_play_belong_to_the_last_exposure_before(known, store_source, dataset):
    moment, work = int(dataset.exposures.time_ms[-1]), int(dataset.snapshot.works.ids[3])
    like = np.uint64(1 << head_of(dataset).labels.index("like"))
    write(
        store_source,
        of_user_1("impression", moment + 1, work, 1),
        of_user_1("impression", moment + 5, work, 2),
        of_user_1("label", moment + 7, work, 3, labels=like),
        of_user_1("play", moment + 8, work, 4, play_ms=7_000),
        of_user_1("impression", moment + 9, work, 5),
        of_user_1("label", moment + 9, int(dataset.snapshot.works.ids[4]), 6, labels=like),
        head=head_of(dataset),
    )
    extended = with_events(known, store_source)
    late = extended.exposures.take(extended.exposures.time_ms > moment)
    assert (late.time_ms - moment).tolist() == [1, 5, 9]
    assert late.labels["like"].tolist() == [0, 1, 0] and late.play_ms.tolist() == [0, 7_000, 0]
    assert late.labels["click"].tolist() == [0, 0, 0]


def test_feedback_of_the_newest_day_is_not_used_for_earlier_exposures(known, store_source, dataset):
    moment, works = int(dataset.exposures.time_ms[-1]), dataset.snapshot.works.ids[:3].tolist()
    like, late = np.uint64(1 << head_of(dataset).labels.index("like")), moment + 2 * DAY_MS
    write(
        store_source,
        of_user_1("impression", moment + 1, works, np.arange(3)),
        of_user_1("label", moment + 2, works[0], 3, labels=like),
        of_user_1("impression", late, works[2], 4),
        of_user_1("label", [late + 1] * 3, works, [5, 6, 7], labels=like),
        of_user_1("play", late + 1, works[1], 8, play_ms=7_000),
        of_user_1("impression", late + 2, works[1], 9),
        head=head_of(dataset),
    )
    extended = with_events(known, store_source)
    assert moment + 2 < extended.valid_until_ms <= late
    added = extended.exposures.take(extended.exposures.time_ms > moment)
    rows_found = zip(
        (added.time_ms - moment).tolist(), added.work_id.tolist(), added.labels["like"].tolist(), strict=True
    )
    earlier, newest = [(1, works[0], 1), (1, works[1], 0), (1, works[2], 0)], 2 * DAY_MS
    assert sorted(rows_found) == sorted([*earlier, (newest, works[2], 1), (newest + 2, works[1], 0)])
    assert not added.play_ms.any()
    note = "online store: 3 labels and plays on the newest day of exposures before it, left out"
    assert note in extended.notes


def test_feedback_on_an_exposure_in_the_data_moves_to_no_other(dataset, tmp_path):
    head, last = head_of(dataset), dataset.exposures.take(slice(-1, None))
    earlier = replace(
        last, time_ms=last.time_ms - 1, labels={name: 0 * column for name, column in last.labels.items()}
    )
    moment, user, work = int(last.time_ms[0]), int(last.user_id[0]), int(last.work_id[0])
    feedback = Events.from_columns(
        "label", source=8, number=1, time_ms=moment + 1, user_id=user, item_id=work,
        labels=np.uint64(1 << head.labels.index("like")),
    )  # fmt: skip
    shown = Events.concatenate([events_of(earlier, head), events_of(last, head)])
    shown = replace(shown, number=np.arange(2, dtype=np.uint64))
    extended = with_events(
        dataset, write(tmp_path / "online.db", shown, feedback, head=head, now_ms=moment + 1)
    )
    row = np.flatnonzero((extended.exposures.time_ms == moment - 1) & (extended.exposures.user_id == user))
    assert extended.exposures.work_id[row].tolist() == [work] and extended.exposures.labels["like"][
        row
    ].tolist() == [0]
    assert "online store: 1 labels and plays without a usable exposure, left out" in extended.notes


def test_unknown_users_are_added_and_unknown_items_are_left_out(known, store_source, dataset):
    moment, work = int(dataset.exposures.time_ms[-1]) + 1, int(dataset.snapshot.works.ids[0])
    unknown_user = Events.from_columns(
        "impression", source=9, number=1, time_ms=moment, user_id=10**9, item_id=work
    )
    write(store_source, unknown_user, of_user_1("impression", moment, 10**9, 2), head=head_of(dataset))
    extended = with_events(known, store_source)
    assert rows(extended.exposures)[-1][:3] == (10**9, work, moment)
    assert len(extended.exposures) == len(dataset.exposures) + 1
    assert "online store: 1 users that the data lack, added" in extended.notes
    assert "online store: 1 exposures of unknown items, left out" in extended.notes


def test_scene_only_in_the_log_becomes_unknown(known, dataset, tmp_path):
    head = Head(tuple(dataset.exposures.labels), ("elsewhere", "city"))
    moment, works = int(dataset.exposures.time_ms[-1]) + 1, dataset.snapshot.works.ids[:3].tolist()
    shown = [
        of_user_1("impression", moment + position, work, position, scene=position - 1)
        for position, work in enumerate(works)
    ]
    added = of_user_1("impression", moment + 9, works[0], 9, labels=np.uint64(1))
    extended = with_events(known, write(tmp_path / "online.db", *shown, added, head=head))
    scenes = dataset.snapshot.labels["scene"]
    assert extended.exposures.scene[-4:].tolist() == [-1, -1, scenes.index("city"), -1]


def test_empty_store_is_refused_for_training(known, dataset, tmp_path):
    url = write(tmp_path / "online.db", head=head_of(dataset))
    with pytest.raises(DataError, match="the online store has no events"):
        newest_append_ms(url)
    with pytest.raises(DataError, match="none of 0 exposures is usable"):
        with_events(known, url)
    for name in ("nowhere.db", "."):
        with pytest.raises(LogSchemaError, match="no online store, expected the file of a service"):
            newest_append_ms(EventSource(f"sqlite:{tmp_path / name}"))
    assert not (tmp_path / "nowhere.db").exists()


def test_event_log_without_the_datas_labels_is_refused(known, tmp_path):
    folder = write(tmp_path / "online.db", head=Head(("click", "like")))
    with pytest.raises(
        LogSchemaError,
        match=r"labels are \['click', 'like'\], expected also \['long_view', "
        r"'follow'\]",
    ):
        with_events(known, folder)


def test_newest_day_with_one_class_is_refused(known, dataset, tmp_path):
    moment = int(dataset.exposures.time_ms[-1]) + 10 * DAY_MS
    shown = of_user_1(
        "impression", moment, dataset.snapshot.works.ids, np.arange(len(dataset.snapshot.works))
    )
    folder = write(tmp_path / "online.db", shown, head=head_of(dataset))
    with pytest.raises(
        DataError,
        match=r"in the 40 exposures of the newest day each task .* has only one value",
    ):
        with_events(known, folder)


def test_too_few_days_for_training_are_refused(dataset, tmp_path):
    head, last = head_of(dataset), dataset.exposures.take(slice(-20, None))
    none = replace(dataset, exposures=dataset.exposures.take(slice(0, 0)))
    with pytest.raises(DataError, match="span too few days"):
        with_events(none, write(tmp_path / "online.db", events_of(last, head), head=head))


def test_events_of_an_item_type_become_its_impressions(dataset, known, tmp_path):
    """Unknown rooms and labels of the newest day are left out."""
    head = head_of(dataset)
    head = Head((*head.labels, "join"), head.scenes)
    of_works = events_of(dataset.exposures.take(slice(KNOWN, None)), head_of(dataset))
    first_ms, last_ms = int(known.exposures.time_ms[0]), int(dataset.exposures.time_ms[-1])

    def of_room(kind, time_ms, room, number, **added):
        return of_user_1(kind, time_ms, room, number, item_type="room", **added)

    join = np.uint64(1) << np.uint64(head.labels.index("join"))
    of_rooms = Events.concatenate(
        [
            of_room("impression", first_ms, 7, 1),
            of_room("impression", first_ms + 1, 8, 2),
            of_room("impression", first_ms + 2, 99, 3),
            of_room("label", first_ms + 3, 8, 4, labels=join),
        ]
    )
    late_label = of_room("label", last_ms, 7, 5, labels=join)
    source = write(tmp_path / "online.db", of_rooms, of_works, late_label, head=head)
    rooms = ItemTable(
        Table(np.array([7, 8]), {"creator_id": np.array([5000, 5001])}), {}, "creator", ("join",)
    )
    extended = with_events(replace(known, item_types={"room": rooms}), source)
    impressions = extended.item_types["room"].impressions
    assert (impressions.user_id.tolist(), impressions.work_id.tolist()) == ([1, 1], [7, 8])
    assert impressions.labels["join"].tolist() == [0, 1] and impressions.play_ms is None
    assert rows(extended.exposures) == rows(dataset.exposures)
    assert "1 impressions of the item type room of unknown users or items, left out" in extended.notes[-1]


def test_events_of_songs_become_impressions_of_a_type_that_the_data_lack(dataset, known, tmp_path):
    """Songs and creators are made of works. Creators have no impressions here, so they are not added."""
    head = head_of(dataset)
    song, first_ms = int(dataset.snapshot.works["song_id"].max()), int(known.exposures.time_ms[0])
    of_song = of_user_1("impression", first_ms, song, 1, item_type="song", labels=np.uint64(1))
    of_works = events_of(dataset.exposures.take(slice(KNOWN, None)), head)
    source = write(tmp_path / "online.db", of_song, of_works, head=head)
    assert with_events(known, source).item_types == {}
    extended = with_events(known, source, tables_of=role_tables)
    assert list(extended.item_types) == ["song"]
    table = extended.item_types["song"]
    assert table.impressions.work_id.tolist() == [song]
    assert table.impressions.labels[head.labels[0]].tolist() == [1]
    works = table.works_of(extended.snapshot.works)
    row = int(table.items.lookup(np.array([song]))[0])
    begin, end = works.indptr[row : row + 2]
    is_of_song = extended.snapshot.works["song_id"] == song
    np.testing.assert_array_equal(
        np.sort(works.values[begin:end]), np.asarray(extended.snapshot.works.ids)[is_of_song]
    )
