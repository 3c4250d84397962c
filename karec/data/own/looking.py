"""A data.toml written by looking: which table is the log, which column is what, and how sure that is.

A column is told by its name and by what its cells are; a table of items or users by a column whose values the log's ids
are among. Whatever is written carries a comment that says why, for its owner to check.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from karec.data.own.contract import FILE, Files
from karec.data.own.database import Database, told
from karec.data.own.files import FORMATS, Source, format_of, open_source, quoted
from karec.data.own.kinds import Column, column_of
from karec.errors import DataError

LOOKED_AT = 100_000  # rows
SHARED = 0.5  # of the log's ids must be among a table's ids
NAMES = {
    "user": r"(^|_)(user|uid|customer|member|visitor|account|listener|viewer|person|session)",
    "item": r"(^|_)(item|iid|video|vid|work|song|product|sku|movie|artist|track|article|content|book|game|post|ad)",
    "time": r"(^|_)(time|ts|timestamp|date|datetime|when|at|day)(_|$)|time|date",
    "event": r"(^|_)(event|action|behaviou?r|activity|verb)",
    "request": r"(^|_)(request|impression|feed|query)",
    "scene": r"(^|_)(scene|tab|page|surface|placement|channel|context)(_|$)",
    "play_ms": r"(play|watch|listen|dwell).*(ms|time)",
    "rating": r"(^|_)(rating|score|stars|grade)(_|$)",
    "creator": r"(^|_)(creator|author|artist|seller|brand|publisher|uploader|owner)",
    "song": r"(^|_)(song|music|track)",
    "type": r"(^|_)(type|format|kind)(_|$)",
    "tag": r"(^|_)(tag|tags|genre|genres|category|categories|topic)(_|$)",
    "published": r"(publish|upload|release|created|posted)",
    "vector": r"(vector|embedding|emb)(_|$)",
}
VIEWS = ("view", "impression", "show", "shown", "expose", "exposed", "pv", "display", "detail")
LIKED = r"like|fav|love|buy|purchase|order|pay|transaction|save|collect"
FOLLOWED = r"follow|subscribe"


@dataclass
class Looked:
    """One table: its columns, and how many of the looked-at rows and distinct values each has."""

    source: Source
    path: str
    columns: dict[str, Column]
    rows: int
    distinct: dict[str, int] = field(default_factory=dict)

    def named(self, role: str, kinds: Sequence[str] | None = None) -> str | None:
        """The first column whose name says ``role``, of one of ``kinds``."""
        for name, column in self.columns.items():
            if re.search(NAMES[role], _snake(name)) and (kinds is None or column.kind in kinds):
                return name
        return None


def write_contract(paths: Sequence[Path], folder: Path) -> str:
    """The text of a data.toml for ``paths``, files or folders, that is to lie in ``folder``. DataError: no log among them."""
    with tempfile.TemporaryDirectory(prefix="karec-data-") as scratch:
        database = Database(Path(scratch))
        try:
            looked, passed = [], []
            for at, path in enumerate(_groups(paths)):
                try:
                    looked.append(_look(database, at, path, folder))
                except DataError as error:
                    if path in paths:
                        raise
                    passed.append(f"# passed over: {error}")
            return "\n".join([_written(database, looked), *passed])
        finally:
            database.close()


def _groups(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in FORMATS and p.name != FILE)
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist")
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: no file that ends with {', '.join(sorted(FORMATS))}")
    return found


def _look(database: Database, at: int, path: Path, folder: Path) -> Looked:
    try:
        relative = str(path.resolve().relative_to(folder.resolve()))
    except ValueError:
        relative = str(path.resolve())
    format_of(path)
    source = open_source(database, f"looked_{at}", Files(str(path.resolve())), folder)
    with told(path):
        columns = {name: column_of(database, source, name) for name in source.columns}
        sample = f"(SELECT * FROM {source.name} LIMIT {LOOKED_AT})"
        counts = ", ".join(f"count(DISTINCT {quoted(name)}::VARCHAR)" for name in columns)
        rows, *distinct = database.rows(f"SELECT count(*), {counts} FROM {sample}")[0]
    return Looked(source, relative, columns, rows, dict(zip(columns, distinct, strict=True)))


def _written(database: Database, looked: list[Looked]) -> str:
    log = _log_of(looked)
    user, item, time = _three(log)
    lines = [
        f"# Written by karec data init. Check what is marked with ?, then run: karec data check {{folder}}".replace(
            "{folder}", "DIR"
        ),
        "[events]",
        f"path = {_toml(log.path)}",
    ]
    columns = {"user": user, "item": item, "time": time}
    event = log.named("event", ("text",))
    if event is not None and 1 < log.distinct[event] <= 20:
        columns["event"] = event
    for role in ("request", "scene", "play_ms"):
        name = log.named(role)
        if name is not None and name not in columns.values():
            columns[role] = name
    inner = ", ".join(f"{role} = {_toml(name)}" for role, name in columns.items())
    kind = log.columns[time]
    lines.append(f"columns = {{ {inner} }}")
    lines.append(f"# time is {kind.kind}{f' in {kind.unit}' if kind.unit else ''}; {log.rows:,} rows looked at")
    lines += _labels(database, log, columns)
    others = [table for table in looked if table is not log]
    lines += _entity(database, log, item, "items", others)
    lines += _entity(database, log, user, "users", others)
    for table in others:
        lines.append(f"\n# not used: {table.path}, columns {', '.join(table.columns)}")
    return "\n".join(lines) + "\n"


def _log_of(looked: list[Looked]) -> Looked:
    """The table that has a user, an item and a time; of several the longest."""
    logs = [table for table in looked if all(_three_or_none(table))]
    if not logs:
        tables = "; ".join(f"{table.path}: {', '.join(table.columns)}" for table in looked)
        raise DataError(
            f"no table has a user, an item and a time by its columns' names; there are {tables}. Write data.toml by hand"
        )
    return max(logs, key=lambda table: table.rows)


def _three_or_none(table: Looked) -> tuple[str | None, str | None, str | None]:
    user = table.named("user", ("integer", "text"))
    item = next(
        (
            n
            for n, c in table.columns.items()
            if n != user and c.kind in ("integer", "text") and re.search(NAMES["item"], _snake(n))
        ),
        None,
    )
    times = [n for n, c in table.columns.items() if n not in (user, item) and (c.kind == "time" or c.unit)]
    time = next((n for n in times if re.search(NAMES["time"], _snake(n))), times[0] if times else None)
    return user, item, time


def _three(table: Looked) -> tuple[str, str, str]:
    user, item, time = _three_or_none(table)
    assert user is not None and item is not None and time is not None
    return user, item, time


def _labels(database: Database, log: Looked, columns: dict[str, str]) -> list[str]:
    if "event" in columns:
        return _event_labels(database, log, columns["event"])
    flags = [
        name
        for name, column in log.columns.items()
        if name not in columns.values()
        and (column.kind == "boolean" or (column.kind == "integer" and log.distinct[name] == 2))
    ]
    if flags:
        labels = {re.sub(r"^is_", "", _snake(name)): f"column = {_toml(name)}" for name in flags}
        return _said(labels, "# each column that is 0 or 1")
    rating = log.named("rating", ("integer", "number"))
    if rating is not None:
        number = log.columns[rating].as_number
        middle = database.rows(f"SELECT median({number}) FROM {log.source.name}")[0][0]
        return _said({"liked": f"column = {_toml(rating)}, at_least = {float(middle):g}"}, "# ? at least the median")
    return [
        "",
        "# no label: the log holds positives alone, and negatives are drawn for each",
        "[negatives]",
        "per_positive = 4",
    ]


def _event_labels(database: Database, log: Looked, event: str) -> list[str]:
    counts = database.rows(
        f"SELECT {quoted(event)}::VARCHAR, count(*) FROM {log.source.name} GROUP BY 1 HAVING count(*) > 0 ORDER BY 2 DESC"
    )
    names = [name for name, _ in counts if name]
    view = next((name for name in names if _snake(name) in VIEWS or any(v in _snake(name) for v in VIEWS)), names[0])
    sure = "" if any(v in _snake(view) for v in VIEWS) else "   # ? the most frequent event"
    labels = {_key(name): f"event = {_toml(name)}" for name in names if name != view}
    return [f"view = {_toml(view)}{sure}", *_said(labels, f"# events: {', '.join(f'{n} {c:,}' for n, c in counts)}")]


def _said(labels: dict[str, str], comment: str) -> list[str]:
    lines = ["", comment, "[labels]", *(f"{_bare(name)} = {{ {said} }}" for name, said in labels.items())]
    liked = [name for name in labels if re.search(LIKED, name)]
    followed = [name for name in labels if re.search(FOLLOWED, name)]
    enjoyed = [name for name in labels if name not in (*liked, *followed)][:2] or list(labels)[:1]
    lines += ["", "[meaning]   # ? what says that a user enjoyed an item, liked it, followed its creator"]
    lines.append(f"enjoyed = {_list(enjoyed)}")
    lines += [f"{what} = {_list(names)}" for what, names in (("liked", liked), ("followed", followed)) if names]
    return lines


def _entity(database: Database, log: Looked, id_column: str, what: str, others: list[Looked]) -> list[str]:
    """The section of the table that holds most of the log's ids, which is taken from ``others``."""
    best: tuple[float, Looked, str] | None = None
    for table in others:
        for name in table.columns:
            share = _shared(database, log, id_column, table, name)
            score = share + (_snake(name) == _snake(id_column)) + 0.5 * bool(re.search(NAMES[what[:-1]], _snake(name)))
            if share >= SHARED and table.distinct[name] >= 0.9 * table.rows and (best is None or score > best[0]):
                best = (score, table, name)
    if best is None:
        return []
    _, table, name = best
    share = _shared(database, log, id_column, table, name)
    others.remove(table)
    lines = [
        "",
        f"[{what}]   # {share:.0%} of the log's ids are in it",
        f"path = {_toml(table.path)}",
        f"id = {_toml(name)}",
    ]
    free = [n for n, c in table.columns.items() if n != name and c.kind == "text" and _free(database, table, n)]
    if what == "items":
        roles = {}
        for role in ("creator", "song", "type", "tag", "published", "vector"):
            found = next(
                (
                    n
                    for n in table.columns
                    if n not in (name, *roles.values(), *free) and re.search(NAMES[role], _snake(n))
                ),
                None,
            )
            if found is not None:
                roles[role] = found
        if roles:
            lines.append(
                f"roles = {{ {', '.join(f'{role} = {_toml(n)}' for role, n in roles.items())} }}   # ? by their names"
            )
    if free:
        lines.append(f"ignore = {_list(free)}   # free text: bring vectors made of it")
    return lines


def _shared(database: Database, log: Looked, id_column: str, table: Looked, name: str) -> float:
    """The share of the log's first ids that stand in the column ``name`` of ``table``."""
    if {log.columns[id_column].kind, table.columns[name].kind} not in ({"integer"}, {"text"}):
        return 0.0
    of_log = (
        f"SELECT DISTINCT {quoted(id_column)}::VARCHAR AS id FROM (SELECT * FROM {log.source.name} LIMIT {LOOKED_AT})"
    )
    found: Any = database.rows(
        f"SELECT avg((id IN (SELECT {quoted(name)}::VARCHAR FROM {table.source.name}))::INTEGER) FROM ({of_log})"
    )[0][0]
    return float(found or 0.0)


def _free(database: Database, table: Looked, name: str) -> bool:
    if table.distinct[name] < 0.5 * table.rows or table.rows < 20:
        return False
    mean = database.rows(f"SELECT avg(length({quoted(name)})) FROM {table.source.name}")[0][0]
    return bool(mean and mean > 20)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace(" ", "_").replace("-", "_").lower()


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", _snake(name)).strip("_") or "event"


def _bare(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_toml, names))}]"


def _toml(value: str) -> str:
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 else c for c in value.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'
