"""Reads the units of an experiment and their outcomes from a rank log and events, with DuckDB.

The first request that counts exposes a unit. The outcome of the unit is the sum of its events over the `days`
after that. The outcome of a session has the events that name one of its requests. A unit is complete if its
days end before the end of the experiment and before the last event. Only complete units are in the result.

Left out, and counted by reason: requests outside the experiment's time, of the holdout, or of an arm that the
file lacks; users in two arms of a layer by user; events with a time after their storage or before their own
request; requests and events later than the look, since their clocks may be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import AHEAD_MS
from karec.data.database import Database, database_errors, open_database, quote_text, scan_sql
from karec.errors import DataError
from karec.experiments.design import Design
from karec.experiments.metrics import unknown_counts
from karec.experiments.settings import HOLDOUT
from karec.experiments.units import ArmFacts, ExperimentLog, Units
from karec.times import DAY_MS

NO_WORKS = dict.fromkeys(("item_id", "creator_id"), np.empty(0, np.int64))
NO_PAGES = 0, None, None, None


def read_experiment_log(
    design: Design,
    rank_log: Path,
    events: Any,
    now_ms: int,
    works: Mapping[str, NDArray[Any]] = NO_WORKS,
) -> ExperimentLog:
    """Returns the complete units of a design.

    Args:
        rank_log: folder of Parquet parts.
        events: folder of exported days, or a pyarrow.Table of `karec.online.event_files.to_table`.
        now_ms: time of the look.
        works: `item_id` and `creator_id` (W,) int64, for impressions without a creator.

    Raises:
        DataError: no rank log, no request of the design, no events, an unknown count.

    Cost: reads both once; DuckDB stores on disk what exceeds its memory.
    """
    with open_database(extra="experiments") as database, database_errors(rank_log):
        _load_requests(database, design, rank_log, now_ms)
        if isinstance(events, Path):
            with database_errors(events):
                until_ms, labels = _load_events(database, events, now_ms)
        else:
            with database.table("event_rows", events):
                until_ms, _ = _load_events(database, None, now_ms)
            labels = json.loads(events.schema.metadata[b"karec.events"])["labels"]
        until_ms = int(min(until_ms, now_ms, design.end_ms))
        for message in unknown_counts(design.counts, labels):
            raise DataError(message)
        columns = [_count_sql(name, labels) for name in design.counts]
        _load_facts(database, columns)
        units = _read_units(database, design, until_ms)
        with database.table("works", works):
            facts = _read_facts(database, design, until_ms)
        reasons = "SELECT reason FROM requests UNION ALL SELECT reason FROM events"
        counts = f"SELECT reason, count(*) FROM ({reasons}) WHERE reason <> '' GROUP BY 1 ORDER BY 1"
        left_out: dict[str, int] = dict(database.rows(counts))
        if design.kind == "user" and (n := database.count("units", "n_arms > 1")):
            left_out["users in two arms"] = n
        return ExperimentLog(units, facts, until_ms, left_out)


def _load_requests(database: Database, design: Design, rank_log: Path, now_ms: int) -> None:
    """Creates the table requests."""
    parts = [str(part) for part in sorted(rank_log.glob("*.parquet"))]
    if not parts:
        raise DataError(f"{rank_log} holds no rank log: expected part-*.parquet in a local folder")
    log = scan_sql(parts, union_by_name=True)
    arms = ", ".join(map(quote_text, design.arms))
    database.run(f"""
        CREATE TABLE requests AS
        SELECT *, CASE
            WHEN time_ms > {now_ms + AHEAD_MS} THEN 'requests later than the look'
            WHEN time_ms < {design.start_ms} THEN 'requests before the start'
            WHEN time_ms >= {design.end_ms} THEN 'requests after the end'
            WHEN arm = '{HOLDOUT}' THEN 'requests of the holdout'
            WHEN arm NOT IN ({arms}) THEN 'requests of an arm that the file lacks'
            ELSE '' END AS reason
        FROM (
            SELECT request_id, user_id, min(time_ms) AS time_ms, any_value({design.arm_sql}) AS arm,
                any_value(degraded) AS degraded, any_value(steps_ms) AS steps_ms
            FROM {log} WHERE NOT shadow AND {design.condition} GROUP BY request_id, user_id)""")
    if not database.count("requests"):
        arms = f"SELECT DISTINCT unnest(string_split(arms, ';')) FROM {log} WHERE arms <> '' ORDER BY 1"
        known = [row[0] for row in database.rows(arms)]
        raise DataError(f"{rank_log}: no request of {design.name!r} counts; its requests are in {known}")


def _load_events(database: Database, folder: Path | None, now_ms: int) -> tuple[int, list[str]]:
    """Creates the table events. Returns the time of the last possible event, and the labels of the files."""
    source, labels = "event_rows", list[str]()
    if folder is not None:
        files = [str(file) for file in sorted(folder.glob("events-*.parquet"))]
        if not files:
            raise DataError(f"{folder} has no exported events: expected those of karec export events")
        source = scan_sql(files, union_by_name=True)
        metadata = f"parquet_kv_metadata({quote_text(files[-1])})"
        heads = database.rows(f"SELECT decode(value) FROM {metadata} WHERE key = 'karec.events'")
        labels = json.loads(heads[0][0])["labels"] if heads else []
    is_possible = f"time_ms <= least(logged_ms, {now_ms}) + {AHEAD_MS}"
    ((until_ms,),) = database.rows(f"SELECT max(time_ms) FROM {source} WHERE {is_possible}")
    if until_ms is None:
        raise DataError("there are no events: without them no unit has an outcome")
    database.run(f"""
        CREATE TABLE events AS
        SELECT e.*, greatest(e.time_ms, coalesce(r.time_ms, 0)) AS moment_ms, CASE
            WHEN e.time_ms > e.logged_ms + {AHEAD_MS} THEN 'events from the future'
            WHEN e.time_ms > {now_ms + AHEAD_MS} THEN 'events later than the look'
            WHEN e.time_ms < r.time_ms - {AHEAD_MS} THEN 'events before their request'
            ELSE '' END AS reason
        FROM (
            SELECT DISTINCT ON (event_id) event, time_ms, logged_ms, user_id, item_id, creator_id, play_ms,
                labels, request_id, coalesce(item_type, '') AS item_type
            FROM {source} WHERE user_id IN (SELECT user_id FROM requests WHERE reason = '')) e
        LEFT JOIN requests r ON r.request_id = e.request_id AND r.user_id = e.user_id""")
    return until_ms, labels


def _count_sql(name: str, labels: list[str]) -> tuple[str, str]:
    """Returns two SQL expressions of the count `name`: of a row of events, and of a row of requests."""
    if name == "request":
        return "0", "1"
    if name == "degraded":
        return "0", "(coalesce(degraded, '') <> '')::INT"
    if name == "play_s":
        return "coalesce(play_ms, 0) / 1e3", "0"
    if name in labels:
        return f"list_contains(labels, {quote_text(name)})::INT", "0"
    return f"(event = {quote_text(name)})::INT", "0"


def _load_facts(database: Database, columns: list[tuple[str, str]]) -> None:
    """Creates the tables facts and units.

    facts has a row for each event and request, with a column c0, c1, … for each count.
    """
    of_events = ", ".join(f"{sql[0]}::DOUBLE AS c{i}" for i, sql in enumerate(columns))
    of_requests = ", ".join(f"{sql[1]}::DOUBLE" for sql in columns)
    database.run(f"""
        CREATE TABLE facts AS
        SELECT user_id, moment_ms, request_id, true AS is_event, {of_events} FROM events WHERE reason = ''
        UNION ALL
        SELECT user_id, time_ms, request_id, false, {of_requests} FROM requests WHERE reason = ''""")
    database.run("""
        CREATE TABLE units AS
        SELECT user_id, min(time_ms) AS first_ms, arg_min(arm, time_ms) AS arm, count(DISTINCT arm) AS n_arms
        FROM requests WHERE reason = '' GROUP BY user_id""")


def _read_units(database: Database, design: Design, until_ms: int) -> Units:
    window, names = design.days * DAY_MS, range(len(design.counts))

    def sums(condition: str, prefix: str) -> str:
        return ", ".join(f"coalesce(sum(c{i}) FILTER ({condition}), 0.0) AS {prefix}{i}" for i in names)

    if design.kind == "user":
        is_before = f"moment_ms < first_ms AND moment_ms >= first_ms - {window}"
        query = f"""
            SELECT u.user_id, u.arm, first_ms + {window} AS end_ms,
                {sums(f"moment_ms >= first_ms AND moment_ms < first_ms + {window}", "v")},
                {sums(is_before, "b")}, count(*) FILTER (is_event AND {is_before}) > 0 AS has_before
            FROM units u LEFT JOIN facts f ON f.user_id = u.user_id
            WHERE n_arms = 1 AND first_ms + {window} <= {until_ms}
            GROUP BY u.user_id, u.arm, first_ms ORDER BY u.user_id"""
    else:
        query = f"""
            SELECT r.user_id, r.arm, max(r.time_ms) + {window} AS end_ms,
                {sums(f"moment_ms < r.time_ms + {window}", "v")}, {sums("false", "b")}, false AS has_before
            FROM requests r LEFT JOIN facts f ON f.user_id = r.user_id AND f.request_id = r.request_id
            WHERE reason = '' AND r.time_ms + {window} <= {until_ms}
            GROUP BY r.user_id, r.arm ORDER BY r.user_id, r.arm"""
    columns = database.arrays(query)
    return Units(
        kind=design.kind,
        arms=design.arms,
        user=columns["user_id"],
        arm=np.array([design.arms.index(arm) for arm in columns["arm"].tolist()], np.int64),
        end_ms=columns["end_ms"],
        values={name: columns[f"v{i}"] for i, name in enumerate(design.counts)},
        before={name: columns[f"b{i}"] for i, name in enumerate(design.counts)},
        has_before=columns["has_before"].astype(bool),
    )


def _read_facts(database: Database, design: Design, until_ms: int) -> tuple[ArmFacts, ...]:
    missing = f"contains(degraded, {quote_text(f': {design.name}.')} || arm)"
    of_requests = database.rows(
        f"SELECT arm, count(*), avg((degraded <> '')::INT), avg({missing}::INT), "
        "quantile_cont(steps_ms, 0.99) FROM requests WHERE reason = '' GROUP BY arm"
    )
    pages = {arm: (n, degraded, got_control, p99_ms) for arm, n, degraded, got_control, p99_ms in of_requests}
    of_units = database.rows(
        f"SELECT arm, count(*), count(*) FILTER (first_ms + {design.days * DAY_MS} <= {until_ms}) "
        f"FROM units WHERE n_arms = 1 OR {design.kind == 'session'} GROUP BY arm"
    )
    exposed = {arm: (n, complete) for arm, n, complete in of_units}
    creators = _read_creators(database, design, until_ms) if design.kind == "user" else {}
    return tuple(
        ArmFacts(arm, *exposed.get(arm, (0, 0)), *pages.get(arm, NO_PAGES), creators.get(arm))
        for arm in design.arms
    )


def _read_creators(database: Database, design: Design, until_ms: int) -> dict[str, int]:
    """Returns {arm: distinct creators of its impressions}, over equal numbers of complete units."""
    window = design.days * DAY_MS
    return dict(
        database.rows(f"""
            WITH complete AS (
                SELECT *, row_number() OVER (PARTITION BY arm ORDER BY hash(user_id)) AS place
                FROM units WHERE n_arms = 1 AND first_ms + {window} <= {until_ms}),
            same AS (SELECT * FROM complete WHERE place <= (
                SELECT min(n) FROM (SELECT count(*) AS n FROM complete GROUP BY arm)))
            SELECT arm, count(DISTINCT coalesce(e.creator_id, w.creator_id)) AS n
            FROM same JOIN events e USING (user_id)
                LEFT JOIN works w ON w.item_id = e.item_id AND e.item_type = ''
            WHERE event = 'impression' AND reason = ''
                AND moment_ms >= first_ms AND moment_ms < first_ms + {window}
            GROUP BY arm HAVING n > 0""")
    )
