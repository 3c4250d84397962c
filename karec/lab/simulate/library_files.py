"""Writes a synthetic library as files for karec screen.

FOLDER/uploads/day=2026-10-01/part-0.parquet …, FOLDER/outcomes/day=…, FOLDER/screen.toml, FOLDER/blocked.txt
"""

from __future__ import annotations

from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path

from karec.files import write_text_aside
from karec.lab.simulate.day_shards import write_day_shards
from karec.lab.simulate.uploads_library import Library
from karec.times import Progress

FIRST_DAY = date(2026, 10, 1)
WORKS_PER_KEPT = 10
TRAINING_FRACTION = 0.4  # of the days
BLOCKED_FRACTION = 0.002  # of the creators


def write_library(
    folder: Path, works: int, days: int, seed: int = 0, progress: Progress | None = None
) -> None:
    """Writes about ``works`` works, evenly over ``days`` days. Raises ValueError if there are too few."""
    if days < 3 or works < days:
        raise ValueError(
            f"works is {works} and days is {days}, expected at least three days and one work per day"
        )
    library = Library(works // days, FIRST_DAY, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(days):
        date_of_day, day = FIRST_DAY + timedelta(number), library.day(number)
        write_day_shards(folder / "uploads", date_of_day, day.columns | {"content_vector": day.vectors})
        outcomes = {
            "work_id": day.columns["work_id"],
            "exposures": day.exposures,
            "long_views": day.long_views,
        }
        write_day_shards(folder / "outcomes", date_of_day, outcomes)
        if progress is not None:
            progress(number + 1, days, "drawing a library, days")
    last_training_day = FIRST_DAY + timedelta(max(round(days * TRAINING_FRACTION), 2) - 1)
    blocked = range(0, len(library.skill), round(1 / BLOCKED_FRACTION))
    write_text_aside(folder / "blocked.txt", "# creators\n" + "".join(f"{creator}\n" for creator in blocked))
    text = files("karec.screening").joinpath("starting.toml").read_text(encoding="utf-8")
    text = text.replace("keep = 100_000", f"keep = {max(works // WORKS_PER_KEPT, 1):_}").replace(
        "2026-10-10", str(last_training_day)
    )
    write_text_aside(folder / "screen.toml", text)
