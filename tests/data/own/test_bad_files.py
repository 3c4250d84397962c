"""What is wrong with files is told in one line: file, line, column, what to do. Good rows are kept if one wants it."""

import gzip
import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_files import HEAD, NOW_MS, START_S, TOML, iso, shop_rows, write_log, write_shop

from karec.data.own.load import load
from karec.errors import ConfigError, DataError

N = 400
GOODS = '[items]\npath = "goods.csv"\nid = "sku"\n'


def lines_of(folder):
    return (folder / "log.csv").read_bytes().decode().replace("\r\n", "\n").splitlines()


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path / "shop", shop_rows(N))


@pytest.fixture
def refused(tmp_path):
    """``refused(folder)``: the one line with which it is refused."""

    def refused(folder, error=DataError, **options):
        ids = tmp_path / "ids"
        ids.mkdir(exist_ok=True)
        with pytest.raises(error) as raised:
            load(folder, ids, now_ms=NOW_MS, **options)
        assert "\n" not in str(raised.value) and "Error:" not in str(raised.value)
        return str(raised.value)

    return refused


def cells(row, **other):
    return ",".join(str(other.get(name, cell)) for name, cell in zip(HEAD, row, strict=True))


ROW = shop_rows(N)[0]
BAD_LINES = {
    "no user": (cells(ROW, customer=""), "column 'customer': the user is missing"),
    "no item": (cells(ROW, sku="NA"), "column 'sku': the item is missing"),
    "no time": (cells(ROW, at=""), "column 'at': the time is missing"),
    "long id": (cells(ROW, customer="ü" * 129), "column 'customer': the user is longer than 256 bytes"),
    "no moment": (
        cells(ROW, at="yesterday"),
        "column 'at': no time: a number of s, ms, us or ns since 1970, or ISO 8601",
    ),
    "1970": (cells(ROW, at=12), "column 'at': the time is before the year 2000"),
    "future": (cells(ROW, at=NOW_MS // 1000 + 100_000), "column 'at': the time lies in the future"),
    "mixed types": (cells(ROW, stars="many"), "column 'stars': no finite number"),
    "infinite": (cells(ROW, stars="inf"), "column 'stars': no finite number"),
    "too few cells": ("c-01,sku 1", "missing columns"),
    "too many cells": (cells(ROW) + ",more", "too many columns"),
    "not UTF-8": (cells(ROW, page="?").encode() + b"\xff\xfe", "not UTF-8: write it so, or say encoding"),
}


@pytest.mark.parametrize("at", [0, 17, N])
@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_row_is_told_with_its_line_and_left_out_if_wanted(shop, refused, read, name, at):
    line, why = BAD_LINES[name]
    lines = [each.encode() for each in lines_of(shop)]
    lines.insert(1 + at, line if isinstance(line, bytes) else line.encode())
    (shop / "log.csv").write_bytes(b"\n".join(lines) + b"\n")
    told = refused(shop)
    assert told.startswith(f"log.csv:{2 + at}: {why}") and "--skip-bad" in told
    report = read(shop, skip_bad=True).report.tables[0]
    assert (report.rows, report.kept) == (N + 1, N)
    assert [(reason.count, reason.places) for reason in report.bad.values()] == [(1, (f"log.csv:{2 + at}",))]


def test_a_quote_that_never_ends_is_told(shop, refused, read):
    with (shop / "log.csv").open("a", newline="") as file:
        file.write(cells(ROW, sku='"sku') + "\n")
    assert refused(shop).startswith(f"log.csv:{N + 2}: unquoted value")
    assert read(shop, skip_bad=True).report.tables[0].kept == N


def test_lines_are_counted_past_quoted_newlines_empty_lines_and_broken_lines(shop, read):
    lines = lines_of(shop)
    lines[3] = lines[3].replace("home", '"two\nlines"').replace("search", '"two\nlines"')
    lines.insert(8, "")
    lines.insert(10, "c-01,short")
    lines.insert(20, cells(ROW, at="never"))
    text = "\n".join(lines)
    (shop / "log.csv").write_text(text + "\n", encoding="utf-8")
    physical = text.split("\n")
    bad = read(shop, skip_bad=True).report.tables[0].bad
    assert {why.split(":")[0]: reason.places for why, reason in bad.items()} == {
        "missing columns": (f"log.csv:{1 + physical.index('c-01,short')}",),
        "column 'at'": (f"log.csv:{1 + physical.index(cells(ROW, at='never'))}",),
    }


def test_the_rows_of_the_second_file_are_told_by_its_name(shop, read):
    rows = shop_rows(N)
    (shop / "log").mkdir()
    write_log(shop / "log", rows[:300], name="a")
    write_log(shop / "log", [*rows[300:], ("", *ROW[1:])], name="b")
    (shop / "data.toml").write_text(TOML.replace("log.{ending}", "log").replace("{{", "{").replace("}}", "}"))
    (reason,) = read(shop, skip_bad=True).report.tables[0].bad.values()
    assert reason.places == (f"b.csv:{N - 300 + 2}",)


BAD_JSON = {
    "broken": (b'{"customer": "c', "not a JSON object"),
    "a list": (b"[1, 2]", "not a JSON object"),
    "not UTF-8": (b'{"customer": "\xff\xfe"}', "not UTF-8"),
    "no time": (b'{"customer": "c-01", "sku": "sku 1"}', "column 'at': the time is missing"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_a_bad_line_of_json_is_told_with_its_number(tmp_path, refused, read, name):
    shop = write_shop(tmp_path / "shop", shop_rows(N), "jsonl")
    line, why = BAD_JSON[name]
    lines = (shop / "log.jsonl").read_bytes().splitlines()
    lines[30:30] = [b"", line]
    (shop / "log.jsonl").write_bytes(b"\n".join(lines) + b"\n\n")
    assert refused(shop).startswith(f"log.jsonl:32: {why}")
    assert read(shop, skip_bad=True).report.tables[0].kept == N


def test_a_key_that_appears_late_is_a_column(tmp_path, read):
    rows = shop_rows(3000)
    shop = write_shop(tmp_path / "shop", [(*row[:4], None) for row in rows[:2500]] + rows[2500:], "jsonl")
    assert set(read(shop).dataset.snapshot.labels["scene"]) == {"home", "search"}


FILES = {
    "no bytes": (b"", r"log\.csv is empty"),
    "header only": (",".join(HEAD).encode() + b"\n", r"nothing of events can be kept.*no row below the header"),
    "named twice": (b"customer,sku,at,at,stars,page\n", r"line 1: the column 'at' is named twice"),
    "no name": (b"customer,sku,at,,stars\n", r"line 1: column 4 has no name"),
    "binary": (b"\xff\xfe\x00\x01" * 50, r"line 1: the header cannot be read as utf-8"),
    "another column": (
        b"customer,skus,at,stars,page\nc,i,1700000000,3,home\n",
        r"no column 'sku' \(did you mean 'skus'\?\)",
    ),
    "all bad": (b"customer,sku,at,stars,page\nc,i,never,3,home\n", r"nothing of events can be kept.*log\.csv:2"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_file_of_which_nothing_can_be_kept_is_refused(shop, refused, name, skip_bad):
    held, why = FILES[name]
    (shop / "log.csv").write_bytes(held)
    told = refused(shop, skip_bad=skip_bad)
    assert "log.csv" in told
    import re

    assert re.search(why, told), told


def test_what_a_path_must_not_name(shop, refused):
    (shop / "log.csv").unlink()
    assert "log.csv names no file" in refused(shop)
    os.mkfifo(shop / "log.csv")
    assert "log.csv is no regular file" in refused(shop)
    (shop / "log.csv").unlink()
    (shop / "log.csv").mkdir()
    assert "log.csv names no file" in refused(shop)
    write_log(shop / "log.csv", shop_rows(3))
    write_log(shop / "log.csv", shop_rows(3), "jsonl")
    assert "files of several formats, csv, jsonl" in refused(shop)
    (shop / "data.toml").write_text((shop / "data.toml").read_text().replace("log.csv", "log.xlsx"))
    (shop / "log.xlsx").write_bytes(b"PK")
    assert "what format it has is told by its ending" in refused(shop)


def test_files_of_a_table_have_the_same_columns(shop, refused):
    (shop / "data.toml").write_text((shop / "data.toml").read_text().replace("log.csv", "*.csv"))
    write_log(shop, [row[:4] for row in shop_rows(5)], head=HEAD[:4], name="other")
    assert "other.csv has the columns ['customer', 'sku', 'at', 'stars']" in refused(shop)


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_a_file_that_is_cut_short_is_refused(tmp_path, refused, ending):
    shop = write_shop(tmp_path / "shop", shop_rows(N), "parquet", TOML.replace("log.{ending}", f"log.{ending}"))
    path = shop / f"log.{ending}"
    if ending == "csv.gz":
        with write_log(shop, shop_rows(N)).open("rb") as plain, gzip.open(path, "wb") as packed:
            shutil.copyfileobj(plain, packed)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"log.{ending}" in refused(shop)
    path.write_bytes(b"not what its name says\n" * 20)
    assert f"log.{ending}" in refused(shop)


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path, refused):
    shop = write_shop(tmp_path / "shop", shop_rows(N), "parquet")
    columns = [pa.array([row[at] for row in shop_rows(N)]) for at in range(5)]
    pq.write_table(pa.Table.from_arrays([*columns, columns[3]], names=[*HEAD, "stars"]), shop / "log.parquet")
    assert "the column 'stars' is named twice" in refused(shop)


def test_a_parquet_row_is_told_by_its_number(tmp_path, refused, read):
    rows = shop_rows(N)
    rows[40] = (None, *rows[40][1:])
    shop = write_shop(tmp_path / "shop", rows, "parquet")
    assert refused(shop).startswith("log.parquet: row 41: column 'customer': the user is missing")
    assert read(shop, skip_bad=True).report.tables[0].kept == N - 1


def test_nan_is_missing_and_a_missing_label_is_no(tmp_path, read):
    rows = [(*row[:3], float("nan") if at % 5 == 0 else float(row[3]), row[4]) for at, row in enumerate(shop_rows(N))]
    for ending in ("csv", "parquet"):
        found = read(write_shop(tmp_path / ending, rows, ending))
        expected = sum(at % 5 != 0 and row[3] >= 4 for at, row in enumerate(rows)) / N
        assert found.report.labels["liked"] == pytest.approx(expected)
        (stars,) = [c for c in found.report.tables[0].columns if c.name == "stars" and c.becomes == "label liked"]
        assert stars.name == "stars"


def test_an_event_that_stands_twice_is_one_exposure(shop, read):
    rows = shop_rows(N)
    twice = (*rows[7][:3], 5, rows[7][4])
    write_log(shop, [*rows, rows[3], twice])
    found = read(shop)
    assert found.report.exposures == N
    left_out = found.report.tables[0].left_out
    assert {why: reason.count for why, reason in left_out.items()} == {"one user, item and moment with another row": 2}


def test_events_of_unknown_items_are_left_out_and_counted(shop, read, refused):
    known = sorted({row[1] for row in shop_rows(N)})[:15]
    (shop / "goods.csv").write_text("sku,price\n" + "".join(f"{sku},{at}\n" for at, sku in enumerate(known)))
    (shop / "data.toml").write_text((shop / "data.toml").read_text() + GOODS)
    found = read(shop)
    expected = sum(row[1] not in known for row in shop_rows(N))
    assert found.report.tables[0].left_out["the item is not in items"].count == expected
    assert found.report.exposures == N - expected and found.report.items == 15
    (shop / "goods.csv").write_text("sku,price\nSKU 1,3\n")
    assert "none of 400 events names an item of items: are ids alike?" in refused(shop)


def test_an_item_that_stands_twice(shop, read, refused):
    skus = sorted({row[1] for row in shop_rows(N)})
    goods = [f"{sku},{at},x" for at, sku in enumerate(skus)]
    (shop / "data.toml").write_text((shop / "data.toml").read_text() + GOODS)
    (shop / "goods.csv").write_text("\n".join(["sku,price,shelf", *goods, goods[2]]) + "\n")
    items = next(table for table in read(shop).report.tables if table.name == "items")
    assert {why: reason.count for why, reason in items.left_out.items()} == {
        "the id stands twice, with the same values": 1
    }
    (shop / "goods.csv").write_text("\n".join(["sku,price,shelf", *goods, goods[2], f"{skus[4]},99,x"]) + "\n")
    assert refused(shop).startswith(f"goods.csv:{len(goods) + 3}: column 'sku': the id stands twice, with other values")
    found = read(shop, skip_bad=True)
    items = next(table for table in found.report.tables if table.name == "items")
    assert (items.rows, items.kept) == (len(goods) + 2, len(goods))
    works = found.dataset.snapshot.works
    row = found.ids["items"].names(works.ids).tolist().index(skus[4])
    assert works["price"][row] == 4 or found.dataset.snapshot.labels["price"][works["price"][row]] == "4"


def test_one_user_alone_is_enough(shop, read):
    write_log(shop, [("c-01", *row[1:]) for row in shop_rows(N)])
    assert read(shop).report.users == 1


def test_labels_of_one_class_are_refused(shop, refused):
    write_log(shop, [(*row[:3], 5, row[4]) for row in shop_rows(N)])
    told = refused(shop)
    assert "label 'liked' is 1 in all" in told and "[labels.liked]" in told


def test_one_moment_for_all_is_refused(shop, refused):
    write_log(shop, [(*row[:2], START_S, *row[3:]) for row in shop_rows(N)])
    assert "cannot be split by time" in refused(shop)


def test_integers_with_a_few_texts_among_them_are_told(tmp_path, refused, read):
    rows = [(int(row[0][2:]), *row[1:]) for row in shop_rows(N)]
    rows[9] = ("c-x", *rows[9][1:])
    rows[11] = (2**63, *rows[11][1:])
    shop = write_shop(tmp_path / "shop", rows)
    told = refused(shop)
    assert told.startswith(
        "log.csv:11: column 'customer': the user is no 64-bit integer, as most of them are (2 of 400"
    )
    assert read(shop, skip_bad=True).report.tables[0].kept == N - 2


def test_free_text_is_refused_with_a_hint(shop, refused):
    skus = [f"sku {at}" for at in range(200)]
    text = [
        f'{sku},"{sku} is a thing that nobody has ever described in the same words, {at}"'
        for at, sku in enumerate(skus)
    ]
    (shop / "goods.csv").write_text("\n".join(["sku,words", *text]) + "\n")
    (shop / "data.toml").write_text((shop / "data.toml").read_text() + GOODS)
    told = refused(shop)
    assert "goods.csv: column 'words' is free text" in told and "roles.vector" in told


WRONG_TOML = {
    "missing": (None, r"data\.toml is missing: karec data init"),
    "no TOML": ("[events", r"data\.toml is not TOML"),
    "no events": ("[items]\npath = 'a.csv'\nid = 'a'\n", r"data\.toml: the key 'events' is missing"),
    "unknown table": (TOML + "[itmes]\n", r"unknown key 'itmes' \(did you mean 'items'\?\)"),
    "no time": (TOML.replace('time = "at", ', ""), r"events\.columns: the key 'time' is missing"),
    "unknown role": (
        TOML.replace("scene =", "seen ="),
        r"events\.columns: unknown key 'seen' \(did you mean 'scene'\?\)",
    ),
    "wrong kind": (TOML.replace('"log.{ending}"', "3"), r"events: path = 3, expected str"),
    "wrong column": (
        TOML.replace('"stars"', '"stras"'),
        r"labels\.liked\.column: no column 'stras' \(did you mean 'stars'\?\)",
    ),
    "two ways": (
        TOML.replace("at_least = 4", "at_least = 4, equals = 'a'"),
        r"labels\.liked: equals and at_least: at most one",
    ),
    "no way": (
        TOML + "x = {{ }}\n".join(["", ""]).replace("x", "[labels.bad]\n#"),
        r"labels\.bad: a label is said by an event or by",
    ),
    "an event without its column": (
        TOML.replace('column = "stars", at_least = 4', 'event = "buy"'),
        r"labels are said by events or by columns",
    ),
    "meaning of nothing": (TOML.replace('["liked"]', '["loved"]'), r"meaning names 'loved', which is no label"),
    "split": (TOML + "[split]\nvalidation = 0.6\ntest = 0.5\n", r"split: shares ≥ 0 that leave something"),
    "negatives": (TOML + "[negatives]\nper_positive = 0\n", r"negatives: per_positive > 0"),
    "unit": (
        TOML.replace("[labels]", 'time_unit = "min"\n[labels]'),
        r"time_unit = 'min', expected one of 'auto', 's'",
    ),
    "weight": (TOML.replace("at_least = 4", "at_least = 4, weight = -1"), r"labels\.liked: weight = -1"),
    "between": (TOML + GOODS + 'lists = {{ a = "" }}\n', r"items: lists: what stands between"),
}


@pytest.mark.parametrize("name", WRONG_TOML)
def test_a_wrong_data_toml_is_told_by_its_key(shop, refused, name):
    import re

    toml, why = WRONG_TOML[name]
    (shop / "data.toml").unlink()
    if toml is not None:
        (shop / "data.toml").write_text(toml.format(ending="csv"))
    told = refused(shop, (ConfigError, DataError))
    assert re.search(why, told), told


def test_a_label_event_that_never_occurs_is_told_with_those_that_do(tmp_path, refused):
    rows = [(u, i, s, "view" if at % 2 else "click", page) for at, (u, i, s, _, page) in enumerate(shop_rows(N))]
    toml = (
        '[events]\npath = "log.csv"\nview = "view"\n'
        'columns = {{ user = "customer", item = "sku", time = "at", event = "stars" }}\n'
        '[labels]\nclick = {{ event = "clicks" }}\n'
    )
    told = refused(write_shop(tmp_path / "shop", rows, toml=toml))
    assert "column 'stars' never says 'clicks'; it says 'click' (200), 'view' (200)" in told


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_read_when_they_are_said(shop, read, encoding):
    text = (shop / "log.csv").read_bytes().decode().replace("home", "zu Haus für alle")
    (shop / "log.csv").write_bytes(text.encode(encoding))
    toml = (shop / "data.toml").read_text()
    (shop / "data.toml").write_text(toml.replace("[labels]", f'encoding = "{encoding}"\n[labels]'))
    assert "zu Haus für alle" in read(shop).dataset.snapshot.labels["scene"]


KILLED = """
import os, signal, sys
from pathlib import Path
from karec.data.own.load import load

def killed_at(done, total, what):
    if what == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

load(Path(sys.argv[1]), Path(sys.argv[2]), killed_at)
"""


@pytest.mark.parametrize("step", ["events", "ids", "exposures"])
def test_a_kill_leaves_nothing_in_the_folder_and_nothing_half_written(shop, read, same, tmp_path, step):
    """Everything is written into temporary folders; a map of ids stands under its name when it is whole."""
    before = {path.name: path.read_bytes() for path in shop.iterdir()}
    ids = tmp_path / "ids"
    ids.mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", KILLED, str(shop), str(ids), step]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert {path.name: path.read_bytes() for path in shop.iterdir()} == before
    from karec.ids import IdMap

    for path in ids.glob("*.karec"):
        assert len(IdMap.open(path)) > 0
    again = load(shop, ids, now_ms=NOW_MS)
    same(again, read(shop))


def test_a_time_with_a_date_alone_or_of_another_zone_is_no_mistake(tmp_path, read):
    rows = [
        (u, i, iso(s)[:10] if at % 2 else iso(s + 3600, "+01:00"), *more)
        for at, (u, i, s, *more) in enumerate(shop_rows(N))
    ]
    assert read(write_shop(tmp_path / "shop", rows)).report.tables[0].bad == {}
