"""Screening, whole: uploads → days of candidates → one allocation → the kept works.

    OUT/days/2026-11-03.parquet   a day's candidates; made once, and again when its uploads, rules or model
                                  changed
    OUT/kept.parquet              day, id, quality of the works that are kept
    OUT/screen.json               how many works each reason rejected, by day; quotas; what is to be noted

The same uploads, settings and model give the same bytes, in whatever order the days were screened.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from karec.errors import DataError
from karec.files import remove_leftovers, write_text_aside
from karec.screening import quality as qualities
from karec.screening.allocation import Allocation, allocate
from karec.screening.database import SPILL, Database, database, name, scan
from karec.screening.day import DayScreening, needed
from karec.screening.day_file import DayFacts, DayFile, digest_of, read_day_file
from karec.screening.library import Day, check_days, day_folders, needs, read_day, window_days
from karec.screening.rules import Blocked, load_blocked, read_blocked
from karec.screening.selection import KEPT_DAY, KEPT_ID, MADE_OF, Window, thresholds, write_kept
from karec.screening.settings import Settings
from karec.times import Progress

FORMAT = 1
DAYS, KEPT, SUMMARY = "days", "kept.parquet", "screen.json"


@dataclass(frozen=True)
class Screened:
    """What screen.json says. ``days``: {day: its uploads, works rejected by reason, works kept}; ``redone``:
    the days that were screened now and not before, which the file does not say.
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
        """{reason: works} over the days, and "kept", in the order in which a work meets them."""
        found: Counter[str] = Counter()
        for day in self.days.values():
            found.update(day["rejected"])
        order = self.reasons
        return {reason: found[reason] for reason in order} | {
            "kept": sum(d["kept"] for d in self.days.values())
        }

    @property
    def reasons(self) -> list[str]:
        """Those that rejected a work, "quota" last."""
        met = dict.fromkeys(reason for day in self.days.values() for reason in day["rejected"])
        return [*(reason for reason in met if reason != "quota"), *(["quota"] if "quota" in met else [])]

    @property
    def uploads(self) -> int:
        return sum(int(day["uploads"]) for day in self.days.values())


def screen(
    settings: Settings,
    out: Path,
    *,
    last: date | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Screened:
    """Screen the window that ends with the day ``last``, by default the last there is, into ``out``.

    DataError, ConfigError, MissingExtra. Cost: the days that are new, and three passes over the window's
    candidates.
    """
    folders = day_folders(settings.folder / settings.uploads)
    inside, before = window_days(folders, last, settings.most_days, settings.missing_days)
    days = [read_day(day, folders[day]) for day in inside]
    judge = qualities.judge(settings)
    check_days(days, needs(needed(settings, judge)))
    blocked = read_blocked(settings, days[0].kinds)
    (out / DAYS).mkdir(parents=True, exist_ok=True)
    remove_leftovers(out, r"(kept\.parquet|screen\.json)")
    remove_leftovers(out / DAYS, r"[0-9-]+\.parquet")
    for spilled in out.glob(f"{SPILL}*"):  # of a run that was killed
        shutil.rmtree(spilled)
    with database(out) as duckdb:
        load_blocked(duckdb, blocked)
        files, redone = {}, []
        for n, day in enumerate(days, 1):
            path, digest = out / DAYS / f"{day.day}.parquet", digest_of(settings, day, judge, blocked)
            file = read_day_file(path)
            if file is None or file.facts.made_of != digest or _written_since(day, path):
                DayScreening(duckdb, settings, day, judge, blocked, threads).run(path, digest)
                redone.append(str(day.day))
                file = DayFile(path)
            files[day.day] = file
            if progress is not None:
                progress(n, len(days), "screening, days")
        _forget_days(out / DAYS, before)
        old = {day: read_day(day, folders[day]).rows for day in before}
        window = Window(files, {day: _ages(settings, inside[-1], day) for day in files})
        levels = window.levels()
        allocation = allocate(levels, settings.quotas, settings.keep)
        made_of = _digest(settings, files, old, inside[-1])
        ids = {day.kinds[settings.columns.work] for day in days}
        at = thresholds(window, levels, allocation.wanted)
        kept = write_kept(
            window, at, out / KEPT, made_of, _id_type(*ids), partial(_refuse_kept_twice, duckdb)
        )
    screened = Screened(
        made_of,
        str(inside[-1]),
        None if judge.trained_until is None else str(judge.trained_until),
        settings.keep,
        _by_day(settings, files, kept, old),
        [asdict(quota) | {"violation": quota.violation} for quota in allocation.quotas],
        _violations(allocation, sum(kept.values()), settings.keep),
        _notes(settings, files, blocked, inside, judge, allocation),
        redone,
    )
    said = {key: value for key, value in asdict(screened).items() if key != "redone"}
    write_text_aside(out / SUMMARY, json.dumps({"format": FORMAT, **said}, indent=1, ensure_ascii=False))
    return screened


def read_screened(out: Path) -> Screened:
    """``OUT/screen.json``. DataError: it is not there, of another format, or of another screening than the
    kept works, as when karec screen was killed.
    """
    import pyarrow.parquet as pq

    try:
        said = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
        if said.pop("format") != FORMAT:
            raise ValueError("another format")
        screened = Screened(**said, redone=())
        made_of = pq.read_schema(out / KEPT).metadata[MADE_OF].decode()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out / SUMMARY} is no result of karec screen: {error}") from error
    if made_of != screened.made_of:
        raise DataError(
            f"{out / KEPT} is not of the same screening as {SUMMARY} beside it: run karec screen again"
        )
    return screened


def _written_since(day: Day, path: Path) -> bool:
    """A shard was written after the day's file: its footer, which the digest is of, may be the same."""
    return max(shard.path.stat().st_mtime_ns for shard in day.shards) >= path.stat().st_mtime_ns


def _forget_days(folder: Path, before: Sequence[date]) -> None:
    """Files of days before the window go."""
    for day in before:
        with suppress(FileNotFoundError):
            (folder / f"{day}.parquet").unlink()


def _ages(settings: Settings, last: date, day: date) -> int:
    """The bits of the quotas by age that works of ``day`` fall under."""
    age = (last - day).days
    return sum(
        1 << q
        for q, quota in enumerate(settings.quotas)
        if quota.age_days is not None and age < quota.age_days
    )


def _digest(settings: Settings, files: Mapping[date, DayFile], old: Mapping[date, int], last: date) -> str:
    parts = {
        "format": FORMAT,
        "keep": settings.keep,
        "quotas": [asdict(quota) for quota in settings.quotas],
        "last": str(last),
        "old": [settings.old_reason, sorted((str(day), rows) for day, rows in old.items())],
        "days": {str(day): file.facts.made_of for day, file in files.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _id_type(kind: str) -> Any:
    import pyarrow as pa

    return pa.int64() if kind == "integer" else pa.string()


def _refuse_kept_twice(duckdb: Database, path: Path) -> None:
    """DataError: a work is kept on two days."""
    day, work = name(KEPT_DAY), name(KEPT_ID)
    query = (
        f"SELECT {work}, min({day}), max({day}) FROM {scan([str(path)])} GROUP BY 1 HAVING count(*) > 1 "
        f"LIMIT 1"
    )
    for value, first, other in duckdb.rows(query):
        raise DataError(
            f"work {value} was uploaded on {first} and on {other}: leave its row out of one of these days"
        )


def _by_day(
    settings: Settings, files: Mapping[date, DayFile], kept: Mapping[date, int], old: Mapping[date, int]
) -> dict[str, dict[str, Any]]:
    reason = settings.old_reason or ""
    found: dict[str, dict[str, Any]] = {
        str(day): {"uploads": rows, "rejected": {reason: rows} if rows else {}, "kept": 0}
        for day, rows in sorted(old.items())
    }
    for day, file in files.items():
        facts, left = file.facts, file.facts.candidates - kept[day]
        rejected = dict(facts.rejected) | ({"quota": left} if left else {})
        found[str(day)] = {"uploads": facts.uploads, "rejected": rejected, "kept": kept[day]}
    return found


def _violations(allocation: Allocation, kept: int, keep: int) -> list[str]:
    found = [quota.told for quota in allocation.quotas if quota.violation]
    if kept < keep:
        found.append(
            f"keep: {keep:,} works were wanted, {kept:,} are kept: there are no more that quotas let through"
        )
    return found


def _notes(
    settings: Settings,
    files: Mapping[date, DayFile],
    blocked: Mapping[str, Blocked],
    inside: Sequence[date],
    judge: qualities.Judge,
    allocation: Allocation,
) -> list[str]:
    notes = [f"{day}: no uploads" for day, file in files.items() if not file.facts.uploads]
    absent = [day for day in settings.missing_days if inside[0] < day < inside[-1] and day not in files]
    notes += [f"{day} is missing, as screen.toml says" for day in sorted(absent)]
    there = sorted(day for day in settings.missing_days if day in files)
    notes += [f"{day} is among missing_days of screen.toml, and is there: it was screened" for day in there]
    facts: list[DayFacts] = [file.facts for file in files.values()]
    for reason, each in blocked.items():
        met = len({place for fact in facts for place in fact.listed[reason]})
        if met < len(each.values):
            unmet = next(
                v for p, v in enumerate(each.values) if all(p not in fact.listed[reason] for fact in facts)
            )
            notes.append(
                f"{each.rule.not_in}: {len(each.values) - met:,} of {len(each.values):,} ids uploaded "
                f"nothing in these days, {unmet} among them"
            )
    notes += [
        f"quota {quota.name!r}: no candidate is of this kind"
        for quota in allocation.quotas
        if not quota.supply
    ]
    without = sum(fact.not_compared for fact in facts)
    if without:
        notes.append(f"{without:,} works without a song or a content vector were not compared with others")
    if judge.trained_until is not None and judge.trained_until >= inside[0]:
        notes.append(f"the model learned from days until {judge.trained_until}, which lie in this window")
    return notes
