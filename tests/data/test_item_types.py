"""Tables [items.TYPE] of a data.toml: items of other types, and their works."""

import numpy as np
import pytest
from room_files import ROOMS_TOML, write_rooms, write_rows

from karec.cli import main
from karec.data.load import load
from karec.erasure import Tombstones
from karec.errors import ConfigError, DataError

TABLE = '{ path = "room_works.csv", item = "room_id", work = "sku" }'


def load_rooms(tmp_path, toml=ROOMS_TOML, change=lambda folder: None, **options):
    folder = write_rooms(tmp_path / "platform", toml)
    change(folder)
    ids = tmp_path / "ids"
    ids.mkdir(exist_ok=True)
    return load(folder, ids, **options)


def works_by_room(data, name):
    """{id of a room: ids of its works}."""
    table, works = data.dataset.item_types[name], data.dataset.snapshot.works
    relation = table.works_of(works)
    return {
        room: sorted(data.ids["items"].names(relation.row_values(row)).tolist())
        for row, room in enumerate(data.ids[f"items.{name}"].names(table.items.ids).tolist())
    }


def test_works_of_rooms_come_from_the_table_of_pairs(tmp_path):
    works = works_by_room(load_rooms(tmp_path), "live")
    assert works == {
        f"r-{room}": sorted(f"w-{room + 10 * place}" for place in range(3)) if room < 5 else []
        for room in range(8)
    }


def test_works_of_rooms_are_those_of_their_creator(tmp_path):
    works = works_by_room(load_rooms(tmp_path), "room")
    assert works["r-2"] == sorted(f"w-{work}" for work in range(2, 60, 6))
    assert works["r-6"] == works["r-7"] == []


def test_notes_count_rooms_without_works(tmp_path):
    notes = load_rooms(tmp_path).report.notes
    assert "items.live: 3 of 8 items have no work in items, so no page has them" in notes
    assert "items.room: 2 of 8 items have no work in items, so no page has them" in notes


def test_report_counts_rows_of_the_tables_of_item_types(tmp_path, capsys):
    tables = {table.name: table for table in load_rooms(tmp_path).report.tables}
    assert (tables["items.live"].rows, tables["items.live"].kept) == (8, 8)
    works = tables["items.live.works"]
    assert (works.rows, works.kept, works.unusable) == (18, 15, {})
    assert {reason: rows.count for reason, rows in works.left_out.items()} == {
        "column 'room_id': the item is not in items.live": 1,
        "column 'sku': the work is not in items": 1,
        "the same pair as another row": 1,
    }
    assert main(["data", "check", str(tmp_path / "platform")]) == 0
    assert "items.live.works" in capsys.readouterr().out


def test_category_of_rooms_has_the_codes_of_works(tmp_path):
    def add_topics(folder):
        rows = [(f"w-{work}", f"a-{work % 6}", ("songs", "news")[work % 2]) for work in range(60)]
        write_rows(folder / "works.csv", ("sku", "author", "tag"), rows)

    toml = ROOMS_TOML.replace('"author" }', '"author", tag = "tag" }')
    dataset = load_rooms(tmp_path, toml, add_topics).dataset
    live = dataset.item_types["live"]
    assert dataset.snapshot.labels["tag"] == ["news", "songs"] == live.names["tag"][:2]
    assert [live.names["tag"][code] for code in live.items["tag"][:2]] == ["talk", "songs"]


@pytest.mark.parametrize("has_text_authors", [True, False])
def test_integer_creators_of_rooms_are_those_of_works(tmp_path, has_text_authors):
    def number(folder):
        names = [f"a{work}" if has_text_authors and work % 2 else str(work % 6) for work in range(60)]
        write_rows(
            folder / "works.csv", ("sku", "author"), [(f"w-{at}", name) for at, name in enumerate(names)]
        )
        rooms = [(f"r-{room}", room, "talk") for room in range(8)]
        write_rows(folder / "rooms.csv", ("room_id", "host_id", "topic"), rooms)

    works = works_by_room(load_rooms(tmp_path, change=number), "room")
    assert works["r-2"] == sorted(f"w-{work}" for work in range(2, 60, 6))


def test_rows_of_erased_creators_works_and_rooms_are_left_out(tmp_path):
    tombstones = Tombstones(tmp_path)
    tombstones.add("creator", ["a-1"], 2**41)
    tombstones.add("item", ["w-10"], 2**41)
    tombstones.add("live", ["r-2"], 2**41)
    works = works_by_room(load_rooms(tmp_path, tombstones=[tombstones]), "live")
    assert not {"r-1", "r-2"} & works.keys() and works["r-0"] == ["w-0", "w-20"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[items.live]",
            "[items.song]",
            'songs are made of .* Delete this table, and name their column: roles.song = "COLUMN"',
        ),
        ("[items.live]", "[items.live-now]", "items.live-now: expected a name of letters, digits and _"),
        ('works = "creator"', 'works = "song"', "items.room.works = 'song' needs roles.song"),
        ('{ creator = "author" }', "{}", r"needs roles.creator under \[items.room\] and under \[items\]"),
        (
            'works = "creator"',
            'works = "host"',
            "items.room: works = 'host', expected a table or 'creator' or",
        ),
        ('works = "creator"', "", "items.room: the key 'works' is missing"),
        ('item = "room_id", work', "work", "items.live.works: the key 'item' is missing"),
        ('roles = { creator = "host_id", tag', 'role = { creator = "host_id", tag', "unknown key 'role'"),
    ],
)
def test_wrong_settings_of_an_item_type_are_refused_by_key(tmp_path, old, new, message):
    with pytest.raises(ConfigError, match=message):
        load_rooms(tmp_path, ROOMS_TOML.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "room_id"', 'id = "rom_id"', r"rooms.csv: items.live.id: no column 'rom_id' .*'room_id'"),
        ('"host_id", tag', '"hots_id", tag', r"rooms.csv: items.live.roles: no column 'hots_id' .*'host_id'"),
        ('item = "room_id"', 'item = "rooms"', r"room_works.csv: items.live.works.item: no column 'rooms'"),
        ('work = "sku"', 'work = "works"', r"room_works.csv: items.live.works.work: no column 'works'"),
        ('"rooms.csv"', '"none.csv"', r"none.csv: no such file"),
    ],
)
def test_missing_columns_and_files_of_an_item_type_are_named(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        load_rooms(tmp_path, ROOMS_TOML.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "rows", "message"),
    [
        (
            "rooms.csv",
            [],
            "rooms.csv: no row of items.live can be kept: the files have no row below the header",
        ),
        ("rooms.csv", [("", "a-1", "talk")], "column 'room_id': the item is missing"),
        ("rooms.csv", [("r-0", "x-1", "talk")], "items.room: none of the 1 items has a work in items"),
    ],
)
def test_rooms_that_cannot_be_used_are_refused(tmp_path, file, rows, message):
    def write(folder):
        write_rows(folder / file, ("room_id", "host_id", "topic"), rows)

    with pytest.raises(DataError, match=message):
        load_rooms(tmp_path, change=write)


def test_text_creators_of_rooms_are_refused_if_those_of_works_are_integers(tmp_path):
    def number(folder):
        write_rows(folder / "works.csv", ("sku", "author"), [(f"w-{work}", work % 6) for work in range(60)])

    with pytest.raises(
        DataError, match=r"rooms\.csv: creator_id holds texts such as 'a-0', expected integers"
    ):
        load_rooms(tmp_path, change=number)


def test_log_without_a_table_of_works_can_have_rooms(tmp_path):
    start, end = ROOMS_TOML.index("[items]"), ROOMS_TOML.index("[items.live]")
    toml = ROOMS_TOML[:start] + ROOMS_TOML[end:].replace('works = "creator"', f"works = {TABLE}")
    data = load_rooms(tmp_path, toml)
    assert np.diff(data.dataset.item_types["room"].works_of(data.dataset.snapshot.works).indptr).sum() == 15
