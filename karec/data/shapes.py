"""The cleaned log → ``shown``, a row an exposure: user u, item i, moment t, and a column l0, l1, … for each
label.

impressions  a row of the log is an exposure, its labels stand in its columns
actions      a row is an event. A view is an exposure; another event makes a label of the view that it belongs
             to: that of its request, else the last one of the item by the user within ``window_minutes``. An
             event without a view was preceded by one that nobody logged: it makes an exposure of its own, one
             for a user, item and window
positives    a row is a positive; negatives are drawn later (``negatives.py``)

``cleaned`` and ``shown`` may hold several rows of one user, item and moment: ``dataset.py`` makes one of
them.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from karec.data.checks import moment_ms
from karec.data.contract import Contract, Label
from karec.data.database import Database, quote_text
from karec.data.files import Source
from karec.data.report import Reason
from karec.errors import DataError

MINUTE_MS = 60_000
PAST = "past_rows"  # the view of rows before the training, where the contract has a past
MOST_NAMED = 12  # events, in an error


def make_exposures(database: Database, source: Source, contract: Contract) -> dict[str, Reason]:
    """Makes ``shown`` from ``cleaned``, a table or a view. What was left out, by reason."""
    if contract.shape == "actions":
        return _join_actions(database, source, contract)
    label = ", 1::UTINYINT AS l0" if contract.shape == "positives" else ""
    begin = contract.split.begin
    if contract.past is None or begin is None:
        database.run(f"CREATE TEMP VIEW shown AS SELECT *{label} FROM cleaned")
        return {}
    gone = f"t < {moment_ms(begin.training, ZoneInfo(contract.zone))}"
    if "day" in database.columns("cleaned"):
        gone = f"day < DATE '{begin.training:%Y-%m-%d}'"
    database.run(f"CREATE TEMP VIEW {PAST} AS SELECT * FROM cleaned WHERE {gone}")
    database.run(f"CREATE TEMP VIEW shown AS SELECT * FROM cleaned WHERE NOT ({gone})")
    count = database.count(PAST)
    return {"before split.begin.training: they are of the past": Reason(count)} if count else {}


def _join_actions(database: Database, source: Source, contract: Contract) -> dict[str, Reason]:
    labels = list(contract.labels.values())
    events = [label.event for label in labels]
    view, window = quote_text(contract.events.view), round(contract.events.window_minutes * MINUTE_MS)
    others = _other_events(database, source, contract)
    columns = database.columns("cleaned")
    extra = [name for name in ("scene", "play_ms") if name in columns]
    more = "".join(f", {name}" for name in extra)
    request = ", request" if "request" in columns else ""
    database.run(
        "CREATE TEMP TABLE views AS SELECT row_number() OVER (ORDER BY t, u, i) AS v, u, i, "
        f"t{request}{more} FROM cleaned WHERE event = {view}"
    )
    value = ", value" if "value" in columns else ""
    wanted = ", ".join(quote_text(event) for event in dict.fromkeys(events))
    database.run(
        f"CREATE TEMP TABLE acts AS SELECT u, i, t, event{request}{value}{more} FROM cleaned WHERE event IN "
        f"({wanted}) AND event <> {view}"
    )
    database.run(f"CREATE TEMP TABLE joined AS {_by_request() if request else _by_window(window)}")
    flags = ", ".join(f"max({_happened(label)})::UTINYINT AS l{at}" for at, label in enumerate(labels))
    of_view = ", ".join(
        f"{1 if quote_text(event) == view else f'coalesce(l{at}, 0)'}::UTINYINT AS l{at}"
        for at, event in enumerate(events)
    )
    merged = "".join(f", {'min' if name == 'scene' else 'max'}({name}) AS {name}" for name in extra)
    database.run(
        f"CREATE TEMP TABLE shown AS SELECT u, i, t{more}, {of_view} FROM views LEFT JOIN (SELECT v, {flags} "
        f"FROM joined WHERE v IS NOT NULL GROUP BY v) USING (v) UNION ALL SELECT u, i, min(t) AS t{merged}, "
        f"{flags} FROM joined WHERE v IS NULL GROUP BY u, i, t // {max(window, 1)}"
    )
    for table in ("views", "acts", "joined"):
        database.run(f"DROP TABLE {table}")
    return {f"event {name!r}, which is no label and not the view": Reason(n) for name, n in others.items()}


def _happened(label: Label) -> str:
    """SQL of an action: it makes the label."""
    happened = f"event = {quote_text(label.event)}"
    return (
        happened if label.at_least is None else f"{happened} AND coalesce(value >= {label.at_least!r}, false)"
    )


def _other_events(database: Database, source: Source, contract: Contract) -> dict[str, int]:
    """Events that mean nothing, counted. DataError: one that means something never occurs."""
    events = [label.event for label in contract.labels.values()]
    counts = dict(database.rows("SELECT event, count(*) FROM cleaned GROUP BY event ORDER BY 2 DESC, 1"))
    for name in (contract.events.view, *events):
        if name not in counts:
            there = ", ".join(f"{each!r} ({n:,})" for each, n in list(counts.items())[:MOST_NAMED])
            column = contract.events.columns.event
            raise DataError(f"{source.files[0]}: column {column!r} never says {name!r}; it says {there}")
    return {name: n for name, n in counts.items() if name not in (contract.events.view, *events)}


def _by_request() -> str:
    return (
        "SELECT a.*, v.v FROM acts a LEFT JOIN (SELECT u, i, request, min(v) AS v FROM views GROUP BY ALL) v "
        "ON a.u = v.u AND a.i = v.i AND a.request = v.request"
    )


def _by_window(window: int) -> str:
    return (
        f"SELECT a.*, CASE WHEN a.t - v.t <= {window} THEN v.v END AS v FROM acts a "
        "ASOF LEFT JOIN views v ON a.u = v.u AND a.i = v.i AND a.t >= v.t"
    )
