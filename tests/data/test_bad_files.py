"""A file that cannot be read is reported with its name and cause. A killed load leaves no partial file."""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tracemalloc

import pyarrow.parquet as pq
import pytest
from own_files import HEAD, NOW_MS, TOML, shop_rows, write_log, write_shop
from own_files import N_ROWS as N

from karec.data.load import load
from karec.index import IdMap


def test_json_key_that_appears_late_is_a_column(tmp_path, read):
    rows = shop_rows(3000)
    shop = write_shop(tmp_path / "shop", [(*row[:4], None) for row in rows[:2500]] + rows[2500:], "jsonl")
    assert set(read(shop).dataset.snapshot.labels["scene"]) == {"home", "search"}


FILES = {
    "no bytes": (b"", r"log\.csv is empty"),
    "header only": (
        ",".join(HEAD).encode() + b"\n",
        r"no row of events can be kept.*no row below the "
        r"header",
    ),
    "named twice": (b"customer,sku,at,at,stars,page\n", r"line 1: the column 'at' is named twice"),
    "named twice, in two cases": (
        b"customer,sku,at,AT,stars,page\n",
        r"line 1: the columns 'at' and 'AT' differ only in upper",
    ),
    "a name of the reader's own": (
        b"customer,sku,at,__Row,stars,page\n",
        r"line 1: a column cannot be "
        r"called '__Row'",
    ),
    "no name": (b"customer,sku,at,,stars\n", r"line 1: column 4 has no name"),
    "binary": (b"\xff\xfe\x00\x01" * 50, r"line 1: the header cannot be read as utf-8"),
    "another column": (
        b"customer,skus,at,stars,page\nc,i,1700000000,3,home\n",
        r"no column 'sku' \(did you mean 'skus'\?\)",
    ),
    "all bad": (
        b"customer,sku,at,stars,page\nc,i,never,3,home\n",
        r"no row of events can be "
        r"kept.*log\.csv:2",
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_file_without_a_usable_row_is_refused(shop, refused, name, skip_bad):
    content, cause = FILES[name]
    (shop / "log.csv").write_bytes(content)
    message = refused(shop, skip_bad=skip_bad)
    assert "log.csv" in message
    assert re.search(cause, message), message


def test_endless_header_is_refused_in_bounded_memory(shop, refused):
    with (shop / "log.csv").open("wb") as file:
        file.truncate(256 * 2**20)
    tracemalloc.start()
    try:
        assert "line 1: the header cannot be read" in refused(shop)
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()


def test_path_without_regular_files_of_one_format_is_refused(shop, refused):
    (shop / "log.csv").unlink()
    assert "log.csv: no such file" in refused(shop)
    os.mkfifo(shop / "log.csv")
    assert "log.csv is not a regular file" in refused(shop)
    (shop / "log.csv").unlink()
    (shop / "log.csv").mkdir()
    assert "log.csv: no such file" in refused(shop)
    write_log(shop / "log.csv", shop_rows(3))
    write_log(shop / "log.csv", shop_rows(3), "jsonl")
    assert "files of several formats, csv, jsonl" in refused(shop)
    (shop / "data.toml").write_text((shop / "data.toml").read_text().replace("log.csv", "log.xlsx"))
    (shop / "log.xlsx").write_bytes(b"PK")
    assert "unknown format, expected a name that ends with" in refused(shop)


def test_files_of_a_table_with_other_columns_are_refused(shop, refused):
    (shop / "data.toml").write_text((shop / "data.toml").read_text().replace("log.csv", "*.csv"))
    write_log(shop, [row[:4] for row in shop_rows(5)], head=HEAD[:4], name="other")
    assert "other.csv has the columns ['customer', 'sku', 'at', 'stars']" in refused(shop)


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_truncated_file_is_refused(tmp_path, refused, ending):
    shop = write_shop(
        tmp_path / "shop", shop_rows(N), "parquet", TOML.replace("log.{ending}", f"log.{ending}")
    )
    path = shop / f"log.{ending}"
    if ending == "csv.gz":
        with write_log(shop, shop_rows(N)).open("rb") as plain, gzip.open(path, "wb") as packed:
            shutil.copyfileobj(plain, packed)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"log.{ending}" in refused(shop)
    path.write_bytes(b"not what its name says\n" * 20)
    assert f"log.{ending}" in refused(shop)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("AT", "the columns 'at' and 'AT' differ only in upper and lower case"),
        ("stars", "the column 'stars' is named twice"),
        ("__row", "cannot be called '__row'"),
        ("file_row_number", "cannot be called 'file_row_number'"),
    ],
)
def test_ambiguous_parquet_column_is_refused(tmp_path, refused, name, cause):
    shop = write_shop(tmp_path / "shop", shop_rows(N), "parquet")
    table = pq.read_table(shop / "log.parquet")
    pq.write_table(table.append_column(name, table["stars"]), shop / "log.parquet")
    assert cause in refused(shop)


def test_repeated_json_key_is_refused(tmp_path, refused):
    shop = write_shop(tmp_path / "shop", shop_rows(N), "jsonl")
    text = (shop / "log.jsonl").read_text()
    for key, cause in (
        ("sku", "the column 'sku' is named twice"),
        ("SKU", "the columns 'sku' and 'SKU' differ"),
    ):
        (shop / "log.jsonl").write_text(text.replace("}", f', "{key}": "x"}}'))
        assert cause in refused(shop)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_csv_is_read_in_its_declared_encoding(shop, read, encoding):
    text = (shop / "log.csv").read_bytes().decode().replace("home", "zu Haus für alle")
    (shop / "log.csv").write_bytes(text.encode(encoding))
    toml = (shop / "data.toml").read_text()
    (shop / "data.toml").write_text(toml.replace("[labels]", f'encoding = "{encoding}"\n[labels]'))
    assert "zu Haus für alle" in read(shop).dataset.snapshot.labels["scene"]


KILLED = """
import os, signal, sys
from pathlib import Path
from karec.data.load import load

def killed_at(done, total, what):
    if what == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

load(Path(sys.argv[1]), Path(sys.argv[2]), killed_at)
"""


@pytest.mark.parametrize("step", ["events", "ids", "impressions"])
def test_killed_load_leaves_no_incomplete_file(shop, read, same, tmp_path, step):
    """Files are written into temporary folders. A map of ids gets its name when it is complete."""
    before = {path.name: path.read_bytes() for path in shop.iterdir()}
    ids = tmp_path / "ids"
    ids.mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", KILLED, str(shop), str(ids), step]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr
    assert {path.name: path.read_bytes() for path in shop.iterdir()} == before
    for path in ids.glob("*.karec"):
        assert len(IdMap.open(path)) > 0
    again = load(shop, ids, now_ms=NOW_MS)
    same(again, read(shop))
