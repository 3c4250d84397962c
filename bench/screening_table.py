"""Screening of a made-up library: time, processor time and memory, and what of the later popular it lets
through.

    python bench/screening_table.py [--works 10_000_000] [--days 20] [--folder DIR]

Draws the library into DIR (else a temporary folder), unless it is there, and keeps one work of ten. Each row
is a process of its own, `karec screen`, on the cores that this process may use (taskset -c 0,1 for two):

    rules       rules, quotas and the kept works; quality is a column, works are not compared
    learning    the quality model, from the first two fifths of the days, and `all`; left out where DIR has a
    model all         rules, the model's quality, near-duplicates, quotas, from nothing
    a day       the same, when one day was not screened yet
    again       the same, when every day was

A work's processor time is user and system time of the process, start included, over the works that it read.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from karec.screening.settings import read_settings


def screened(folder: Path, settings: str, out: str, *more: str) -> tuple[float, float, float]:
    return karec("screen", str(folder / settings), "--out", str(folder / out), *more)


def karec(*arguments: str) -> tuple[float, float, float]:
    """(seconds, processor seconds, GiB at most) of a command in a process of its own.

    Linux counts what this process held at most as the child's too, so that nothing large is done here.
    """
    command = [sys.executable, "-m", "karec.cli", *arguments]
    with open(os.devnull, "w") as nothing:
        start = time.perf_counter()
        process = os.posix_spawn(
            command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nothing.fileno(), 1)]
        )
        _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def row(what: str, works: int, figures: tuple[float, float, float]) -> None:
    seconds, cpu, gib = figures
    rate, each = works / seconds, cpu / works * 1e6
    print(
        f"{what:<10} | {works:>11,} | {seconds:8.1f} s | {rate:>11,.0f}/s | {each:6.2f} µs | {gib:4.2f} GiB",
        flush=True,
    )


def write_rules_only(folder: Path) -> None:
    text = (folder / "screen.toml").read_text(encoding="utf-8")
    text = text.replace('model = "quality.onnx" ', 'column = "pitch_score"').replace(
        "[near_duplicates]\ncosine = 0.95", ""
    )
    (folder / "rules.toml").write_text(text, encoding="utf-8")
    settings = read_settings(folder / "rules.toml")
    assert settings.quality.column is not None and settings.near_duplicates is None


def main(works: int, days: int, folder: Path) -> None:
    if not (folder / "screen.toml").is_file():
        row(
            "drawing",
            works,
            karec("lab", "export-library", str(folder), "--works", str(works), "--days", str(days)),
        )
    n_days = len(list((folder / "uploads").iterdir()))
    size = sum(path.stat().st_size for path in (folder / "uploads").rglob("*.parquet"))
    print(f"{n_days} days, {size / 2**30:.1f} GiB of uploads, {len(os.sched_getaffinity(0))} cores")
    for name in ("screened", "screened-rules", "report"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_rules_only(folder)
    print("what       |       works |       wall |      works/s | CPU a work | memory")
    row("rules", works, screened(folder, "rules.toml", "screened-rules"))
    if not (folder / "quality.onnx").is_file():
        row("learning", works, screened(folder, "screen.toml", "screened", "--train"))
        shutil.rmtree(folder / "screened")
    row("all", works, screened(folder, "screen.toml", "screened"))
    if n_days > 1:
        max((folder / "screened" / "days").iterdir()).unlink()
        row("a day", works // n_days, screened(folder, "screen.toml", "screened"))
    row("again", works, screened(folder, "screen.toml", "screened", "--report", str(folder / "report")))
    told(folder / "report", "learned quality")
    screened(folder, "rules.toml", "screened-rules", "--report", str(folder / "report-rules"))
    told(folder / "report-rules", "quality by one column")


def told(folder: Path, what: str) -> None:
    report = json.loads((folder / "screening.json").read_text(encoding="utf-8"))
    size = f"{report['kept']:,} of {report['uploads']:,} works kept, {len(report['days'])} days"
    print(f"later popular works let through, {what}, {size}:")
    for way, recall in report["recall"].items():
        low, high = recall["ci"] or (np.nan, np.nan)
        print(f"  {way:<18} {recall['value']:7.3f} [{low:.3f}, {high:.3f}]")
    for line in report["violations"]:
        print(f"not met: {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--works", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        main(arguments.works, arguments.days, arguments.folder)
    else:
        with tempfile.TemporaryDirectory(prefix="karec-screening-") as temporary:
            main(arguments.works, arguments.days, Path(temporary))
