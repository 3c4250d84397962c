"""Screening: uploads → days of candidates → one allocation → the kept works.

    OUT/days/2026-11-03.parquet   a day's candidates; computed again if its uploads, rules or model changed
    OUT/kept.parquet              day, id, quality of the kept works
    OUT/screen.json               rejected works by reason and day; quotas; notes

The same uploads, settings and model give the same bytes, in any order of screening the days.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from karec.data.database import SPILL, Database, open_database, quote_name, scan_sql
from karec.errors import DataError
from karec.files import remove_leftovers, write_text_aside
from karec.screening.allocation import Allocation, allocate
from karec.screening.day import DayScreening, needed_columns
from karec.screening.day_file import DayFacts, day_digest, read_facts
from karec.screening.library import Day, check_days, day_folders, merge_needs, read_day, window_days
from karec.screening.quality import QualityScorer, make_scorer
from karec.screening.rules import BlockList, load_block_lists, read_block_lists
from karec.screening.selection import KEPT_DAY, KEPT_ID, MADE_OF, Window, count_levels, write_kept
from karec.screening.settings import ScreeningSettings
from karec.times import Progress

FORMAT = 1
DAYS, KEPT, SUMMARY = "days", "kept.parquet", "screen.json"


@dataclass(frozen=True)
class ScreeningResult:
    """Content of screen.json. ``days``: {day: uploads, rejected works by reason, kept works}.

    ``redone``: days that this run screened; not in the file.
    """

    made_of: str
    last: str
    trained_until: str | None
    keep: int
    days: Mapping[str, Mapping[str, Any]]
    quotas: Sequence[Mapping[str, Any]]
    violations: Sequence[str]
    notes: Sequence[str]
    redone: Sequence[str]

    def total(self) -> dict[str, int]:
        """Returns {reason: works} over the days, and "kept", in the order in which a work is checked."""
        counts: Counter[str] = Counter()
        for day in self.days.values():
            counts.update(day["rejected"])
        order = self.reasons
        return {reason: counts[reason] for reason in order} | {
            "kept": sum(d["kept"] for d in self.days.values())
        }

    @property
    def reasons(self) -> list[str]:
        """Reasons that rejected a work, "quota" last."""
        used = dict.fromkeys(reason for day in self.days.values() for reason in day["rejected"])
        return [*(reason for reason in used if reason != "quota"), *(["quota"] if "quota" in used else [])]

    @property
    def uploads(self) -> int:
        return sum(int(day["uploads"]) for day in self.days.values())


def screen(
    settings: ScreeningSettings,
    out: Path,
    *,
    last: date | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> ScreeningResult:
    """Screens the window that ends with the day ``last`` (None: the latest) into ``out``.

    Raises DataError, ConfigError, MissingExtra. Cost: the new days, and three passes over the window's
    candidates.
    """
    folders = day_folders(settings.folder / settings.uploads)
    inside, older_days = window_days(folders, last, settings.max_days, settings.missing_days)
    days = [read_day(day, folders[day]) for day in inside]
    scorer = make_scorer(settings)
    check_days(days, merge_needs(needed_columns(settings, scorer)))
    block_lists = read_block_lists(settings, days[0].column_types)
    _prepare_folder(out)
    with open_database(out, extra="screen") as duckdb:
        load_block_lists(duckdb, block_lists)
        paths = {day.day: out / DAYS / f"{day.day}.parquet" for day in days}
        facts, redone = {}, []
        for number, day in enumerate(days, 1):
            path, digest = paths[day.day], day_digest(settings, day, scorer, block_lists)
            stored = read_facts(path)
            if stored is None or stored.made_of != digest or _is_newer(day, path):
                screening = DayScreening(duckdb, settings, day, scorer, block_lists, threads)
                stored = screening.run(path, digest)
                redone.append(str(day.day))
            facts[day.day] = stored
            if progress is not None:
                progress(number, len(days), "screening, days")
        for old_day in older_days:
            (out / DAYS / f"{old_day}.parquet").unlink(missing_ok=True)
        older_rows = {day: read_day(day, folders[day]).rows for day in older_days}
        window = Window(paths, {day: _ages(settings, inside[-1], day) for day in paths})
        levels = count_levels(duckdb, window)
        allocation = allocate(levels, settings.quotas, settings.keep)
        made_of = _digest(settings, facts, older_rows, inside[-1])
        check = partial(_check_unique, duckdb)
        kept = write_kept(duckdb, window, levels, allocation.wanted, out / KEPT, made_of=made_of, check=check)
    screened = ScreeningResult(
        made_of,
        str(inside[-1]),
        None if scorer.trained_until is None else str(scorer.trained_until),
        settings.keep,
        _by_day(settings, facts, kept, older_rows),
        [asdict(quota) | {"violation": quota.violation} for quota in allocation.quotas],
        _violations(allocation, sum(kept.values()), settings.keep),
        _notes(settings, facts, block_lists, inside, scorer, allocation),
        redone,
    )
    content = {key: value for key, value in asdict(screened).items() if key != "redone"}
    write_text_aside(out / SUMMARY, json.dumps({"format": FORMAT, **content}, indent=1, ensure_ascii=False))
    return screened


def _prepare_folder(out: Path) -> None:
    """Makes the folders, and removes what a killed run left."""
    (out / DAYS).mkdir(parents=True, exist_ok=True)
    remove_leftovers(out, r"(kept\.parquet|screen\.json)")
    remove_leftovers(out / DAYS, r"[0-9-]+\.parquet")
    for spilled in out.glob(f"{SPILL}*"):
        shutil.rmtree(spilled)


def read_result(out: Path) -> ScreeningResult:
    """Reads ``OUT/screen.json``.

    Raises DataError if it is missing, of another format, or of another screening than the kept works, as
    after a kill.
    """
    import pyarrow.parquet as pq

    try:
        content = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        result = ScreeningResult(**content, redone=())
        made_of = pq.read_schema(out / KEPT).metadata[MADE_OF].decode()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out / SUMMARY}: not a result of karec screen: {error}") from error
    if made_of != result.made_of:
        raise DataError(f"{out / KEPT} and {SUMMARY} are of different screenings. Run karec screen again.")
    return result


def _is_newer(day: Day, path: Path) -> bool:
    """Returns True if a shard was written after the day's file; its digest may be unchanged."""
    return max(shard.path.stat().st_mtime_ns for shard in day.shards) >= path.stat().st_mtime_ns


def _ages(settings: ScreeningSettings, last: date, day: date) -> int:
    """Returns the bits of the quotas by age that include works of ``day``."""
    age = (last - day).days
    return sum(
        1 << q
        for q, quota in enumerate(settings.quotas)
        if quota.age_days is not None and age < quota.age_days
    )


def _digest(
    settings: ScreeningSettings, facts: Mapping[date, DayFacts], older_rows: Mapping[date, int], last: date
) -> str:
    parts = {
        "format": FORMAT,
        "keep": settings.keep,
        "quotas": [quota.to_dict() for quota in settings.quotas],
        "last": str(last),
        "old": [settings.old_reason, sorted((str(day), rows) for day, rows in older_rows.items())],
        "days": {str(day): day_facts.made_of for day, day_facts in facts.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _check_unique(duckdb: Database, path: Path) -> None:
    """Raises DataError if a work is kept on two days."""
    day, work = quote_name(KEPT_DAY), quote_name(KEPT_ID)
    query = (
        f"SELECT {work}, min({day}), max({day}) FROM {scan_sql([str(path)])} GROUP BY 1 HAVING count(*) > 1 "
        f"LIMIT 1"
    )
    for value, first, other in duckdb.rows(query):
        raise DataError(
            f"work {value} was uploaded on {first} and on {other}. Remove its row from one of these days."
        )


def _by_day(
    settings: ScreeningSettings,
    facts: Mapping[date, DayFacts],
    kept: Mapping[date, int],
    older_rows: Mapping[date, int],
) -> dict[str, dict[str, Any]]:
    reason = settings.old_reason or ""
    days: dict[str, dict[str, Any]] = {
        str(day): {"uploads": rows, "rejected": {reason: rows} if rows else {}, "kept": 0}
        for day, rows in sorted(older_rows.items())
    }
    for day, day_facts in facts.items():
        n_left = day_facts.candidates - kept[day]
        rejected = dict(day_facts.rejected) | ({"quota": n_left} if n_left else {})
        days[str(day)] = {"uploads": day_facts.uploads, "rejected": rejected, "kept": kept[day]}
    return days


def _violations(allocation: Allocation, kept: int, keep: int) -> list[str]:
    messages = [quota.message for quota in allocation.quotas if quota.violation]
    if kept < keep:
        messages.append(f"keep: kept {kept:,} works, expected {keep:,}; quotas allow no more")
    return messages


def _notes(
    settings: ScreeningSettings,
    facts: Mapping[date, DayFacts],
    block_lists: Mapping[str, BlockList],
    window_days_: Sequence[date],
    scorer: QualityScorer,
    allocation: Allocation,
) -> list[str]:
    notes = [f"{day}: no uploads" for day, day_facts in facts.items() if not day_facts.uploads]
    missing = [
        day for day in settings.missing_days if window_days_[0] < day < window_days_[-1] and day not in facts
    ]
    notes += [f"{day} is missing, as set in screen.toml" for day in sorted(missing)]
    unexpected = sorted(day for day in settings.missing_days if day in facts)
    notes += [
        f"{day} is in missing_days of screen.toml but has uploads, which were screened" for day in unexpected
    ]
    for reason, block_list in block_lists.items():
        n_found = len({place for fact in facts.values() for place in fact.listed[reason]})
        if n_found < len(block_list.values):
            example = next(
                v
                for p, v in enumerate(block_list.values)
                if all(p not in fact.listed[reason] for fact in facts.values())
            )
            notes.append(
                f"{block_list.rule.not_in}: {len(block_list.values) - n_found:,} of "
                f"{len(block_list.values):,} ids have no uploads in these days, for example {example}"
            )
    notes += [
        f"quota {quota.name!r}: no candidate belongs to it" for quota in allocation.quotas if not quota.supply
    ]
    not_compared = sum(fact.not_compared for fact in facts.values())
    if not_compared:
        notes.append(
            f"{not_compared:,} works without a song or a content vector were not compared with others"
        )
    if scorer.trained_until is not None and scorer.trained_until >= window_days_[0]:
        notes.append(f"the model was trained on days until {scorer.trained_until}, which are in this window")
    return notes
