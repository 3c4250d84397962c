"""Writes a data.toml from the files. A guess has a comment with a question mark and its reason."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from karec.data.database import open_database
from karec.data.draft_labels import event_lines, find_more_roles, label_lines
from karec.data.infer_schema import find_log, find_table
from karec.data.inspect_tables import InspectedTable, inspect_tables
from karec.errors import DataError
from karec.toml import toml_value

ITEM_ROLES = {
    "creator": ("integer", "text", "moment"),
    "song": ("integer", "text", "moment"),
    "type": ("integer", "text"),
    "tag": ("integer", "text", "number"),
    "published": ("moment",),
    "vector": ("list",),
}


def write_contract(paths: Sequence[Path], folder: Path) -> str:
    """Returns a data.toml in ``folder`` for files or folders. Raises DataError if no table is a log."""
    with open_database() as database:
        tables, problems = inspect_tables(database, paths, folder)
        log, roles = find_log(tables, problems)
        others = [table for table in tables if table is not log]
        roles |= find_more_roles(log, roles)
        lines = ["# Written by karec data init. Check the lines with ?, then run: karec data check DIR"]
        lines += [*event_lines(log, roles), *label_lines(log, roles)]
        if log.parts:
            lines += ["", "[split]", f"files = {toml_value(log.parts)}   # ? parts by their names"]
        for noun in ("item", "user"):
            lines += _table(log, roles, noun, others)
        _check_all_used([log, *(table for table in tables if table is not log)], others, problems, folder)
        return "\n".join(lines) + "\n"


def _check_all_used(
    tables: Sequence[InspectedTable],
    unused: Sequence[InspectedTable],
    problems: Sequence[str],
    folder: Path,
) -> None:
    """Raises DataError if a table is not used or cannot be read."""
    columns = next((list(table.columns) for table in tables if table not in unused), [])
    reasons = [
        f"{table.path} has the columns of the log: put its files into one folder"
        if list(table.columns) == columns
        else f"{table.path}: not a table of the users or the items of the log"
        for table in unused
    ]
    if reasons or problems:
        paths = " ".join(shlex.quote(str(folder / table.path)) for table in tables if table not in unused)
        raise DataError(
            f"{'; '.join([*reasons, *problems])}. To leave files out, name the others: karec data init "
            f"{paths} --out {shlex.quote(str(folder))}"
        )


def _table(
    log: InspectedTable, roles: Mapping[str, str], noun: str, others: list[InspectedTable]
) -> list[str]:
    """Returns the section of items or users, and removes its table from ``others``.

    A table with both ids, or with the name of a test set, is not used: a test must not become features.
    """
    candidates = [
        table
        for table in others
        if not {roles["user"], roles["item"]} <= table.columns.keys()
        and (table.part in (None, "train") or log.part is not None)
    ]
    match = find_table(log, roles[noun], noun, candidates)
    if match is None:
        return []
    table, id_name, fraction = match
    others.remove(table)
    names = [name for name in table.columns if name != id_name]
    lists = {name: mark for name in names if (mark := table.separator(name)) is not None}
    ignored = [name for name in names if name not in lists and table.hardly_repeats(name)]
    item_roles: dict[str, str] = {}
    for role, kinds in ITEM_ROLES.items() if noun == "item" else ():
        texts = ignored if role != "creator" else []
        column = table.find_column(role, kinds, [id_name, *item_roles.values(), *texts])
        if column is not None:
            item_roles[role] = column
    ignored = [name for name in ignored if name not in item_roles.values()]
    lines = [
        "",
        f"[{noun}s]",
        f"path = {toml_value(table.path)}   # ? {fraction:.0%} of the log's ids are in it",
        f"id = {toml_value(id_name)}",
    ]
    if item_roles:
        lines.append(f"roles = {toml_value(item_roles)}   # ? by their names")
    if lists:
        lines.append(f"lists = {toml_value(lists)}   # ? cells hold several values, with this between them")
    if ignored:
        lines.append(
            f"ignore = {toml_value(ignored)}   # ? values hardly repeat; you can give vectors of the texts"
        )
    return lines
