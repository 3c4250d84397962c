"""The cleaned log → ``shown``, a row an exposure: user u, item i, moment t, and a column l0, l1, … for each label.

impressions  a row of the log is an exposure, its labels stand in its columns
actions      a row is an event. A view is an exposure; another event makes a label of the view that it belongs to: that of
             its request, else the last one of the item by the user within ``window_minutes``. An event without a view
             was preceded by one that nobody logged: it makes an exposure of its own, one for a user, item and window
positives    a row is a positive; negatives are drawn later, when ids are numbers (``negatives.py``)

Rows of one user, item and moment are one exposure: a label is positive where one of them says so.
"""

from __future__ import annotations

from karec.data.own.contract import Contract
from karec.data.own.database import Database
from karec.data.own.files import Source, text
from karec.data.own.report import Reason
from karec.errors import DataError

MINUTE_MS = 60_000
REPEATED = "one user, item and moment with another row"


def make_exposures(database: Database, source: Source, contract: Contract) -> dict[str, Reason]:
    """Makes the table ``shown`` from ``cleaned``, which is dropped. What was left out, by reason."""
    there = set(database.columns("cleaned"))
    left_out: dict[str, Reason] = {}
    if contract.shape == "actions":
        left_out = _join_actions(database, source, contract, there)
    elif contract.shape == "positives":
        database.run("ALTER TABLE cleaned ADD COLUMN l0 UTINYINT DEFAULT 1")
    labels = [f"l{at}" for at in range(len(contract.label_names))]
    others = [name for name in ("scene", "play_ms") if name in there]
    before = database.count("cleaned")
    merged = [*(f"max({name}) AS {name}" for name in (*labels, *(o for o in others if o == "play_ms")))]
    merged += ["min(scene) AS scene"] if "scene" in others else []
    database.run(f"CREATE TABLE shown AS SELECT u, i, t, {', '.join(merged)} FROM cleaned GROUP BY u, i, t")
    database.run("DROP TABLE cleaned")
    repeated = before - database.count("shown")
    return left_out | ({REPEATED: Reason(repeated)} if repeated else {})


def _join_actions(database: Database, source: Source, contract: Contract, there: set[str]) -> dict[str, Reason]:
    """``cleaned`` becomes a row a view, and one for what nobody viewed, with labels."""
    events = [label.event for label in contract.labels.values()]
    view, window = contract.events.view, round(contract.events.window_minutes * MINUTE_MS)
    counts = dict(database.rows("SELECT event, count(*) FROM cleaned GROUP BY event ORDER BY event"))
    for name in (view, *events):
        if name not in counts:
            raise DataError(
                f"{source.files[0]}: column {contract.events.columns.event!r} never says {name!r}; it says "
                f"{', '.join(f'{each!r} ({n:,})' for each, n in list(counts.items())[:12])}"
            )
    others = {name: n for name, n in counts.items() if name not in (view, *events)}
    extra = [name for name in ("scene", "play_ms") if name in there]
    columns = "".join(f", {name}" for name in extra)
    database.run(
        f"CREATE TABLE views AS SELECT row_number() OVER () AS v, * FROM (SELECT u, i, t{', request' if 'request' in there else ''}"
        f"{columns} FROM cleaned WHERE event = {text(view)} ORDER BY t, u, i)"
    )
    wanted = ", ".join(text(event) for event in dict.fromkeys(events))
    database.run(
        f"CREATE TABLE acts AS SELECT u, i, t, event{', request' if 'request' in there else ''}{columns} FROM cleaned "
        f"WHERE event IN ({wanted}) AND event <> {text(view)}"
    )
    if "request" in there:
        joined = (
            "SELECT a.*, v.v FROM acts a LEFT JOIN (SELECT u, i, request, min(v) AS v FROM views GROUP BY ALL) v "
            "ON a.u = v.u AND a.i = v.i AND a.request = v.request"
        )
    else:
        joined = (
            f"SELECT a.*, CASE WHEN a.t - v.t <= {window} THEN v.v END AS v FROM acts a "
            "ASOF LEFT JOIN views v ON a.u = v.u AND a.i = v.i AND a.t >= v.t"
        )
    database.run(f"CREATE TABLE joined AS {joined}")
    flags = ", ".join(
        f"(coalesce(max(CASE WHEN event = {text(event)} THEN 1 ELSE 0 END), 0))::UTINYINT AS l{at}"
        for at, event in enumerate(events)
    )
    of_view = ", ".join(
        f"1::UTINYINT AS l{at}" if event == view else f"coalesce(l{at}, 0)::UTINYINT AS l{at}"
        for at, event in enumerate(events)
    )
    merged = "".join(f", {'min' if name == 'scene' else 'max'}({name}) AS {name}" for name in extra)
    database.run("DROP TABLE cleaned")
    database.run(
        f"CREATE TABLE cleaned AS SELECT u, i, t{columns}, {of_view} FROM views LEFT JOIN "
        f"(SELECT v, {flags} FROM joined WHERE v IS NOT NULL GROUP BY v) USING (v) "
        f"UNION ALL SELECT u, i, min(t) AS t{merged}, {flags} FROM joined WHERE v IS NULL GROUP BY u, i, t // {max(window, 1)}"
    )
    for table in ("views", "acts", "joined"):
        database.run(f"DROP TABLE {table}")
    return {f"event {name!r}, which is no label and not the view": Reason(n) for name, n in others.items()}
