"""A library version has the uploads of the kept works; its events change the version before into it."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_uploads import SETTINGS, day, write_uploads

from karec.data.load import load
from karec.errors import DataError
from karec.online.parse_events import KEYS
from karec.screening.library_version import write_library_version
from karec.screening.screen import screen
from karec.screening.settings import read_settings
from karec.screening.upload_screening import UploadScreening

KINDS = ("upload", "delete")
START_S = 1_793_923_200  # the day after the last upload
TEXT = SETTINGS.replace('vector = "vector"', 'vector = "vector"\ncreator = "creator"')
DATA_TOML = """
[events]
path = "log.csv"
columns = {{ user = "user", item = "item", time = "time" }}
[labels]
like = {{ column = "like" }}
[meaning]
enjoyed = ["like"]
[items]
path = "{}"
id = "id"
roles = {{ creator = "creator", published = "day" }}
"""


def screen_until(path, out, last, **options):
    """Returns the table of the version, its rows by id, and its events."""
    settings = read_settings(path)
    screen(settings, out, last=last)
    table, events = write_library_version(settings, out, last, **options)
    rows = {row["id"]: row for row in pq.read_table(table).to_pylist()}
    return table, rows, [] if events is None else [*map(json.loads, events.read_text().splitlines())]


@pytest.fixture(scope="module")
def versions(days, tmp_path_factory):
    """Two versions of one library, one day after the other."""
    folder = tmp_path_factory.mktemp("versions")
    path = write_uploads(folder, days, TEXT)
    return [screen_until(path, folder / "out", day(number)) for number in (3, 4)]


def apply(events, ids):
    """Returns the ids after the events."""
    changed = {event: {line["item_id"] for line in events if line["event"] == event} for event in KINDS}
    return (ids | changed["upload"]) - changed["delete"]


def qualities(rows):
    return {id: row["quality"] for id, row in rows.items()}


def test_version_has_the_uploads_of_the_kept_works_with_quality(versions, days):
    table, rows, _ = versions[1]
    kept = pq.read_table(table.parent.parent / "kept.parquet").to_pylist()
    assert qualities(rows) == {row["id"]: row["quality"] for row in kept}
    for row in rows.values():
        columns = days[(row["day"] - day(0)).days]
        (at,) = np.flatnonzero(columns["id"] == row["id"])
        assert (row["creator"], row["height"]) == (columns["creator"][at], columns["height"][at])
        assert row["seconds"] == columns["seconds"][at] and len(row["vector"]) == len(columns["vector"][at])


def test_events_change_the_version_before_into_this_one(versions):
    (_, before, no_events), (_, after, events) = versions
    assert no_events == []
    expected_ids = {"upload": after.keys() - before.keys(), "delete": before.keys() - after.keys()}
    for event, ids in expected_ids.items():
        assert ids and {line["item_id"] for line in events if line["event"] == event} == ids
    assert len({line["event_id"] for line in events}) == len(events)
    assert all(line.keys() <= {*KEYS} for line in events)
    for line in events:
        if line["event"] == "upload":
            row = after[line["item_id"]]
            assert line["creator_id"] == row["creator"]
            expected = {name: row[name] for name in ("song", "height", "type", "fans", "quality")}
            assert expected.items() <= line["columns"].items() and "vector" not in line["columns"]


def test_data_toml_takes_a_version_as_its_items(versions, tmp_path):
    table, rows, _ = versions[1]
    ids = [*rows][:12]
    lines = [f"{n % 8},{ids[n % 12]},{START_S + n * 600},{n // 7 % 2}" for n in range(720)]
    (tmp_path / "log.csv").write_text("user,item,time,like\n" + "\n".join(lines) + "\n")
    (tmp_path / "data.toml").write_text(DATA_TOML.format(table.parent / "current.parquet"))
    works = load(tmp_path, tmp_path, now_ms=(START_S + 720 * 600) * 1000).dataset.snapshot.works
    quality = dict(zip(works.ids.tolist(), works["quality"].tolist(), strict=True))
    assert quality == pytest.approx(qualities(rows))


def test_quality_of_the_screening_replaces_a_column_of_its_name(days, tmp_path):
    named = {number: {**columns, "quality": columns["fans"]} for number, columns in days.items()}
    path = write_uploads(tmp_path, named, TEXT)
    screen_until(path, tmp_path / "out", day(2))
    _, rows, events = screen_until(path, tmp_path / "out", day(3))
    kept = pq.read_table(tmp_path / "out" / "kept.parquet").to_pylist()
    assert qualities(rows) == {row["id"]: row["quality"] for row in kept}
    uploads = [line for line in events if line["event"] == "upload"]
    assert all(line["columns"]["quality"] == rows[line["item_id"]]["quality"] for line in uploads)


def test_version_written_again_has_equal_files(days, tmp_path):
    path = write_uploads(tmp_path, days, TEXT)
    contents = []
    for last in (day(2), day(3), day(3)):
        table, _, _ = screen_until(path, tmp_path / "out", last)
        contents.append([file.read_bytes() for file in sorted(table.parent.glob(f"{last}.*"))])
    assert contents[1] == contents[2] and len(contents[1]) == 2
    assert (table.parent / "current.parquet").resolve() == table


def test_events_of_a_day_screened_again_also_undo_its_former_events(days, tmp_path):
    path = write_uploads(tmp_path, days, TEXT)
    _, first, _ = screen_until(path, tmp_path / "out", day(3))
    live, known_ids = {*first}, set()
    for keep in (60, 20, 20, 60):
        path.write_text(re.sub(r"(?m)^keep = .*", f"keep = {keep}", path.read_text()))
        _, rows, events = screen_until(path, tmp_path / "out", day(4))
        new_events = [line for line in events if line["event_id"] not in known_ids]  # others count once
        live, known_ids = apply(new_events, live), known_ids | {line["event_id"] for line in events}
        assert live == rows.keys()


def test_versions_before_the_last_two_are_removed(days, tmp_path):
    path = write_uploads(tmp_path, days, TEXT)
    for number in (1, 2, 3):
        table, _, _ = screen_until(path, tmp_path / "out", day(number))
    names = {file.name for file in table.parent.iterdir()}
    last_two = {f"{day(number)}.{end}" for number in (2, 3) for end in ("parquet", "jsonl")}
    assert names == {"current.parquet", *last_two}


def test_version_of_uploads_without_creators_is_refused(days, tmp_path):
    path = write_uploads(tmp_path, days)
    screen(read_settings(path), tmp_path / "out")
    with pytest.raises(DataError, match=r"no column 'creator_id'\. Name it in columns\.creator of screen"):
        write_library_version(read_settings(path), tmp_path / "out", day(4))


def test_events_to_an_earlier_day_change_the_current_version_into_it(days, tmp_path):
    path = write_uploads(tmp_path, days, TEXT)
    _, first, _ = screen_until(path, tmp_path / "out", day(3))
    _, second, forward = screen_until(path, tmp_path / "out", day(4))
    table, third, back = screen_until(path, tmp_path / "out", day(3))
    assert apply(forward, first.keys()) == second.keys()
    assert third.keys() == first.keys() and apply(back, second.keys()) == third.keys()
    assert {line["event_id"] for line in forward}.isdisjoint(line["event_id"] for line in back)
    assert (table.parent / "current.parquet").resolve() == table


def test_live_uploads_that_are_not_kept_are_deleted(days, tmp_path):
    path = write_uploads(tmp_path, days, TEXT)
    _, before, _ = screen_until(path, tmp_path / "out", day(3))
    _, after, events = screen_until(path, tmp_path / "out", day(4), has_live_uploads=True)
    live = {*days[4]["id"].tolist()}
    deleted = {line["item_id"] for line in events if line["event"] == "delete"}
    assert (before.keys() - after.keys()) < deleted <= (before.keys() | live) - after.keys()
    screening = UploadScreening(path)
    accepted = {
        row["id"]
        for row in pq.read_table(tmp_path / "uploads" / f"day={day(4)}").to_pylist()
        if not screening.rejection_reason(row)
    }
    assert accepted - after.keys() <= deleted
    assert apply(events, before.keys() | accepted) == after.keys()
