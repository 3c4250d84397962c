"""Makes impressions from the event log: one for a user, item and time.

impressions  a row of the log is an impression with labels in its columns
actions      a row is an event. A view is an impression. Another event is a label of the view of its request,
             else of the user's last view of the item within ``window_minutes``. Events without a view make
             one impression for a user, item and window, without a position
positives    a row is a positive; negatives are drawn later
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.data.contract import Contract
from karec.data.database import Database, quote_text
from karec.data.files import Source
from karec.data.log_settings import Label
from karec.data.report import Reason, shorten
from karec.errors import DataError

MINUTE_MS = 60_000
NUMBERED = "events"  # good rows of the log with numbers for users and items
SHOWN = "shown"  # u, i, t, a column for each label, and scene, play_ms, position, place if the log has them
PAST = "past_events"  # rows before the training, if the contract has a past
REFUND = "the value is negative: a refund"
ONE_SCENE = "home"  # name of the scene if the log has none
MAX_NAMED = 12  # events in an error


@dataclass(frozen=True, eq=False)
class ReadImpressions:
    """Impressions ordered by time, user and item.

    part          (M,) part of each impression in a ready-made split; None: the log is split later
    scenes        names of the scene codes
    n_repeated    rows of the same user, item and time as another row, which are merged with it
    n_differing   rows among them that have other values than the rows before
    """

    impressions: Impressions
    part: NDArray[Any] | None
    scenes: list[str]
    n_repeated: int
    n_differing: int


def create_shown(database: Database, source: Source, contract: Contract) -> dict[str, Reason]:
    """Creates SHOWN from NUMBERED, and PAST. Returns the rows that are left out."""
    refunds = _drop_refunds(database, contract)
    if contract.shape == "actions":
        return refunds | _create_from_actions(database, source, contract)
    label = ", 1::UTINYINT AS l0" if contract.shape == "positives" else ""
    begin = contract.split.begin
    is_past = "false"
    if contract.past is not None and begin is not None:
        is_past = f"t < {contract.to_ms(begin.training)}"
        if contract.events.columns.day is not None:
            is_past = f"day < DATE '{begin.training:%Y-%m-%d}'"
    database.run(f"CREATE TEMP VIEW {PAST} AS SELECT * FROM {NUMBERED} WHERE {is_past}")
    database.run(f"CREATE TEMP VIEW {SHOWN} AS SELECT *{label} FROM {NUMBERED} WHERE NOT ({is_past})")
    count = database.count(PAST)
    past = {"before split.begin.training: they are of the past": Reason(count)} if count else {}
    return refunds | past


def _drop_refunds(database: Database, contract: Contract) -> dict[str, Reason]:
    """Deletes events with a negative value. Those of labels with ``at_least`` are ratings and stay."""
    if contract.events.columns.value is None or contract.shape == "impressions":
        return {}
    rated = [
        event for label in contract.labels.values() if label.at_least is not None for event in label.events
    ]
    is_refund = "value < 0"
    if rated:
        is_refund += f" AND event NOT IN ({', '.join(map(quote_text, rated))})"
    count = database.count(NUMBERED, is_refund)
    database.run(f"DELETE FROM {NUMBERED} WHERE {is_refund}")
    return {REFUND: Reason(count)} if count else {}


def _create_from_actions(database: Database, source: Source, contract: Contract) -> dict[str, Reason]:
    labels = dict(enumerate(contract.labels.values()))
    view, window = quote_text(contract.events.view), round(contract.events.window_minutes * MINUTE_MS)
    others = _other_events(database, source, contract)
    extra: list[str] = [name for name in ("scene", "play_ms") if name in contract.events.columns.named]
    has_part = contract.split.has_parts
    extra += ["part"] if has_part else []
    extra_names = "".join(f", {name}" for name in extra)
    extra_merges = "".join(f", {'max' if name == 'play_ms' else 'min'}({name}) AS {name}" for name in extra)
    keys, same_part = ("u, i, part", " AND a.part = v.part") if has_part else ("u, i", "")
    position, no_position = "", ""
    if contract.events.columns.position is not None:
        position, no_position = ", position", ", NULL::SMALLINT AS position"
    events = ", ".join(quote_text(event) for label in labels.values() for event in label.events)
    database.run(
        f"CREATE TEMP TABLE views AS SELECT *, row_number() OVER (ORDER BY t, u, i) AS v FROM {NUMBERED} "
        f"WHERE event = {view}"
    )
    if contract.events.columns.request is not None:
        of_request = f"(SELECT {keys}, request, min(v) AS v FROM views GROUP BY ALL)"
        join, view_of_action = f"LEFT JOIN {of_request} v USING ({keys}, request)", "v.v"
    else:
        join = f"ASOF LEFT JOIN views v ON a.u = v.u AND a.i = v.i{same_part} AND a.t >= v.t"
        view_of_action = f"CASE WHEN a.t - v.t <= {window} THEN v.v END"
    database.run(
        f"CREATE TEMP TABLE actions AS SELECT a.*, {view_of_action} AS v FROM {NUMBERED} a {join} "
        f"WHERE a.event IN ({events}) AND a.event <> {view}"
    )
    flags = ", ".join(f"max({_has_label(label)})::UTINYINT AS l{at}" for at, label in labels.items())
    of_view = ", ".join(
        f"{1 if contract.events.view in label.events else f'coalesce(l{at}, 0)'}::UTINYINT AS l{at}"
        for at, label in labels.items()
    )
    database.run(
        f"CREATE TEMP TABLE {SHOWN} AS SELECT u, i, t{extra_names}{position}, {of_view} FROM views LEFT JOIN "
        f"(SELECT v, {flags} FROM actions WHERE v IS NOT NULL GROUP BY v) USING (v) "
        f"UNION ALL SELECT u, i, min(t) AS t{extra_merges}{no_position}, {flags} "
        f"FROM actions WHERE v IS NULL GROUP BY {keys}, t // {max(window, 1)}"
    )
    reason = "event {!r}, which is neither a label nor the view"
    return {reason.format(shorten(str(name))): Reason(n) for name, n in others.items()}


def _has_label(label: Label) -> str:
    """Returns SQL: the action makes the label."""
    is_event = f"event IN ({', '.join(map(quote_text, label.events))})"
    if label.at_least is None:
        return is_event
    return f"{is_event} AND coalesce(value >= {label.at_least!r}, false)"


def _other_events(database: Database, source: Source, contract: Contract) -> dict[str, int]:
    """Counts events without a meaning. Raises DataError if an event of the contract never occurs."""
    known_events = [
        contract.events.view,
        *(event for label in contract.labels.values() for event in label.events),
    ]
    counts = dict(database.rows(f"SELECT event, count(*) FROM {NUMBERED} GROUP BY 1 ORDER BY 2 DESC, 1"))
    for name in known_events:
        if name not in counts:
            named = list(counts.items())[:MAX_NAMED]
            events = ", ".join(f"{shorten(str(event))!r} ({n:,})" for event, n in named)
            column = contract.events.columns.event
            raise DataError(
                f"{source.files[0]}: column {column!r} never has the value {name!r}; its values are {events}"
            )
    return {name: n for name, n in counts.items() if name not in known_events}


def read_impressions(database: Database, contract: Contract, table: str = SHOWN) -> ReadImpressions:
    """Returns the rows of ``table``, merged by user, item and time.

    With ``repeats = "first"``, the first row of the files counts. Else a label is positive if it is in one of
    the rows, the play time is the longest, the scene the first in the order of scenes, and the position the
    first. Positions that count from 0 are counted from 1.
    """
    columns = contract.events.columns
    scenes = list(contract.events.scenes)
    if columns.scene is not None and not scenes:
        rows = database.rows(f"SELECT DISTINCT coalesce(scene, '') FROM {table} ORDER BY 1")
        scenes = [name for (name,) in rows]
    values = {f"l{at}": f"l{at}" for at in range(len(contract.label_names))}
    values["scene"] = "0"
    if columns.scene is not None:
        scene_names = ", ".join(map(quote_text, scenes))
        values["scene"] = f"list_position([{scene_names}]::VARCHAR[], coalesce(scene, '')) - 1"
    if columns.play_ms is not None:
        values["play_ms"] = "coalesce(play_ms, 0)"
    if columns.position is not None:
        least = database.rows(f"SELECT min(position) FROM {table}")[0][0]
        values["position"] = f"position + {int(least == 0)}"
    if contract.split.has_parts:
        values["part"] = "part"
    is_first = contract.events.repeats == "first"
    place = "place" if is_first else "0 AS place"
    cells = ", ".join(f"{cell} AS {name}" for name, cell in values.items())
    merged = {
        name: f"arg_min({name}, place)"
        if is_first
        else f"{'min' if name in ('scene', 'position', 'part') else 'max'}({name})"
        for name in values
    }
    if columns.position is not None:
        merged["position"] = f"coalesce({merged['position']}, 0)::SMALLINT"
    merges = ", ".join(f"{cell} AS {name}" for name, cell in merged.items())
    arrays = database.arrays(
        f"SELECT t, u, i, {merges}, count(*) AS n, count(DISTINCT h) AS n_kinds FROM (SELECT *, "
        f"hash({', '.join(values)}) AS h FROM (SELECT t, u, i, {place}, {cells} FROM {table})) "
        "GROUP BY t, u, i ORDER BY t, u, i"
    )
    impressions = Impressions(
        arrays["u"],
        arrays["i"],
        arrays["t"],
        arrays["scene"].astype("int32"),
        {name: arrays[f"l{at}"] for at, name in enumerate(contract.label_names)},
        arrays.get("play_ms"),
        arrays.get("position"),
    )
    names = list(contract.events.scenes.values()) or [name or ONE_SCENE for name in scenes or [""]]
    n_repeated, n_differing = (int((arrays[count] - 1).sum()) for count in ("n", "n_kinds"))
    return ReadImpressions(impressions, arrays.get("part"), names, n_repeated, n_differing)
