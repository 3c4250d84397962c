"""Folders of downloaded data, small files in their layouts, and a small shop."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kuairand_files import LOG
from own_files import NOW_MS, shop_rows, write_shop

from karec.data.load import load
from karec.errors import DataError

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
Files = dict[str, list[list[str]]]


def _root(variable: str, folder: str, probe: str) -> Path:
    root = Path(os.environ.get(variable, BESIDE / folder))
    if not any((place / probe).is_file() for place in (root, root / "data")):
        pytest.skip(f"{root} holds no {probe}: set {variable} to the folder of an official download")
    return root


@pytest.fixture(scope="session")
def kuairand_root() -> Path:
    return _root("KAREC_KUAIRAND", "kuairand-pure", LOG)


@pytest.fixture(scope="session")
def lastfm_root() -> Path:
    return _root("KAREC_LASTFM", "lastfm-hetrec2011", "user_artists.dat")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Returns write(files, delimiter): writes {name: lines of cells} and returns the folder."""

    def written(files: Files, delimiter: str = ",") -> Path:
        for name, lines in files.items():
            text = "".join(delimiter.join(cells) + "\n" for cells in lines)
            (tmp_path / name).write_text(text, encoding="latin-1")
        return tmp_path

    return written


@pytest.fixture
def read(tmp_path_factory):
    """Returns read(folder, …): loads the data at a time after the last event."""

    def read(folder, **options):
        return load(folder, tmp_path_factory.mktemp("ids"), now_ms=NOW_MS, **options)

    return read


@pytest.fixture
def same():
    """Returns same(one, other): asserts that two loads give the same ids, impressions, tables and cuts."""

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
            left, right = getattr(a.snapshot, table), getattr(b.snapshot, table)
            np.testing.assert_array_equal(left.ids, right.ids)
            assert left.columns.keys() == right.columns.keys()
            for name, column in left.columns.items():
                np.testing.assert_array_equal(column, right[name], err_msg=name)
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
    """Returns refused(folder): the message of the error, which has one line."""

    def refused(folder, error=DataError, **options):
        ids = tmp_path / "ids"
        ids.mkdir(exist_ok=True)
        with pytest.raises(error) as raised:
            load(folder, ids, now_ms=NOW_MS, **options)
        assert "\n" not in str(raised.value) and "Error:" not in str(raised.value)
        return str(raised.value)

    return refused
