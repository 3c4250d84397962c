"""A data.toml written by looking at files. What is guessed carries a comment with a question mark and the
reason, for the owner of the files to check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from karec.data.database import open_database
from karec.data.looking import Looked, Three, entity_of, log_of, look_at, snake

VIEW = (
    r"(^|_)(view|views|viewed|impression|impressions|show|shown|expose|exposed|exposure|pv|display|detail)"
    r"(_|$)"
)
LIKED = r"like|fav|love|buy|purchase|order|pay|transaction|save|collect"
FOLLOWED = r"follow|subscribe"
MOST_EVENTS = 20
ROLES = {
    "creator": ("integer", "text", "moment"),
    "song": ("integer", "text", "moment"),
    "type": ("integer", "text"),
    "tag": ("integer", "text", "number"),
    "published": ("moment",),
    "vector": ("list",),
}


def write_contract(paths: Sequence[Path], folder: Path) -> str:
    """The text of a data.toml for ``paths``, files or folders, to lie in ``folder``. DataError: no table is a
    log."""
    with open_database() as database:
        looked, passed = look_at(database, paths, folder)
        log, three = log_of(looked)
        others = [table for table in looked if table is not log]
        lines = ["# Written by karec data init. Look at the lines with ?, then run: karec data check DIR"]
        lines += _events(log, three) + _labels(log, three)
        for what, column in (("item", three.item), ("user", three.user)):
            lines += _entity(log, column, what, others)
        lines += [_unused(log, table) for table in others]
        return "\n".join([*lines, *(f"\n# passed over: {error}" for error in passed)]) + "\n"


def _columns(log: Looked, three: Three) -> dict[str, str]:
    """{role: column} of the log."""
    found = three.named
    if three.time is None:
        return found
    event = log.named("event", ("text",), list(found.values()))
    if event is not None and 1 < log.distinct[event] <= MOST_EVENTS:
        found["event"] = event
    kinds = {"request": ("integer", "text"), "scene": ("integer", "text"), "play_ms": ("integer", "number")}
    for role, wanted in kinds.items():
        name = log.named(role, wanted, list(found.values()))
        if name is not None and not log.is_flag(name):
            found[role] = name
    return found


def _events(log: Looked, three: Three) -> list[str]:
    columns = ", ".join(f"{role} = {_toml(name)}" for role, name in _columns(log, three).items())
    if three.time is None:
        has, told = "a user and an item", "none is a time"
    else:
        time = log.columns[three.time]
        has = "a user, an item and a time"
        told = f"the time is {time.kind} in {time.unit}" if time.unit else f"the time is {time.kind}"
    return [
        "[events]",
        f"path = {_toml(log.path)}   # ? the table with {has}; {log.rows:,} rows looked at",
        f"columns = {{ {columns} }}   # ? by their names; {told}",
    ]


def _labels(log: Looked, three: Three) -> list[str]:
    if three.time is None:
        return [
            "",
            "# ? No column is a time: each row is taken as a positive, whatever stands in it, and negatives "
            "are drawn.",
            "# The test are positives of each user that are drawn too.",
            "[negatives]",
            "per_positive = 4",
            "",
            "[split]",
            'by = "user"',
        ]
    columns = _columns(log, three)
    if "event" in columns:
        return _event_labels(log, columns["event"])
    flags = [name for name in log.columns if name not in columns.values() and log.is_flag(name)]
    if flags:
        labels = {_key(re.sub(r"^is_", "", snake(name))): f"column = {_toml(name)}" for name in flags}
        return _said(labels, "# ? each column of 0 and 1")
    rating = log.named("rating", ("integer", "number"), list(columns.values()))
    if rating is not None:
        number = log.columns[rating].as_number
        middle = float(log.database.rows(f"SELECT median({number}) FROM {log.sample()}")[0][0])
        return _said(
            {"liked": f"column = {_toml(rating)}, at_least = {middle:g}"},
            "# ? at least the median says that it is liked",
        )
    return [
        "",
        "# ? No column says what a user thought of an item: each row is taken as a positive, and negatives "
        "are drawn.",
        "[negatives]",
        "per_positive = 4",
    ]


def _event_labels(log: Looked, event: str) -> list[str]:
    counts = log.database.rows(
        f"SELECT {log.columns[event].as_text}, count(*) FROM {log.source.name} GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    names = [name for name, _ in counts if name is not None]
    view = next((name for name in names if re.search(VIEW, snake(name))), None)
    why = "by its name" if view is not None else "the most frequent event"
    view = view or names[0]
    labels = {_key(name): f"event = {_toml(name)}" for name in names if name != view}
    said = ", ".join(f"{name} {count:,}" for name, count in counts if name is not None)
    return [
        f"view = {_toml(view)}   # ? the event that says shown, {why}",
        *_said(labels, f"# ? events are {said}"),
    ]


def _said(labels: Mapping[str, str], comment: str) -> list[str]:
    lines = ["", f"[labels]   {comment}", *(f"{_bare(name)} = {{ {said} }}" for name, said in labels.items())]
    liked = [name for name in labels if re.search(LIKED, name)]
    followed = [name for name in labels if re.search(FOLLOWED, name)]
    enjoyed = [name for name in labels if name not in (*liked, *followed)][:2] or list(labels)[:1]
    lines += [
        "",
        "[meaning]   # ? which labels say that a user enjoyed an item, liked it, followed its creator",
    ]
    lines.append(f"enjoyed = {_list(enjoyed)}")
    return lines + [
        f"{what} = {_list(names)}" for what, names in (("liked", liked), ("followed", followed)) if names
    ]


def _entity(log: Looked, id_column: str, what: str, others: list[Looked]) -> list[str]:
    """The section of items or users; its table is taken from ``others``."""
    found = entity_of(log, id_column, what, others)
    if found is None:
        return []
    table, name, share = found
    others.remove(table)
    lines = [
        "",
        f"[{what}s]",
        f"path = {_toml(table.path)}   # ? {share:.0%} of the log's ids are in it",
        f"id = {_toml(name)}",
    ]
    lists = {n: mark for n in table.columns if n != name and (mark := table.between(n)) is not None}
    ignored = [n for n in table.columns if n != name and n not in lists and table.hardly_recurs(n)]
    if what == "item":
        roles: dict[str, str] = {}
        for role, kinds in ROLES.items():
            column = table.named(
                role, kinds, [name, *roles.values(), *(ignored if role != "creator" else ())]
            )
            if column is not None:
                roles[role] = column
        ignored = [n for n in ignored if n not in roles.values()]
        if roles:
            told = ", ".join(f"{role} = {_toml(n)}" for role, n in roles.items())
            lines.append(f"roles = {{ {told} }}   # ? by their names")
    if lists:
        told = ", ".join(f"{_bare(n)} = {_toml(mark)}" for n, mark in lists.items())
        lines.append(f"lists = {{ {told} }}   # ? cells hold several values, with this between them")
    if ignored:
        lines.append(
            f"ignore = {_list(ignored)}   # ? hardly a value recurs: vectors made of texts can be used"
        )
    return lines


def _unused(log: Looked, table: Looked) -> str:
    if list(table.columns) == list(log.columns):
        return (
            f"\n# ? not used: {table.path} has the columns of the log; path may be a glob or a folder that "
            f"holds both"
        )
    return f"\n# not used: {table.path}, columns {', '.join(table.columns)}"


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", snake(name)).strip("_") or "event"


def _bare(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_toml, names))}]"


def _toml(value: str) -> str:
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 32 else c for c in value.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'
