"""Runs the benchmarks, prints one table and writes build/bench.json.

    python bench [NAME]                 # NAME: a family (scoring, recall, …) or a part of a test's name (dpp)
    KAREC_FORCE_ISA=avx2 python bench   # another instruction set

A row is one kernel at one size: processor time of one thread, medians of rounds in which karec and its
baselines take turns. GB/s and GFLOP/s count the bytes and operations that the work needs at least. `% of
limit` compares them with this machine's limit, measured in the same run: C copy bandwidth, G random rows of
the same width, F fused multiply-adds. `ratio` is the time of the strongest baseline divided by karec's:
below 1, karec is slower. `change` is karec's time compared with the row of the last build/bench.json that has
the same kernel, size and instruction set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np

from karec.index import ItemIndex

HERE = Path(__file__).parent
OUT = machine.ROOT / "build" / "bench.json"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
COLUMNS = (
    "kernel",
    "size",
    "isa",
    "ns/item",
    "GB/s|GFLOP/s",
    "% of limit",
    "strongest baseline",
    "ratio",
    "change",
)
Row = dict[str, Any]


def run_pytest(name: str) -> list[dict[str, Any]]:
    """Returns pytest-benchmark's entries of the benchmarks whose file or test names contain `name`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "benchmarks.json"
        options = [
            "-q",
            "-p",
            "no:cacheprovider",
            "--benchmark-quiet",
            f"--benchmark-json={report}",
            "-W",
            "ignore",
        ]
        command = [sys.executable, "-m", "pytest", str(HERE), *options, *(["-k", name] if name else [])]
        environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"}
        process = subprocess.run(command, env=environment | ONE_THREAD, cwd=machine.ROOT, check=False)
        if not report.exists() or not report.stat().st_size:
            raise SystemExit(process.returncode or f"no benchmark is called {name!r}")
        if process.returncode:
            print("some benchmarks failed; the table contains the others", file=sys.stderr)
        entries: list[dict[str, Any]] = json.loads(report.read_text())["benchmarks"]
        return entries


def rows_of(entry: dict[str, Any], isa: str, limits: dict[str, float]) -> list[Row]:
    """Returns the rows of one benchmark: those of its parts, and its own if it has a kernel."""
    info = entry["extra_info"]
    own = [{**info, "seconds": entry["stats"]["median"] / info["calls"]}] if "kernel" in info else []
    return [row_of(part, isa, limits) for part in [*info.get("parts", []), *own]]


def row_of(info: dict[str, Any], isa: str, limits: dict[str, float]) -> Row:
    seconds, items = info["seconds"], info["items"]
    row: Row = {
        "kernel": info["kernel"],
        "size": info["size"],
        "isa": isa,
        "ns_per_item": seconds / items * 1e9,
    }
    for unit, key in (("GB/s", "bytes"), ("GFLOP/s", "flops")):
        if info.get(key):
            row |= {"rate": info[key] / seconds * 1e-9, "unit": unit}
    if info.get("limit"):
        row |= {"limit": info["limit"], "percent_of_limit": 100 * row["rate"] / limits[info["limit"]]}
    if baselines := info.get("baselines"):
        strongest = min(baselines, key=lambda name: baselines[name])
        row |= {"baseline": strongest, "ratio": baselines[strongest] / seconds}
    return row | {"measured": time.strftime("%Y-%m-%d %H:%M")}


def with_change(row: Row, last: dict[tuple[str, ...], Row]) -> Row:
    last_row = last.get(key_of(row))
    return row if last_row is None else {**row, "change": row["ns_per_item"] / last_row["ns_per_item"] - 1}


def key_of(row: Row) -> tuple[str, ...]:
    return row["kernel"], row["size"], row["isa"]


def cells(row: Row) -> list[str]:
    rate = f"{row['rate']:.3g} {row['unit']}" if "rate" in row else ""
    limit = f"{row['percent_of_limit']:.0f} {row['limit'][0].upper()}" if "limit" in row else ""
    ratio = f"{row['ratio']:.2f}" + ("  slower" if row["ratio"] < 1 else "") if "ratio" in row else ""
    change = f"{row['change']:+.0%}" if "change" in row else ""
    ns = f"{row['ns_per_item']:,.3g}" if row["ns_per_item"] < 1000 else f"{row['ns_per_item']:,.0f}"
    return [row["kernel"], row["size"], row["isa"], ns, rate, limit, row.get("baseline", ""), ratio, change]


def print_table(rows: list[Row]) -> None:
    table = [list(COLUMNS), *(cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right_columns = {3, 4, 5}
    for line in table:
        padded = [
            cell.rjust(width) if column in right_columns else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(padded).rstrip())


def main() -> None:
    name, start = sys.argv[1] if len(sys.argv) > 1 else "", time.perf_counter()
    isa = ItemIndex.build([1], np.ones((1, 1), np.float32)).isa
    limits = machine.limits()
    print(
        "limits of one core: " + ", ".join(f"{name} {value:g}" for name, value in limits.items()), flush=True
    )
    last_rows: list[Row] = json.loads(OUT.read_text())["rows"] if OUT.exists() else []
    last = {key_of(row): row for row in last_rows}
    rows = [with_change(row, last) for entry in run_pytest(name) for row in rows_of(entry, isa, limits)]
    print_table(rows)
    other_rows = [row for key, row in last.items() if key not in {key_of(row) for row in rows}]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"limits": limits, "rows": [*rows, *other_rows]}, indent=1) + "\n")
    print(f"{len(rows)} rows in {time.perf_counter() - start:.0f} s; all rows are in {OUT}")


if __name__ == "__main__":
    main()
