"""The same rows give the same dataset in every format, dialect and order."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_files import HEAD, TOML, iso, shop_rows, write_log, write_shop

ENDINGS = ("csv", "jsonl", "parquet")


@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_csv_jsonl_and_parquet_give_the_same_dataset(read, same, tmp_path, ending):
    rows = shop_rows()
    same(read(write_shop(tmp_path / "csv", rows)), read(write_shop(tmp_path / ending, rows, ending)))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\x01"), min_size=1, max_size=12).filter(
    lambda t: t == t.strip()
)
SPECIAL = {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "\\N"}


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(texts.filter(lambda t: t not in SPECIAL), min_size=20, max_size=20, unique=True),
    stars=st.integers(0, 3),
)
def test_any_ids_are_returned_unchanged(read, same, tmp_path_factory, names, stars):
    rows = [
        (f"c{names[at % 7]}", f"i{names[at % 20]}", at_s, 1 + (at + stars) % 5, p)
        for at, (*_, at_s, _s, p) in enumerate(shop_rows())
    ]
    result = [read(write_shop(tmp_path_factory.mktemp("shop"), rows, ending)) for ending in ENDINGS]
    for other in result[1:]:
        same(result[0], other)
    works = result[0].dataset.snapshot.works
    assert set(result[0].ids["items"].names(works.ids)) == {row[1] for row in rows}


@pytest.mark.parametrize("ending", ENDINGS)
def test_text_ids_stay_texts(tmp_path, read, ending):
    rows = [(u[2:].lstrip("0") or "0", i[4:], *more) for u, i, *more in shop_rows()]
    result = read(write_shop(tmp_path / "shop", rows, ending))
    snapshot, kind = result.dataset.snapshot, int if ending == "csv" else str
    for what, table, at in (("users", snapshot.users, 0), ("items", snapshot.works, 1)):
        assert set(result.ids[what].names(table.ids).tolist()) == {kind(row[at]) for row in rows}
    numbers = [(int(u), int(i), *more) for u, i, *more in rows]
    again = read(write_shop(tmp_path / "numbers", numbers, ending))
    assert {again.ids["users"].kind, again.ids["items"].kind} == {"integer"}


def test_order_of_rows_and_files_changes_nothing(read, same, tmp_path):
    rows = shop_rows()
    whole = read(write_shop(tmp_path / "whole", rows))
    shuffled = random.Random(1).sample(rows, len(rows))
    same(whole, read(write_shop(tmp_path / "shuffled", shuffled)))
    parts = write_shop(tmp_path / "parts", rows[:1], toml=TOML.replace("log.{ending}", "log"))
    (parts / "log").mkdir()
    for at in range(3):
        write_log(parts / "log", shuffled[at::3], name=f"part-{at}")
    same(whole, read(parts))
    (parts / "data.toml").write_text(TOML.format(ending="csv").replace("log.csv", "log/part-*.csv"))
    same(whole, read(parts))


@pytest.mark.parametrize(
    "written",
    [
        lambda s: s * 1000,
        lambda s: s * 1_000_000,
        lambda s: s * 1_000_000_000,
        iso,
        lambda s: iso(s, ""),
        lambda s: iso(s, ".000+00:00"),
        lambda s: iso(s + 8 * 3600, "+08:00"),
        lambda s: iso(s).replace("T", " ")[:-1],
        lambda s: f"{s}.0",
    ],
    ids=["ms", "us", "ns", "zone", "no zone", "offset", "other zone", "space", "decimal"],
)
def test_time_is_read_in_every_format(read, same, tmp_path, written):
    rows = shop_rows()
    other = [(u, i, written(s), stars, page) for u, i, s, stars, page in rows]
    same(read(write_shop(tmp_path / "s", rows)), read(write_shop(tmp_path / "other", other)))


@pytest.mark.parametrize(
    ("alter", "toml"),
    [
        (lambda text: "﻿" + text, TOML),
        (lambda text: text.replace("\n", "\r\n"), TOML),
        (lambda text: text.replace(",", ";"), TOML),
        (lambda text: text.replace(",", "\t"), TOML),
        (lambda text: text.replace(",", "|"), TOML),
        (lambda text: text.rstrip("\n"), TOML),
        (lambda text: text.replace("sku 7", '"sku 7"'), TOML),
    ],
    ids=["bom", "crlf", "semicolon", "tab", "pipe", "no last newline", "quotes"],
)
def test_csv_is_read_in_every_dialect(read, same, tmp_path, alter, toml):
    whole = read(write_shop(tmp_path / "whole", shop_rows()))
    other = write_shop(tmp_path / "other", shop_rows(), toml=toml)
    text = (other / "log.csv").read_text(encoding="utf-8")
    (other / "log.csv").write_bytes(alter(text.replace("\r\n", "\n")).encode())
    same(whole, read(other))


def test_parquet_types_of_times_and_flags_are_read(read, same, tmp_path):
    rows = shop_rows()
    whole = read(write_shop(tmp_path / "whole", rows))
    other = write_shop(tmp_path / "other", rows, "parquet")
    columns = {name: [row[at] for row in rows] for at, name in enumerate(HEAD)}
    columns["at"] = pa.array([s * 1000 for s in columns["at"]], pa.timestamp("ms"))
    columns["stars"] = pa.array(columns["stars"], pa.float32())
    columns["page"] = pa.array(columns["page"]).dictionary_encode()
    pq.write_table(pa.table(columns), other / "log.parquet")
    same(whole, read(other))


def test_integer_ids_stay_integers(read, tmp_path):
    rows = [(int(u[2:]), int(i[4:]) - 5, s, stars, page) for u, i, s, stars, page in shop_rows()]
    for ending in ENDINGS:
        result = read(write_shop(tmp_path / ending, rows, ending))
        works, users = result.dataset.snapshot.works, result.dataset.snapshot.users
        assert sorted(result.ids["users"].names(users.ids).tolist()) == list(range(12))
        assert sorted(result.ids["items"].names(works.ids).tolist()) == list(range(-5, 15))
        assert (works.ids >= 0).all()
