"""Files in and out: import of a log, rank logs, screening, and the refresh of item vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import workloads

from karec.config import open_bundle
from karec.data.load import load
from karec.refresh.item_vectors import item_vectors

USERS, ITEMS = 20_000, 10_000
DATA = """\
[events]
path = "log.{ending}"
columns = {{ user = "user", item = "item", time = "time", scene = "scene" }}
[labels]
click = {{ column = "click" }}
[items]
path = "items.{ending}"
id = "item"
roles = {{ creator = "creator" }}
"""


def names(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast("string"), "")


def write_files(folder: Path, n: int, ending: str) -> None:
    """A log with text ids, a scene and a label; items with a creator, a category and a price."""
    rng = np.random.default_rng(0)
    tables = {
        "log": {
            "user": names("user-", rng.integers(0, USERS, n)),
            "item": names("item-", (ITEMS * rng.random(n) ** 2).astype(np.int64)),
            "time": 1_700_000_000_000 + np.arange(n) * 50 + rng.integers(0, 1000, n),
            "scene": pc.take(pa.array(["home", "search", "profile"]), pa.array(rng.integers(0, 3, n))),
            "click": rng.integers(0, 2, n).astype(np.int8),
        },
        "items": {
            "item": names("item-", np.arange(ITEMS)),
            "creator": names("maker-", np.arange(ITEMS) % (ITEMS // 20)),
            "shelf": names("shelf ", rng.integers(0, 30, ITEMS)),
            "price": np.round(rng.lognormal(3, 1, ITEMS), 2),
        },
    }
    write = pq.write_table if ending == "parquet" else pa.csv.write_csv
    for name, columns in tables.items():
        write(pa.table(columns), folder / f"{name}.{ending}")
    (folder / "data.toml").write_text(DATA.format(ending=ending))


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_import(compare, ending, tmp_path):
    """From data.toml to a dataset. DuckDB works on threads of its own; their processor time counts."""
    n, turn = workloads.N_EVENTS // 5, iter(range(10**9))
    write_files(tmp_path, n, ending)

    def run_karec():
        folder = tmp_path / f"ids-{next(turn)}"
        folder.mkdir()
        return load(tmp_path, folder)

    bytes_ = (tmp_path / f"log.{ending}").stat().st_size
    compare(f"data: import {ending}", f"{n:,} events", run_karec, items=n, bytes_=bytes_)


def test_refresh_of_item_vectors(compare, world):
    """Features and item tower, as a round of `karec refresh` computes them."""
    bundle = open_bundle(world)
    rows = np.arange(len(bundle.snapshot.works))

    def run_karec():
        for _ in item_vectors(bundle.snapshot, bundle.encoder, bundle.item_tower, rows, 0):
            pass

    compare("data: refresh item vectors", f"{len(rows):,} items", run_karec, items=len(rows))
