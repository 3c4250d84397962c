"""Rows of erased ids from before the erasure are left out of the data; later rows make the id new."""

import numpy as np
import pytest
from own_files import HEAD, NOW_MS, START_S, TOML, shop_rows, write_log, write_shop

from karec.data.load import load
from karec.erasure import Tombstones

ERASED = "an id was erased after the row"
TABLES = """
[items]
path = "items.csv"
id = "sku"
roles.creator = "maker"
roles.published = "at"
[items.values.tag]
path = "tags.csv"
columns = { item = "sku", value = "tag" }
[users]
path = "users.csv"
id = "customer"
[relations.follows]
path = "follows.csv"
columns = { user = "customer", to = "maker", time = "since" }
[relations.friends]
path = "friends.csv"
columns = { user = "customer", to = "other" }
"""
HALF_S = START_S + 200 * 600  # the time of the middle row


@pytest.fixture
def shop(tmp_path):
    """A log of 400 rows and all tables. Item n is of maker n % 4; the last two were published at the end."""
    tables = TABLES.replace("{", "{{").replace("}", "}}")
    folder = write_shop(tmp_path / "shop", shop_rows(), toml=TOML + tables)
    items = [(f"sku {n}", f"m-{n % 4}", START_S + (10**6 if n >= 18 else 0)) for n in range(20)]
    write_log(folder, items, head=("sku", "maker", "at"), name="items")
    write_log(folder, [(f"sku {n}", f"tag {n % 3}") for n in range(20)], head=("sku", "tag"), name="tags")
    write_log(folder, [(f"c-{n:02}", 20 + n) for n in range(12)], head=("customer", "age"), name="users")
    follows = [(f"c-{n:02}", f"m-{n % 4}", HALF_S + n) for n in range(12)]
    write_log(folder, follows, head=("customer", "maker", "since"), name="follows")
    friends = [(f"c-{n:02}", f"c-{(n + 1) % 12:02}") for n in range(12)]
    write_log(folder, friends, head=("customer", "other"), name="friends")
    return folder


@pytest.fixture
def load_shop(shop, tmp_path):
    """Returns a function: {kind: (id, Unix s of the erasure)} → the data."""

    def load_without(**erased):
        tombstones = Tombstones(tmp_path)
        for kind, (id_, time_s) in erased.items():
            tombstones.add(kind, [id_], time_s * 1000)
        ids = tmp_path / f"ids-{len([*tmp_path.iterdir()])}"
        ids.mkdir()
        return load(shop, ids, now_ms=NOW_MS, tombstones=[tombstones]), ids

    return load_without


def names(data, table, numbers):
    return set(data.ids[table].names(np.unique(numbers)).tolist())


def test_erased_user_is_in_no_table_and_no_id_map(load_shop):
    data, ids = load_shop(user=("c-03", START_S + 10**7))
    snapshot = data.dataset.snapshot
    assert "c-03" not in names(data, "users", snapshot.users.ids) and len(snapshot.users) == 11
    assert "c-03" not in names(data, "users", data.dataset.exposures.user_id)
    assert "c-03" not in names(data, "users", snapshot.relations["friends"].values)
    assert not any(b"c-03" in path.read_bytes() for path in ids.iterdir())
    assert any(b"c-04" in path.read_bytes() for path in ids.iterdir())
    left_out = {table.name: table.left_out.get(ERASED) for table in data.report.tables}
    counts = {name: 0 if reason is None else reason.count for name, reason in left_out.items()}
    n_rows = sum(row[0] == "c-03" for row in shop_rows())
    assert counts == {
        "events": n_rows,
        "items": 0,
        "items.values.tag": 0,
        "users": 1,
        "relations.follows": 1,
        "relations.friends": 2,
    }


def test_user_who_comes_back_has_only_later_rows(load_shop):
    data, _ = load_shop(user=("c-03", HALF_S))
    snapshot, exposures = data.dataset.snapshot, data.dataset.exposures
    (number,) = data.ids["users"].numbers(["c-03"])
    times = exposures.time_ms[exposures.user_id == number]
    assert len(times) and times.min() >= HALF_S * 1000
    row = snapshot.users.row(number)
    assert snapshot.users["age"][row] == -1  # a profile without a time is old
    assert len(snapshot.relations["follows"].row_values(row)) == 1  # it is from after the erasure
    assert not len(snapshot.relations["friends"].row_values(row))


def test_erased_item_and_items_of_an_erased_creator_are_left_out(load_shop):
    data, ids = load_shop(item=("sku 7", START_S + 10**7), creator=("m-2", START_S + 10**5))
    items = names(data, "items", data.dataset.snapshot.works.ids)
    assert items == {f"sku {n}" for n in range(20) if n != 7 and (n % 4 != 2 or n >= 18)}
    assert "sku 7" not in names(data, "items", data.dataset.exposures.work_id)
    assert not any(b"sku 7" in path.read_bytes() for path in ids.iterdir())


def test_tombstones_of_other_ids_change_nothing(load_shop):
    data, _ = load_shop(user=("nobody", START_S + 10**7), item=("c-03", START_S + 10**7))
    plain, _ = load_shop()
    for name in ("user_id", "work_id", "time_ms"):
        columns = [getattr(each.dataset.exposures, name) for each in (data, plain)]
        np.testing.assert_array_equal(*columns)


def test_erased_integer_ids_are_left_out_of_parquet(tmp_path):
    rows = [(int(user[2:]), *row) for user, *row in shop_rows()]
    folder = write_shop(tmp_path / "shop", rows, "parquet")
    write_log(folder, rows, "parquet", head=HEAD)
    tombstones = Tombstones(tmp_path)
    tombstones.add("user", [3], (START_S + 10**7) * 1000)
    (tmp_path / "ids").mkdir()
    data = load(folder, tmp_path / "ids", now_ms=NOW_MS, tombstones=[tombstones])
    assert set(data.dataset.exposures.user_id.tolist()) == {*range(12)} - {3}
