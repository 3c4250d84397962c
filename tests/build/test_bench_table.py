"""The table of `make bench` (bench/__main__.py)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
LIMITS = {"copy": 20.0, "fma": 100.0}
INFO = {"kernel": "scan", "size": "N=10", "calls": 4, "items": 10, "bytes": 50, "limit": "copy"}


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("bench_table", BENCH / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(table, **info):
    entry = {"extra_info": {**INFO, **info}, "stats": {"median": 40e-9}}
    return table.rows_of(entry, "avx2", LIMITS)


def test_row_has_time_per_item_and_part_of_the_limit(table):
    (row,) = rows(table)
    assert row["ns_per_item"] == pytest.approx(1.0)  # 40 ns, 4 calls of 10 items
    assert row["rate"] == pytest.approx(5.0) and row["unit"] == "GB/s"
    assert row["percent_of_limit"] == pytest.approx(25.0)


def test_row_has_the_fastest_baseline(table):
    (row,) = rows(table, baselines={"NumPy": 30e-9, "FAISS": 5e-9})
    assert row["baseline"] == "FAISS" and row["ratio"] == pytest.approx(0.5)
    assert "slower" in table.cells(row)[7]


def test_rows_include_the_parts_of_a_benchmark(table):
    part = {"kernel": "step", "size": "3", "seconds": 6e-9, "items": 3}
    result = rows(table, parts=[part])
    assert [row["kernel"] for row in result] == ["step", "scan"]
    assert result[0]["ns_per_item"] == pytest.approx(2.0)
    entry = {"extra_info": {"parts": [part]}, "stats": {"median": 1.0}}
    assert table.rows_of(entry, "avx2", LIMITS) == result[:1]


def test_change_compares_rows_of_the_same_instruction_set(table):
    (row,) = rows(table)
    before = {**row, "ns_per_item": 0.8}
    assert table.with_change(row, {table.key_of(before): before})["change"] == pytest.approx(0.25)
    other = {**before, "isa": "avx512"}
    assert "change" not in table.with_change(row, {table.key_of(other): other})
