import numpy as np
import pytest
from own_files import NOW_MS, shop_rows, write_shop

from karec.data.load import load
from karec.errors import DataError


@pytest.fixture
def read(tmp_path_factory):
    """``read(folder, …)``: what is loaded from its data.toml, at a moment after the last event."""

    def read(folder, **options):
        return load(folder, tmp_path_factory.mktemp("ids"), now_ms=NOW_MS, **options)

    return read


@pytest.fixture
def same():
    """``same(one, other)`` asserts that two imports give the same dataset: ids, exposures, tables, cuts."""

    def same(one, other):
        a, b = one.dataset, other.dataset
        assert (a.train_until_ms, a.valid_until_ms, a.tasks, a.snapshot.labels) == (
            b.train_until_ms,
            b.valid_until_ms,
            b.tasks,
            b.snapshot.labels,
        )
        for name in ("user_id", "work_id", "time_ms", "scene"):
            np.testing.assert_array_equal(
                getattr(a.exposures, name), getattr(b.exposures, name), err_msg=name
            )
        for name, label in a.exposures.labels.items():
            np.testing.assert_array_equal(label, b.exposures.labels[name], err_msg=name)
        for table in ("works", "users"):
            mine, its = getattr(a.snapshot, table), getattr(b.snapshot, table)
            np.testing.assert_array_equal(mine.ids, its.ids)
            assert mine.columns.keys() == its.columns.keys()
            for name, column in mine.columns.items():
                np.testing.assert_array_equal(column, its[name], err_msg=name)
        for what, ids in one.ids.items():
            rows = getattr(a.snapshot, {"items": "works", "users": "users"}[what]).ids
            assert ids.names(rows).tolist() == other.ids[what].names(rows).tolist()

    return same


@pytest.fixture
def shop(tmp_path):
    """A shop's log as CSV, and its data.toml."""
    return write_shop(tmp_path / "shop", shop_rows())


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
