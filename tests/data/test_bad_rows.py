"""A row that cannot be used is reported with file, line, column and cause, or skipped."""

import json

import pytest
from own_files import HEAD, NOW_MS, START_S, TOML, iso, shop_rows, write_log, write_shop
from own_files import N_ROWS as N

from karec.data.draft import write_contract


def cells(row, **other):
    return ",".join(str(other.get(name, cell)) for name, cell in zip(HEAD, row, strict=True))


def lines_of(folder):
    return (folder / "log.csv").read_bytes().decode().replace("\r\n", "\n").splitlines()


ROW = shop_rows(N)[0]


BAD_LINES = {
    "no user": (cells(ROW, customer=""), "column 'customer': the user is missing"),
    "no item": (cells(ROW, sku="NA"), "column 'sku': the item is missing"),
    "no time": (cells(ROW, at=""), "column 'at': the time is missing"),
    "long id": (cells(ROW, customer="ü" * 129), "column 'customer': the user is longer than 256 bytes"),
    "no moment": (
        cells(ROW, at="yesterday"),
        "column 'at': not a time, expected a number of s, ms, us or ns since 1970, or ISO 8601",
    ),
    "1970": (cells(ROW, at=12), "column 'at': the time is before the year 1980"),
    "future": (cells(ROW, at=NOW_MS // 1000 + 100_000), "column 'at': the time is in the future"),
    "mixed types": (cells(ROW, stars="many"), "column 'stars': not a finite number"),
    "infinite": (cells(ROW, stars="inf"), "column 'stars': not a finite number"),
    "too few cells": ("c-01,sku 1", "missing columns"),
    "too many cells": (cells(ROW) + ",more", "too many columns"),
    "not UTF-8": (
        cells(ROW, page="?").encode() + b"\xff\xfe",
        "not UTF-8. Convert the file, or set encoding",
    ),
}


@pytest.mark.parametrize("at", [0, 17, N])
@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_row_is_reported_with_its_line_or_skipped(shop, refused, read, name, at):
    line, cause = BAD_LINES[name]
    lines = [entry.encode() for entry in lines_of(shop)]
    lines.insert(1 + at, line if isinstance(line, bytes) else line.encode())
    (shop / "log.csv").write_bytes(b"\n".join(lines) + b"\n")
    message = refused(shop)
    assert message.startswith(f"log.csv:{2 + at}: {cause}") and "--skip-bad" in message
    report = read(shop, skip_bad=True).report.tables[0]
    assert (report.rows, report.kept) == (N + 1, N)
    assert [(reason.count, reason.places) for reason in report.unusable.values()] == [
        (1, (f"log.csv:{2 + at}",))
    ]


def test_open_quote_is_reported_with_its_line(shop, refused, read):
    with (shop / "log.csv").open("a", newline="") as file:
        file.write(cells(ROW, sku='"sku') + "\n")
    assert refused(shop).startswith(f"log.csv:{N + 2}: unquoted value")
    assert read(shop, skip_bad=True).report.tables[0].kept == N


def test_line_numbers_count_quoted_empty_and_broken_lines(shop, read):
    lines = lines_of(shop)
    lines[3] = lines[3].replace("home", '"two\nlines"').replace("search", '"two\nlines"')
    lines.insert(8, "")
    lines.insert(10, "c-01,short")
    lines.insert(20, cells(ROW, at="never"))
    text = "\n".join(lines)
    (shop / "log.csv").write_text(text + "\n", encoding="utf-8")
    physical = text.split("\n")
    bad = read(shop, skip_bad=True).report.tables[0].unusable
    assert {cause.split(":")[0]: reason.places for cause, reason in bad.items()} == {
        "missing columns": (f"log.csv:{1 + physical.index('c-01,short')}",),
        "column 'at'": (f"log.csv:{1 + physical.index(cells(ROW, at='never'))}",),
    }


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_broken_lines_have_their_number_in_every_encoding(shop, read, encoding):
    lines = [line.replace("home", "häuslich") for line in lines_of(shop)]
    lines[300:300] = ["", "x", cells(ROW, at="never")]
    (shop / "log.csv").write_bytes("\n".join([*lines, ""]).encode(encoding))
    toml = (shop / "data.toml").read_text()
    (shop / "data.toml").write_text(toml.replace("[labels]", f'encoding = "{encoding}"\n[labels]'))
    bad = read(shop, skip_bad=True).report.tables[0].unusable
    assert {reason.places for reason in bad.values()} == {("log.csv:302",), ("log.csv:303",)}


def test_row_of_the_second_file_is_reported_with_its_name(shop, read):
    rows = shop_rows(N)
    (shop / "log").mkdir()
    write_log(shop / "log", rows[:300], name="a")
    write_log(shop / "log", [*rows[300:], ("", *ROW[1:])], name="b")
    (shop / "data.toml").write_text(TOML.replace("log.{ending}", "log").replace("{{", "{").replace("}}", "}"))
    (reason,) = read(shop, skip_bad=True).report.tables[0].unusable.values()
    assert reason.places == (f"b.csv:{N - 300 + 2}",)


BAD_JSON = {
    "broken": (b'{"customer": "c', "not a JSON object"),
    "a list": (b"[1, 2]", "not a JSON object"),
    "not UTF-8": (b'{"customer": "\xff\xfe"}', "not UTF-8"),
    "no time": (b'{"customer": "c-01", "sku": "sku 1"}', "column 'at': the time is missing"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_line_is_reported_with_its_number(tmp_path, refused, read, name):
    shop = write_shop(tmp_path / "shop", shop_rows(N), "jsonl")
    line, cause = BAD_JSON[name]
    lines = (shop / "log.jsonl").read_bytes().splitlines()
    lines[30:30] = [b"", line]
    (shop / "log.jsonl").write_bytes(b"\n".join(lines) + b"\n\n")
    assert refused(shop).startswith(f"log.jsonl:32: {cause}")
    assert read(shop, skip_bad=True).report.tables[0].kept == N


def test_bad_parquet_row_is_reported_with_its_number(tmp_path, refused, read):
    rows = shop_rows(N)
    rows[40] = (None, *rows[40][1:])
    shop = write_shop(tmp_path / "shop", rows, "parquet")
    assert refused(shop).startswith("log.parquet: row 41: column 'customer': the user is missing")
    assert read(shop, skip_bad=True).report.tables[0].kept == N - 1


def test_texts_among_integer_ids_are_reported(tmp_path, refused, read):
    rows = [(int(row[0][2:]), *row[1:]) for row in shop_rows(N)]
    rows[9] = ("c-x", *rows[9][1:])
    rows[11] = (2**63, *rows[11][1:])
    shop = write_shop(tmp_path / "shop", rows)
    message = refused(shop)
    assert message.startswith(
        "log.csv:11: column 'customer': the user is not a 64-bit integer, as most of them are (2 of 400"
    )
    assert read(shop, skip_bad=True).report.tables[0].kept == N - 2


def test_missing_label_is_negative(tmp_path, read):
    rows = [
        (*row[:3], float("nan") if at % 5 == 0 else float(row[3]), row[4])
        for at, row in enumerate(shop_rows(N))
    ]
    for ending in ("csv", "parquet"):
        result = read(write_shop(tmp_path / ending, rows, ending))
        expected = sum(at % 5 != 0 and row[3] >= 4 for at, row in enumerate(rows)) / N
        assert result.report.labels["liked"] == pytest.approx(expected)
        (stars,) = [column for column in result.report.tables[0].columns if column.name == "stars"]
        assert stars.use.startswith("label liked")


def test_date_and_time_of_another_zone_are_accepted(tmp_path, read):
    rows = [
        (u, i, iso(s)[:10] if at % 2 else iso(s + 3600, "+01:00"), *more)
        for at, (u, i, s, *more) in enumerate(shop_rows(N))
    ]
    assert read(write_shop(tmp_path / "shop", rows)).report.tables[0].unusable == {}


def test_repeated_event_is_one_impression(shop, read):
    rows = shop_rows(N)
    twice = (*rows[7][:3], 5, rows[7][4])
    write_log(shop, [*rows, rows[3], twice, rows[7]])
    result = read(shop)
    assert result.report.impressions == N
    left_out = result.report.tables[0].left_out
    again = "one user, item and moment with another row"
    assert {cause: reason.count for cause, reason in left_out.items()} == {
        again: 2,
        f"{again}, of other values": 1,
    }


def test_long_cells_are_quoted_in_part(tmp_path, read):
    long = "y" * 100_000
    rows = [
        (f"c{at % 7}", f"i{at % 9}", START_S + at * 600, ("view", "buy")[at % 3 == 2]) for at in range(300)
    ]
    write_log(tmp_path, [*rows, ("c1", "i1", START_S + 7, long)], head=("user", "item", "time", "action"))
    goods = [(f"i{at}", f"shelf {at % 2}") for at in range(8)]
    write_log(tmp_path, [*goods, ("i8", long)], head=("item", "shelf"), name="goods")
    text = write_contract([tmp_path], tmp_path)
    assert len(text) < 2_000
    (tmp_path / "data.toml").write_text(text)
    result = read(tmp_path)
    assert sum(map(len, result.dataset.notes)) < 2_000
    assert len(json.dumps(result.report.to_dict()["tables"][0])) < 5_000
