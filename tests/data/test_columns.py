"""Snapshot columns made from columns of items and users."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_files import TOML, shop_rows, write_shop

from karec.errors import DataError

SKUS = sorted({row[1] for row in shop_rows()})
N = len(SKUS)


@pytest.fixture
def goods(tmp_path, read):
    """Returns goods(toml, column=…, …): items, names and uses of these columns, in the order of SKUS."""

    def goods(toml="", **columns):
        folder = write_shop(tmp_path / "shop", shop_rows())
        with (folder / "data.toml").open("a") as file:
            file.write(f'[items]\npath = "items.parquet"\nid = "sku"\n{toml}\n')
        pq.write_table(pa.table({"sku": SKUS, **columns}), folder / "items.parquet")
        result = read(folder)
        works, labels = result.dataset.snapshot.works, result.dataset.snapshot.labels
        order = np.argsort(result.ids["items"].names(works.ids).astype(str))
        report = {c.name: c.use for t in result.report.tables if t.name == "items" for c in t.columns}
        return works.take(order), labels, report

    return goods


def named(works, labels, column):
    return [None if code < 0 else labels[column][code] for code in works[column]]


def test_few_integers_are_a_category_and_many_are_a_number(goods):
    works, labels, _ = goods(shelf=[at % 3 for at in range(N)], weight=[at * 1000 for at in range(N)])
    assert named(works, labels, "shelf") == [str(at % 3) for at in range(N)]
    works, _, report = goods(weight=list(range(N)))
    assert works["weight"].dtype == np.int32  # a small catalogue: 20 values are few
    assert report["weight"].startswith("category")


def test_few_whole_numbers_are_a_category(goods):
    flags = [float(at % 2) if at else None for at in range(N)]
    works, labels, _ = goods(flag=flags, price=[at / 2 for at in range(N)])
    assert named(works, labels, "flag") == [None if entry is None else str(int(entry)) for entry in flags]
    assert works["price"].dtype == np.float32 and works["price"].tolist() == [at / 2 for at in range(N)]


def test_categories_and_ignore_override_the_inferred_use(goods):
    works, labels, report = goods(
        'categories = ["size"]\nignore = ["words"]', size=[at / 2 for at in range(N)], words=["a b c"] * N
    )
    assert named(works, labels, "size")[3] == "1.5" and "words" not in works.columns
    assert report["words"] == "not used"


def test_separated_texts_are_lists(goods):
    cells = ["a|b", "b| c |a|d", "", "c"] * (N // 4)
    works, labels, report = goods('lists = { kinds = "|" }', kinds=cells)
    rows = list(zip(*(named(works, labels, name) for name in ("kinds", "kinds2", "kinds3")), strict=True))
    assert rows[:4] == [("a", "b", None), ("b", "c", "a"), (None, None, None), ("c", None, None)]
    assert "the first 3 of up to 4 a row" in report["kinds"]
    assert labels["kinds"] == labels["kinds2"]  # one value has one code


def test_json_lists_equal_lists_of_the_file(goods):
    lists = [["x", "y"], ["y"], [], None] * (N // 4)
    works, labels, _ = goods(a=lists, b=['["x", "y"]', '["y"]', "[]", None] * (N // 4))
    assert named(works, labels, "a") == named(works, labels, "b") == ["x", "y", None, None] * (N // 4)


def test_list_of_numbers_is_a_vector(goods):
    vectors = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
    works, _, _ = goods('roles = { vector = "v" }', v=list(vectors))
    np.testing.assert_array_equal(works["v"], vectors)


@pytest.mark.parametrize("width", [4, 40])
def test_vector_file_has_the_order_of_the_rows(goods, tmp_path, width):
    vectors = np.random.default_rng(0).normal(size=(N, width)).astype(np.float32)
    (tmp_path / "shop").mkdir()
    np.save(tmp_path / "shop" / "vectors.npy", vectors)
    works, _, report = goods('roles = { vector = "vectors.npy" }', shelf=["a"] * N)
    np.testing.assert_array_equal(works["vector"], vectors)
    assert report["vectors.npy"] == f"vector of {width}, missing in 0.0% of rows"


def test_vector_with_nan_or_infinity_counts_as_missing(goods, tmp_path):
    vectors = np.ones((N, 4), np.float32)
    vectors[0, 2], vectors[1, 3] = np.nan, np.inf
    (tmp_path / "shop").mkdir()
    np.save(tmp_path / "shop" / "vectors.npy", vectors)
    works, _, report = goods('roles = { vector = "vectors.npy" }', shelf=["a"] * N)
    assert (works["vector"].any(axis=1) == (np.arange(N) > 1)).all()
    assert report["vectors.npy"] == f"vector of 4, missing in {2 / N:.1%} of rows"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, r"vectors\.npy cannot be read"),
        (np.zeros((3, 4)), "has 3 rows, items have"),
        (np.zeros(N), "of shape"),
        (np.array([["a"]] * N), r"expected \(rows, numbers\) of numbers"),
        (np.zeros((N, 1025)), "have 1,025 numbers, expected at most 1,024"),
    ],
)
def test_wrong_vector_file_is_refused(goods, tmp_path, content, cause):
    (tmp_path / "shop").mkdir()
    if content is not None:
        np.save(tmp_path / "shop" / "vectors.npy", content)
    with pytest.raises(DataError, match=cause):
        goods('roles = { vector = "vectors.npy" }', shelf=["a"] * N)


def test_roles_become_columns_of_the_snapshot(goods):
    works, labels, _ = goods(
        'roles = { creator = "who", song = "tune", type = "form", tag = "about", published = "since" }',
        who=[f"maker {at % 4}" if at else None for at in range(N)],
        tune=[f"song {at % 6}" for at in range(N)],
        form=["audio", "video"] * (N // 2),
        about=["x"] * N,
        since=pa.array([1_600_000_000_000 + at for at in range(N)], pa.timestamp("ms")),
    )
    assert works["creator_id"][0] == -1 - works.ids[0] and len(set(works["creator_id"][1:].tolist())) == 4
    assert len(set(works["song_id"].tolist())) == 6 and works["song_id"].min() >= 0
    assert named(works, labels, "type")[:2] == ["audio", "video"]
    assert works["upload_ms"].tolist() == [1_600_000_000_000 + at for at in range(N)]


def test_column_named_like_a_role_or_counter_is_renamed(goods):
    works, _, _ = goods(creator_id=[1.5] * N, count_likes=[at / 2 for at in range(N)])
    assert {"creator_id_", "count_likes_"} <= works.columns.keys()
    assert not {"creator_id", "count_likes"} & works.columns.keys()


def test_report_has_ranges_and_missing_fractions(tmp_path, read):
    folder = write_shop(tmp_path / "shop", shop_rows())
    (folder / "items.csv").write_text(
        "sku,price\n" + "".join(f"{sku},{at / 2 if at else ''}\n" for at, sku in enumerate(SKUS))
    )
    (folder / "data.toml").write_text(TOML.format(ending="csv") + '[items]\npath = "items.csv"\nid = "sku"\n')
    report = read(folder).report
    columns = {(table.name, column.name): column for table in report.tables for column in table.columns}
    price = columns["items", "price"]
    assert (price.minimum, price.maximum, price.missing) == ("0.5", f"{(N - 1) / 2:g}", 1 / N)
    assert columns["events", "at"].minimum.startswith("2023-11-14T22:1")
    assert report.to_dict()["tables"][0]["columns"]
