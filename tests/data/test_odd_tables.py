"""Tables of valid rows: unknown items, repeated items, one user, one class."""

import numpy as np
from own_files import N_ROWS as N
from own_files import shop_rows, write_log

GOODS = '[items]\npath = "goods.csv"\nid = "sku"\n'


def test_events_of_unknown_items_are_left_out_and_counted(shop, read, refused):
    known = sorted({row[1] for row in shop_rows(N)})[:15]
    (shop / "goods.csv").write_text("sku,price\n" + "".join(f"{sku},{at}\n" for at, sku in enumerate(known)))
    (shop / "data.toml").write_text((shop / "data.toml").read_text() + GOODS)
    result = read(shop)
    expected = sum(row[1] not in known for row in shop_rows(N))
    events = result.report.tables[0]
    (reason,) = events.left_out.values()
    lines = [2 + at for at, row in enumerate(shop_rows(N)) if row[1] not in known]
    assert (reason.count, reason.places) == (expected, tuple(f"log.csv:{line}" for line in lines[:3]))
    assert (events.rows, events.kept) == (N, N - expected)
    assert result.report.unknown_items == len({row[1] for row in shop_rows(N)}) - 15
    assert result.report.impressions == N - expected and result.report.items == 15
    (shop / "goods.csv").write_text("sku,price\nSKU 1,3\n")
    assert "none of the 400 events refers to an item of the items table" in refused(shop)


def test_repeated_item_is_refused_if_its_values_differ(shop, read, refused):
    skus = sorted({row[1] for row in shop_rows(N)})
    goods = [f"{sku},{at},x" for at, sku in enumerate(skus)]
    (shop / "data.toml").write_text((shop / "data.toml").read_text() + GOODS)
    (shop / "goods.csv").write_text("\n".join(["sku,price,shelf", *goods, goods[2]]) + "\n")
    items = next(table for table in read(shop).report.tables if table.name == "items")
    assert {cause: reason.count for cause, reason in items.left_out.items()} == {
        "the id appears twice, with the same values": 1
    }
    (shop / "goods.csv").write_text(
        "\n".join(["sku,price,shelf", *goods, goods[2], f"{skus[4]},99,x"]) + "\n"
    )
    assert refused(shop).startswith(
        f"goods.csv:{len(goods) + 3}: column 'sku': the id appears twice, with other values"
    )
    result = read(shop, skip_bad=True)
    items = next(table for table in result.report.tables if table.name == "items")
    assert (items.rows, items.kept) == (len(goods) + 2, len(goods))
    works = result.dataset.snapshot.works
    row = result.ids["items"].names(works.ids).tolist().index(skus[4])
    assert works["price"][row] == 4 or result.dataset.snapshot.labels["price"][works["price"][row]] == "4"


def test_cell_of_another_kind_is_reported_and_missing(shop, read):
    skus = sorted({row[1] for row in shop_rows(N)})
    cells = [f"{at}.5,{at + 2000},2023-01-{at + 1:02}" for at in range(len(skus))]
    cells[3], cells[5] = "cheap,many,2023-01-04", "inf,7,soon"
    (shop / "data.toml").write_text(
        (shop / "data.toml").read_text() + GOODS + 'roles = { published = "since" }\n'
    )
    rows = [f"{sku},{entry}" for sku, entry in zip(skus * 2, cells * 2, strict=True)]
    (shop / "goods.csv").write_text("\n".join(["sku,price,stock,since", *rows]) + "\n")
    result = read(shop)
    message = [note for note in result.dataset.notes if "cells of another kind" in note]
    assert message == [
        "items: column 'price': cells of another kind than number count as missing: 4 "
        "(goods.csv:5, goods.csv:7, goods.csv:25, …)",
        "items: column 'since': cells of another kind than time count as missing: 2 "
        "(goods.csv:7, goods.csv:27)",
        "items: column 'stock': cells of another kind than integer count as missing: 2 "
        "(goods.csv:5, goods.csv:25)",
    ]
    works = result.dataset.snapshot.works
    at = result.ids["items"].names(works.ids).tolist().index(skus[5])
    assert np.isnan(works["price"][at]) and works["upload_ms"][at] == 0


def test_skipped_rows_are_reported_if_the_rest_is_unusable(shop, refused):
    lines = (shop / "log.csv").read_text().splitlines()
    (shop / "log.csv").write_text("\n".join([*lines[:3], '"' + lines[3], *lines[4:]]) + "\n")
    message = refused(shop, skip_bad=True)
    assert "cannot be split by time" in message and "left out: unquoted value: 1 (log.csv:4)" in message


def test_log_of_one_user_is_read(shop, read):
    write_log(shop, [("c-01", *row[1:]) for row in shop_rows(N)])
    assert read(shop).report.users == 1


def test_label_of_one_class_is_refused(shop, refused):
    write_log(shop, [(*row[:3], 5, row[4]) for row in shop_rows(N)])
    message = refused(shop)
    assert "label 'liked' is 1 in all" in message and "[labels.liked]" in message


def test_free_text_is_refused(shop, refused):
    skus = [f"sku {at}" for at in range(200)]
    text = [
        f'{sku},"{sku} is a thing that nobody has ever described in the same words, {at}"'
        for at, sku in enumerate(skus)
    ]
    (shop / "goods.csv").write_text("\n".join(["sku,words", *text]) + "\n")
    (shop / "data.toml").write_text((shop / "data.toml").read_text() + GOODS)
    message = refused(shop)
    assert "goods.csv: column 'words' is free text" in message and "roles.vector" in message
