"""Writes a dataset as Parquet tables with a data.toml. Importing them gives the same dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog import schema
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.schema import CREATOR, PUBLISHED, SONG, TAG, TYPE
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.data.contract import FILE
from karec.errors import DataError
from karec.files import file_aside, write_text_aside
from karec.logs.parts import arrow_parquet

ROLES = {CREATOR: "creator", SONG: "song", TYPE: "type", TAG: "tag", PUBLISHED: "published"}


def write_dataset(folder: Path, start: Snapshot, past: Impressions, dataset: Dataset) -> None:
    """Writes ``dataset``, whose snapshot is ``start`` after the impressions ``past``, into a new ``folder``.

    Categories are written by name if ``start.labels`` has names. Raises DataError if the folder has a
    data.toml.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / FILE).exists():
        raise DataError(f"{folder / FILE} exists already. Name another folder.")
    events = {
        name: np.concatenate([getattr(past, name), getattr(dataset.exposures, name)])
        for name in ("user_id", "work_id", "time_ms", "scene", "play_ms")
    }
    labels = {
        name: np.concatenate([past.labels[name], label]) for name, label in dataset.exposures.labels.items()
    }
    scene = {"scene": _names_of(events.pop("scene"), start.labels.get("scene", []))}
    _write(folder / "events.parquet", {**events, **scene, **labels})
    item_columns, item_categories = _columns(start.works, start)
    user_columns, user_categories = _columns(start.users, start)
    _write(folder / "items.parquet", {"id": start.works.ids, **item_columns})
    _write(folder / "users.parquet", {"id": start.users.ids, **user_columns})
    for name, relation in start.relations.items():
        _write(folder / f"{name}.parquet", _pairs(start.users, relation))
    text = _contract(start, dataset, len(past), item_categories, user_categories)
    write_text_aside(folder / FILE, text)  # last: a folder without it is not a dataset


def _write(path: Path, columns: dict[str, Any]) -> None:
    pa = arrow_parquet()
    with file_aside(path) as file:
        pa.parquet.write_table(pa.table(columns), file)


def _columns(table: Table, start: Snapshot) -> tuple[dict[str, Any], list[str]]:
    """Returns (columns as in files, names of columns that are numeric categories)."""
    columns: dict[str, Any] = {}
    categories = []
    for name, values in table.columns.items():
        if schema.is_counter(name):
            continue
        if name in start.labels:
            columns[name] = _names_of(np.asarray(values), start.labels[name])
        elif name in (CREATOR, SONG) or values.dtype.kind == "f" or name.endswith("_ms"):
            columns[name] = np.asarray(values)
        else:
            columns[name] = _positive_codes(np.asarray(values))
            categories.append(name)
    return columns, categories


def _names_of(codes: NDArray[Any], names: list[str]) -> Any:
    """Returns the names of ``codes``; null for codes without a name."""
    pa = arrow_parquet()
    has_name = (codes >= 0) & (codes < len(names))
    return pa.array(names, pa.string()).take(pa.array(np.where(has_name, codes, 0), mask=~has_name))


def _positive_codes(values: NDArray[Any]) -> Any:
    """Returns ``values``; null for values ≤ 0, which mean none."""
    return arrow_parquet().array(values, mask=values <= schema.NO_FAMILY)


def _pairs(users: Table, relation: Relation) -> dict[str, NDArray[Any]]:
    rows = np.repeat(np.arange(len(relation)), np.diff(relation.indptr))
    pairs = {"user": np.asarray(users.ids)[rows], "to": np.asarray(relation.values)}
    return pairs if relation.times is None else {**pairs, "time_ms": np.asarray(relation.times)}


def _contract(
    start: Snapshot, dataset: Dataset, n_past: int, item_categories: list[str], user_categories: list[str]
) -> str:
    n = n_past + len(dataset.exposures)
    train, valid, _ = (len(part) for part in dataset.split())
    # Cuts lie between two impressions.
    ends = [(count + 0.5) / n for count in (n_past, n_past + train, n_past + train + valid)]
    roles = ", ".join(
        f'{role} = "{column}"' for column, role in ROLES.items() if column in start.works.columns
    )
    lines = [
        f'name = "{dataset.name}"',
        "",
        "[events]",
        'path = "events.parquet"',
        'columns = { user = "user_id", item = "work_id", time = "time_ms", scene = "scene", play_ms = '
        '"play_ms" }',
        "",
        "[labels]",
    ]
    for name in dataset.exposures.labels:
        task = "" if name in dataset.tasks else ", task = false"
        weight = f", weight = {dataset.weights[name]}" if name in dataset.weights else ""
        lines.append(f'{name} = {{ column = "{name}"{weight}{task} }}')
    meaning = {name: list(getattr(start.meaning, name)) for name in ("enjoyed", "liked", "followed")}
    lines += [
        "",
        "[meaning]",
        *(f"{name} = {str(labels).replace(chr(39), chr(34))}" for name, labels in meaning.items()),
    ]
    for table, categories in (("items", item_categories), ("users", user_categories)):
        lines += ["", f"[{table}]", f'path = "{table}.parquet"', 'id = "id"']
        if table == "items" and roles:
            lines.append(f"roles = {{ {roles} }}")
        if categories:
            lines.append(f"categories = {str(categories).replace(chr(39), chr(34))}")
    for name, relation in start.relations.items():
        time = "" if relation.times is None else ', time = "time_ms"'
        lines += ["", f"[relations.{name}]", f'path = "{name}.parquet"']
        lines.append(f'columns = {{ user = "user", to = "to"{time} }}')
    split = f"history = {ends[0]!r}\nvalidation = {ends[2] - ends[1]!r}\ntest = {1 - ends[2]!r}"
    return "\n".join([*lines, "", "[split]", split, ""])
