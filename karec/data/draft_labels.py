"""Writes the sections of a data.toml on the log: events, labels and their meaning."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from karec.data.columns import find_time_formats
from karec.data.contract import POSITIVE, is_consumption
from karec.data.database import quote_text
from karec.data.inspect_tables import MAX_EVENTS, InspectedTable, has_name_of, snake_case
from karec.data.repeats import measure_repeats
from karec.data.report import MAX_QUOTED, shorten
from karec.errors import DataError, one_line
from karec.toml import toml_key, toml_value

VIEW = (
    r"(^|_)(view|views|viewed|impression|impressions|show|shown|expose|exposed|exposure|pv|display|detail)"
    r"(_|$)"
)
LIKED = r"like|fav|love|buy|purchase|order|pay|transaction|save|collect"
FOLLOWED = r"follow|subscribe"
LOG_ROLES = {
    "event": ("text",),
    "request": ("integer", "text"),
    "scene": ("integer", "text"),
    "play_ms": ("integer", "number"),
    "position": ("integer",),
    "value": ("integer", "number"),
}
UNWANTED = (
    r"refund|return|cancel|dislike|hate|hide|report|block|skip|complain|unlike|unfollow|remove|unsubscribe"
)
NO_CONSUMPTION = rf"{VIEW}|click"
NO_TASK = ", task = false"


def find_more_roles(log: InspectedTable, roles: Mapping[str, str]) -> dict[str, str]:
    """Returns {role: column} of other columns of the log. A log without times has none."""
    more: dict[str, str] = {}
    for role, kinds in LOG_ROLES.items() if "time" in roles else ():
        name = log.find_column(role, kinds, [*roles.values(), *more.values()])
        if name is None:
            continue
        if role == "event":
            is_used = 1 < len(_event_counts(log, name)) <= MAX_EVENTS
        else:
            tests = {"position": log.is_position, "value": log.has_negatives}
            is_used = tests[role](name) if role in tests else not log.is_flag(name)
        if is_used:
            more[role] = name
    if "time" in roles and "event" not in more:
        more |= _find_event_column(log, (*roles.values(), *more.values()))
    name = None if "event" in more else log.find_column("event", LOG_ROLES["event"], roles.values())
    if name is not None:
        n_kinds = log.n_distinct[name]
        problem = f"{n_kinds} kinds of events, expected at most {MAX_EVENTS}"
        if n_kinds <= MAX_EVENTS:
            problem = "missing cells" if "time" in roles else "events, but no column has their times"
        if _find_only_event(log, name) is None:
            raise DataError(
                f"{log.path}: the column {name!r} has {problem}. Write a data.toml: docs/data.md shows how."
            )
    if not _has_labels(log, {**roles, **more}):
        more.pop("position", None)  # drawn negatives have none, so models would learn which rows were drawn
    return more


def _event_counts(log: InspectedTable, event: str) -> dict[str, int]:
    """Returns the number of rows of each event, the most frequent first. At most MAX_EVENTS + 1 of them."""
    name = log.columns[event].as_text
    query = (
        f"SELECT {name}, count(*) FROM {log.source.name} WHERE {name} IS NOT NULL GROUP BY 1 "
        f"ORDER BY 2 DESC, 1 LIMIT {MAX_EVENTS + 1}"
    )
    return dict(log.source.database.rows(query))


def _find_only_event(log: InspectedTable, event: str) -> str | None:
    """Returns the event of all rows. None: rows have several, or none."""
    counts = _event_counts(log, event)
    return (
        next(iter(counts)) if list(counts.values()) == [log.source.database.count(log.source.name)] else None
    )


def _has_labels(log: InspectedTable, roles: Mapping[str, str]) -> bool:
    has_values = bool(_find_flags(log, roles)) or _find_rating(log, roles) is not None
    return "time" in roles and ("event" in roles or has_values)


def _find_rating(log: InspectedTable, roles: Mapping[str, str]) -> str | None:
    """Returns the column of ratings. None: there is none, or all are equal."""
    name = log.find_column("rating", ("integer", "number"), roles.values())
    return name if name is not None and log.n_distinct[name] > 1 else None


def _find_flags(log: InspectedTable, roles: Mapping[str, str]) -> list[str]:
    return [name for name in log.columns if name not in roles.values() and log.is_flag(name)]


def _find_event_column(log: InspectedTable, excluded: Collection[str]) -> dict[str, str]:
    """Returns {"event": column} for a column with few texts, of which one means shown."""
    for name, column in log.columns.items():
        if name in excluded or column.kind != "text" or not 1 < log.n_distinct[name] <= MAX_EVENTS:
            continue
        values = log.source.database.rows(f"SELECT DISTINCT {column.as_text} FROM {log.sample}")
        if any(value and re.search(VIEW, snake_case(value)) for (value,) in values):
            return {"event": name}
    return {}


def event_lines(log: InspectedTable, roles: Mapping[str, str]) -> list[str]:
    has, reason = "a user and an item", "; none is a time"
    if "time" in roles:
        time = log.columns[roles["time"]]
        has = "a user, an item and a time"
        reason = f"; the time is in {time.unit}" if time.unit else ""
    formats = find_time_formats(log.source, log.columns[roles["time"]]) if "time" in roles else []
    inferred = [
        role for role in ("user", "item", "event") if role in roles and not has_name_of(role, roles[role])
    ]
    reason = f"; {' and '.join(inferred)} by the values{reason}" if inferred else reason
    return [
        "[events]",
        *(
            []
            if log.parts
            else [f"path = {toml_value(log.path)}   # ? the table with {has}; {log.n_rows:,} rows read"]
        ),
        f"columns = {toml_value(roles)}   # ? by their names{reason}",
        *(f"time_format = {toml_value(formats[0])}   # ? or {toml_value(other)}" for other in formats[1:]),
    ]


def label_lines(log: InspectedTable, roles: Mapping[str, str]) -> list[str]:
    lines = _event_labels(log, roles) if "event" in roles else _value_labels(log, roles)
    if "time" in roles or log.parts:
        return lines
    return [*lines, "", "[split]", 'by = "user"   # ? no column is a time: the test has rows of each user']


def _value_labels(log: InspectedTable, roles: Mapping[str, str]) -> list[str]:
    """Returns labels by columns of 0 and 1 or by a rating, or the sections of a log of positives."""
    if flags := _find_flags(log, roles):
        labels = {
            _to_label(re.sub(r"^is_", "", snake_case(name))): (
                f"column = {toml_value(name)}",
                f"{log.columns[name].as_number} <> 0",
            )
            for name in flags
        }
        return _label_tables(log, roles, labels, "# ? each column of 0 and 1")
    if (rating := _find_rating(log, roles)) is not None:
        number = log.columns[rating].as_number
        query = f"SELECT median({number}), list_sort(list_distinct(list({number})))[2] FROM {log.sample}"
        threshold = max(map(float, log.source.database.rows(query)[0]))  # above the smallest value
        column = f"column = {toml_value(rating)}"
        labels = {
            "liked": (f"{column}, at_least = {threshold:g}", f"{number} >= {threshold!r}"),
            "rated": (f"{column}{NO_TASK}", f"{number} <> 0"),
        }
        return _label_tables(log, roles, labels, "# ? a value of at least the median means liked")
    reason = "No column shows what a user thought of an item"
    if (event := log.find_column("event", LOG_ROLES["event"], roles.values())) is not None:
        reason = f"All events are {toml_value(str(_find_only_event(log, event)))}"
    return [
        "",
        f"# ? {reason}: each row is a positive, and negatives are drawn.",
        *_unused_column_lines(log, roles),
        *_only_positives(log, roles),
    ]


def _unused_column_lines(log: InspectedTable, roles: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each column with few values, which may show what a user did or thought."""
    event = log.find_column("event", LOG_ROLES["event"], roles.values())
    for name, column in log.columns.items():
        has_few_values = 1 < log.n_distinct[name] <= MAX_EVENTS
        if name in (*roles.values(), event) or column.kind not in ("text", "integer") or not has_few_values:
            continue
        texts = column.as_text
        query = f"SELECT DISTINCT {texts} FROM {log.sample} WHERE {texts} IS NOT NULL ORDER BY 1 LIMIT 3"
        values = ", ".join(one_line(str(value)[:20]) for (value,) in log.source.database.rows(query))
        yield (
            f"# ? The column {toml_value(name)} is not used ({values}, …). If it shows what users did or "
            "thought, add it to events.columns as event or rating, and write labels: docs/data.md."
        )


def _only_positives(log: InspectedTable, roles: Mapping[str, str]) -> list[str]:
    event = log.find_column("event", LOG_ROLES["event"], roles.values())
    name = None if event is None else _find_only_event(log, event)
    is_consumed = name is None or not re.search(NO_CONSUMPTION, snake_case(name))
    return [
        "[negatives]",
        "per_positive = 4",
        "",
        "[meaning]",
        f"enjoyed = [{toml_value(POSITIVE)}]",
        *_consumed(log, roles, {POSITIVE: "true"} if is_consumed else {}),
    ]


def _consumed(log: InspectedTable, roles: Mapping[str, str], conditions: Mapping[str, str]) -> list[str]:
    """Returns the line of meaning.consumed: labels whose items users do not want again, and the reasons.

    conditions    {label that can mean consumed: SQL that is true for its rows}
    """
    consumed, reasons = [], []
    user, item = (log.columns[roles[role]].as_text for role in ("user", "item"))
    for name, condition in conditions.items():
        reason, is_wanted = "without times, an item counts once", False
        if "time" in roles:
            time = log.columns[roles["time"]].as_time
            formats = find_time_formats(log.source, time)
            time = replace(time, kind="time", format=formats[0]) if formats else time
            events = log.source.database.arrays(
                f"SELECT hash({user}) AS __u, hash({item}) AS __i, {time.as_ms} AS __t "
                f"FROM {log.source.name} WHERE {condition} AND {user} IS NOT NULL AND {item} IS NOT NULL "
                "AND __t IS NOT NULL"
            )
            rate = measure_repeats(events["__u"], events["__i"], events["__t"])
            reason, is_wanted = str(rate), rate.is_wanted
        consumed += [] if is_wanted else [name]
        reasons.append(f"{name}: {reason}")
    note = "pages leave these items out" if consumed else "pages contain consumed items again"
    note = "; ".join([note, *reasons]) if conditions else "no label means consumed by its name"
    return [f"consumed = {toml_value(consumed)}   # ? {note}"]


def _event_labels(log: InspectedTable, roles: Mapping[str, str]) -> list[str]:
    event = roles["event"]
    counts = _event_counts(log, event)
    view = next((name for name in counts if re.search(VIEW, snake_case(name))), None)
    reason = "by its name" if view is not None else "the most frequent event"
    view = view or next(iter(counts))
    spellings: dict[str, list[str]] = {}  # by label
    for name in counts:
        if name != view and len(name) <= MAX_QUOTED:  # a longer one is a damaged cell
            spellings.setdefault(_to_label(name), []).append(name)
    if _to_label(view) in spellings:
        raise DataError(
            f"{log.path}: events {[view, *spellings[_to_label(view)]]} of {event!r} mean shown, "
            "expected one. Give them one name."
        )
    cell = log.columns[event].as_text
    labels = {
        label: (
            f"event = {toml_value(names[0]) if len(names) == 1 else toml_value(names)}",
            f"{cell} IN ({', '.join(map(quote_text, names))})",
        )
        for label, names in spellings.items()
    }
    event_counts = ", ".join(f"{one_line(shorten(name))} {count:,}" for name, count in counts.items())
    return [
        f"view = {toml_value(view)}   # ? the event that means shown, {reason}",
        *_label_tables(log, roles, labels, f"# ? events are {event_counts}"),
    ]


def _label_tables(
    log: InspectedTable, roles: Mapping[str, str], labels: Mapping[str, tuple[str, str]], comment: str
) -> list[str]:
    """Returns [labels] and [meaning]. ``labels``: {name: (its condition in data.toml, the same in SQL)}."""
    unwanted = {name for name in labels if re.search(UNWANTED, name)}
    labels = {
        name: (f"{condition}{NO_TASK * (name in unwanted)}", sql) for name, (condition, sql) in labels.items()
    }
    tasks = [name for name, (condition, _) in labels.items() if not condition.endswith(NO_TASK)]
    if not tasks:
        raise DataError(
            f"{log.path}: events are only {', '.join(labels)}, which users do not want. Remove these rows: "
            "the others are a log of positives."
        )
    liked = [name for name in tasks if re.search(LIKED, name)]
    followed = [name for name in tasks if re.search(FOLLOWED, name)]
    enjoyed = [name for name in tasks if name not in (*liked, *followed)][:2] or tasks[:1]
    meanings = {"enjoyed": enjoyed, "liked": liked, "followed": followed}
    return [
        "",
        f"[labels]   {comment}",
        *(f"{toml_key(name)} = {{ {condition} }}" for name, (condition, _) in labels.items()),
        "",
        "[meaning]   # ? labels that mean: the user enjoyed the item, liked it, followed its creator",
        *(f"{meaning} = {toml_value(names)}" for meaning, names in meanings.items() if names),
        *_consumed(
            log,
            roles,
            {name: labels[name][1] for name in labels if is_consumption(name) and name not in unwanted},
        ),
    ]


def _to_label(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", snake_case(name)).strip("_") or "event"
