"""Settings of tables: checks, logs, unknown cells, scenes, repeats, split, strict files."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_files import START_S, TOML, shop_rows, write_log, write_shop

SKUS = sorted({row[1] for row in shop_rows()})
N = len(SKUS)
SPLIT = "[split.begin]\ntraining = 2023-11-15\nvalidation = 2023-11-16T12:00:00Z\ntest = 2023-11-17\n"


@pytest.fixture
def with_goods(tmp_path):
    """Returns with_goods(toml, column=…, …): a shop whose goods.parquet has these columns."""

    def with_goods(toml="", **columns):
        folder = write_shop(tmp_path / "shop", shop_rows())
        with (folder / "data.toml").open("a") as file:
            file.write(f'[items]\npath = "goods.parquet"\nid = "sku"\n{toml}\n')
        pq.write_table(pa.table({"sku": SKUS, **columns}), folder / "goods.parquet")
        return folder

    return with_goods


@pytest.fixture
def goods(with_goods, read):
    """Returns goods(…): items in the order of SKUS, and the names of their categories."""

    def goods(toml="", **columns):
        result = read(with_goods(toml, **columns))
        works = result.dataset.snapshot.works
        order = np.argsort(result.ids["items"].names(works.ids).astype(str))
        return works.take(order), result.dataset.snapshot.labels

    return goods


@pytest.mark.parametrize(
    ("check", "cells", "line", "cause"),
    [
        ('holds = "integer"', ["1", "2.0"], 3, "'x': not an integer"),
        ('holds = "whole"', ["9.0", "9.5"], 3, "'x': not a whole number"),
        ('holds = "whole"', ["9.0", "1e17"], 3, "'x': not a whole number"),
        ('holds = "number"', ["9.5", "inf"], 3, "'x': not a number"),
        ('holds = "integer", within = [0, 1]', ["2", "1"], 2, "'x': not within 0 … 1"),
        ('holds = "number", within = [0.5, 1.5]', ["0.4", "1"], 2, "'x': not within 0.5 … 1.5"),
        (
            'holds = "time", within = [2022-04-01, 2022-05-10]',
            ["2022-05-10", "2022-05-10T00:00:01"],
            3,
            "'x': not within",
        ),
        ('holds = "time"', ["2022-05-10", "2022-02-31"], 3, "'x': not a time"),
        ('holds = "text", matches = "[a-z]+"', ["ab", "a1"], 3, r"'x': not of the form [a-z]+"),
        ('holds = "text"', ["ab", "a\x1b"], 3, "'x': a control character"),
        ('holds = "text", required = true', ["ab", ""], 3, "'x': the cell is missing"),
    ],
)
def test_row_that_fails_a_check_is_reported(shop, refused, read, check, cells, line, cause):
    """The check decides the kind of the column, not its cells."""
    rows = [(*row, cells[0]) for row in shop_rows()]
    rows[line - 2] = (*rows[line - 2][:-1], cells[1] if line == 3 else cells[0])
    if line == 2:
        rows[1:] = [(*row[:-1], cells[1]) for row in rows[1:]]
    write_log(shop, rows, head=("customer", "sku", "at", "stars", "page", "x"))
    (shop / "data.toml").write_text(
        TOML.format(ending="csv").replace("[labels]", f'checks = [{{ columns = ["x"], {check} }}]\n[labels]')
    )
    message = refused(shop)
    assert message.startswith(f"log.csv:{line}: column {cause}") and "(1 of 400 rows of events)" in message
    assert read(shop, skip_bad=True).report.tables[0].kept == 399


def test_logs_use_one_or_two_columns(goods):
    length = [None, *(1000.0 * at for at in range(1, N))]
    toml = (
        'logs = { a = { column = "ms", unit = 1000.0, missing = 0.0 }, b = { column = "ms" }, '
        'c = { column = "ms", over = "px", missing = 0.0 } }'
    )
    works, _ = goods(toml, ms=length, px=[at + 7 for at in range(N)])
    assert set(works.columns) >= {"a", "b", "c"} and not {"ms", "px"} & set(works.columns)
    np.testing.assert_allclose(works["a"], np.log1p(np.arange(N)), rtol=1e-6)
    assert np.isnan(works["b"][0]) and works["b"][1] == pytest.approx(np.log1p(1000))
    expected = np.log((1 + 1000.0 * np.arange(N)) / (8 + np.arange(N)))
    np.testing.assert_allclose(works["c"], expected, rtol=1e-5)


def test_log_of_a_negative_number_is_reported(with_goods, refused):
    message = refused(with_goods('logs = { a = { column = "ms" } }', ms=[-1.0] + [1.0] * (N - 1)))
    assert "column 'ms': a number below 0 (1 of 20" in message


def test_missing_cells_are_a_category_if_named(goods):
    shelf = [None, *("ab"[at % 2] for at in range(1, N))]
    works, labels = goods('missing = "none"\ncategories = ["shelf"]', shelf=shelf)
    assert labels["shelf"] == ["none", "a", "b"]
    assert [labels["shelf"][code] for code in works["shelf"]] == ["none", *shelf[1:]]
    works, labels = goods('missing = "none"\nlists = { t = "," }', t=["x,y", None, *["y"] * (N - 2)])
    assert labels["t"] == labels["t2"] == ["none", "x", "y"]
    assert (works["t"].tolist()[:3], works["t2"].tolist()[:3]) == ([1, 0, 2], [2, 0, 0])


def test_only_named_features_are_features(goods):
    works, _ = goods('features = ["b"]', a=["x", "y"] * (N // 2), b=["x", "y"] * (N // 2))
    assert "b" in works.columns and "a" not in works.columns


def test_item_without_song_or_creator_has_its_own(goods):
    """Otherwise a rule on creators would treat all these items as items of one creator."""
    song, maker = [0, 7, 7, *range(20, 20 + N - 3)], [None, None, *range(N - 2)]
    works, _ = goods(
        'roles = { song = "song", creator = "maker" }\nunknown = { song = ["0"] }', song=song, maker=maker
    )
    assert works["song_id"][1:].tolist() == song[1:] and works["song_id"][0] == -1 - works.ids[0] < -1
    assert works["creator_id"][:2].tolist() == (-1 - works.ids[:2]).tolist()


def test_scenes_have_the_declared_names_and_order(tmp_path, read, refused):
    toml = TOML.replace(
        "[labels]", 'scenes = {{ search = "find", home = "front", nowhere = "none" }}\n[labels]'
    )
    folder = write_shop(tmp_path / "shop", shop_rows(), toml=toml)
    dataset = read(folder).dataset
    assert dataset.snapshot.labels["scene"] == ["find", "front", "none"]
    assert set(np.unique(dataset.exposures.scene)) == {0, 1}
    rows = shop_rows()
    write_log(folder, [(*rows[0][:4], "elsewhere"), *rows[1:]])
    assert "log.csv:2: column 'page': none of events.scenes" in refused(folder)


@pytest.mark.parametrize(("repeats", "of"), [("merge", max), ("first", min)])
def test_repeats_keep_the_first_row_or_merge_labels(tmp_path, read, repeats, of):
    rows = shop_rows()
    again = [(*row[:3], 5, row[4]) for row in rows[::2]]  # the second likes it, whatever the first does
    toml = TOML.replace("[labels]", f'repeats = "{repeats}"\n[labels]')
    report = read(write_shop(tmp_path / "shop", [*rows, *again], toml=toml)).report
    liked = [of(row[3] >= 4, True) if at % 2 == 0 else row[3] >= 4 for at, row in enumerate(rows)]
    assert report.labels["liked"] == pytest.approx(np.mean(liked))
    assert sum(reason.count for reason in report.tables[0].left_out.values()) == len(again)


def test_split_begins_at_days_of_the_zone_or_times(tmp_path, read):
    cuts = {}
    for zone in ("UTC", "Asia/Shanghai"):
        folder = write_shop(
            tmp_path / zone.replace("/", ""), shop_rows(), toml=f'zone = "{zone}"\n{TOML}{SPLIT}'
        )
        dataset = read(folder).dataset
        cuts[zone] = dataset.snapshot.time_ms, dataset.train_until_ms, dataset.valid_until_ms
    midnight = int(datetime(2023, 11, 15, tzinfo=UTC).timestamp() * 1000)
    assert midnight > START_S * 1000
    hours = [(moment - midnight) / 3_600_000 for moment in (*cuts["UTC"], *cuts["Asia/Shanghai"])]
    assert hours == [0, 36, 48, -8, 36, 40]


def test_times_without_a_zone_are_in_the_declared_zone(tmp_path, read):
    rows = [
        (u, i, datetime.fromtimestamp(s, UTC).strftime("%Y-%m-%d %H:%M:%S"), *more)
        for u, i, s, *more in shop_rows()
    ]
    first = [
        read(write_shop(tmp_path / zone, rows, toml=f'zone = "{zone}"\n{TOML}')).dataset
        for zone in ("UTC", "Japan")
    ]
    assert {a - b for a, b in zip(*(d.exposures.time_ms.tolist() for d in first), strict=True)} == {
        9 * 3_600_000
    }


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda text: text[:-1], "line 401 has no line end"),
        (lambda text: text.replace(b"\n", b"\n\n", 1), "line 2 is blank"),
        (lambda text: text + b'c-01,"sku 1,1700000000,1,home\n', "line 402 opens a quote"),
        (lambda text: text + b"c-01,no such,1700500000,1,home\n", "log.csv:402: the item is not in items"),
    ],
)
def test_strict_files_are_whole_and_have_known_ids(with_goods, read, refused, damage, cause):
    folder = with_goods(shelf=[at % 3 for at in range(N)])
    (folder / "data.toml").write_text("strict = true\n" + (folder / "data.toml").read_text())
    log = folder / "log.csv"
    whole = log.read_bytes().replace(b"\r\n", b"\n")
    log.write_bytes(whole)
    read(folder)
    log.write_bytes(damage(whole))
    assert cause in refused(folder)
    assert cause in refused(folder, skip_bad=True)


def test_notes_have_rows_left_out_and_missing_cells(with_goods, read):
    folder = with_goods(shelf=["a", "b", None, "c"] + ["a", "b"] * ((N - 4) // 2))
    write_log(folder, [*shop_rows(), ("c-01", "no such", START_S, 1, "home")])
    notes = read(folder).dataset.notes
    assert "events: 401 rows read, of which are left out: the item is not in items: 1 (log.csv:402)" in notes
    assert "items: cells that are missing: shelf 1" in notes
    assert "items: 1 names that appear in only one row: shelf c" in notes
