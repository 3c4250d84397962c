"""Erases ids from all places of a karec.toml.

Rewritten   online store, its exported days and backup; rank logs in folders and at URLs; logs of run folders
Due         published versions and run folders whose models contain the id: train, publish and delete them
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.in_use import lock_exclusively
from karec.bundle.item_types import KINDS as ITEM_TYPES
from karec.catalog.item_types import ItemType
from karec.catalog.schema import CREATOR, SONG
from karec.catalog.snapshot import Snapshot
from karec.config.online import open_contents
from karec.config.online_store import read_event_source
from karec.config.scenes import Config
from karec.erasure import ErasedIds, Tombstones
from karec.errors import DataError, nearest
from karec.features.encoder import Encoder
from karec.index.ids import IdMap, PlainIds
from karec.logs.erase import erase_from_log
from karec.logs.parts import to_log_folder
from karec.object_store import is_url
from karec.online.erase import erase_from_store
from karec.online.export import LEASE, renew_lease
from karec.online.store.open import SQLITE, open_store
from karec.online.store.sqlite import SqliteStore
from karec.online.store.sqlite_file import backup_path

REWRITTEN = "rewritten"
WRITERS = ("rank_log", "shadow")  # steps
KINDS = ("user", "item", "creator")  # others are item types of the bundle
COLUMNS = {"item": "id", "creator": CREATOR, "song": SONG}  # of works
DUE = "due: train and publish again, then delete it"


class Found(NamedTuple):
    """Number of rows or entries with erased ids in one place, and what was done or is due."""

    place: str
    rows: int
    outcome: str


def erase_ids(path: Path, ids: Mapping[str, Sequence[str]], now_ms: int) -> list[Found]:
    """Erases ids of the platform from everything before ``now_ms``. Returns a row for each place.

    Tombstones are written first. A killed call may be repeated. Services may run. ``ids``: by the kinds of
    ``ErasedIds``.

    Raises:
        DataError: a training or another erasure runs in the folder.
        ValueError: an id is not of the platform's kind, or the bundle has no such item type.
    """
    config, folder = Config.read(path), path.absolute().parent
    bundle = Bundle.open(config.follow_bundle(), verify=False)
    parsed = {kind: parse_ids(bundle, kind, texts) for kind, texts in ids.items() if texts}
    with lock_exclusively(folder, wait=False) as is_locked:
        if not is_locked:
            raise DataError(f"{folder}: a training or another erasure runs. Erase after its end.")
        for kind, (typed_ids, _) in parsed.items():
            Tombstones(folder).add(kind, typed_ids, now_ms)
        erased = [ErasedIds(kind, numbers, now_ms) for kind, (_, numbers) in parsed.items()]
        return [*_erase(config, bundle, folder, erased)]


def parse_ids(bundle: Bundle, kind: str, texts: Sequence[str]) -> tuple[list[int] | list[str], NDArray[Any]]:
    """Returns the ids as integers or texts, as the platform has them, and their numbers (N,) int64.

    Raises ValueError if an id is not of the platform's kind, or the bundle has no such item type.
    """
    creators = bundle.path / "ids" / "creators.karec"
    naming = bundle.naming
    if kind not in KINDS:
        if kind not in bundle.item_types:
            known = ["work", *bundle.item_types]
            raise ValueError(f"--item-type is {kind!r}, expected one of {known}{nearest(kind, known)}")
        naming = bundle.item_type(kind).naming
    id_map = PlainIds() if naming is None else naming.users if kind in ("user", "creator") else naming.items
    if kind == "creator" and creators.exists():
        id_map = IdMap.open(creators, verify=False)
    if id_map.kind == "string":
        return [*texts], id_map.numbers(texts)
    try:
        integers = [int(text) for text in texts]
        numbers = id_map.numbers(integers)
        if (numbers >= 0).all():  # events without a user or an item have the number −1
            return integers, numbers
    except (OverflowError, ValueError):
        pass
    option = kind if kind in KINDS else "item"
    raise ValueError(f"--{option} is {', '.join(texts)}, expected integers from 0 to 2^63 − 1 as in the data")


def _erase(config: Config, bundle: Bundle, folder: Path, erased: Sequence[ErasedIds]) -> Iterator[Found]:
    if config.online is not None:
        yield from _erase_online(config, bundle, erased)
    files = [file.resolve() for root in (folder, config.bundle) for file in root.glob("**/encoder.npz")]
    runs = sorted({os.path.relpath(file.parent, folder.resolve()) for file in files})
    run_logs = [f"{run}/{log.name}" for run in runs for log in sorted((folder / run).glob("*_log"))]
    for log in (*_rank_logs(config), *run_logs):
        log_folder = to_log_folder(log if is_url(log) else str(folder / log))
        yield Found(f"rank log {log}", erase_from_log(log_folder, erased), REWRITTEN)
    for run in runs:
        yield Found(f"models {run}", sum(_count_learned(folder / run, ids) for ids in erased), DUE)


def _rank_logs(config: Config) -> list[str]:
    """Returns the folders and URLs of rank logs, each folder before its URL."""
    steps = [step for scene in config.scenes for step in config.scene(scene).side_effects]
    places = [step.get(key) for key in ("folder", "url") for step in steps if step["use"] in WRITERS]
    return [*dict.fromkeys(place for place in places if place is not None)]


def _count_learned(folder: Path, erased: ErasedIds) -> int:
    """Returns how often the ids are in the models and the snapshot of a run folder or bundle."""
    encoder = Encoder.load(folder / "encoder.npz")
    vocabularies = dict(zip(encoder.works.category_names, encoder.works.vocabularies, strict=True))
    column = COLUMNS.get(erased.kind, "")
    vocabulary = encoder.people if erased.kind == "user" else vocabularies.get(column)
    arrays = [] if vocabulary is None else [vocabulary.keys]
    if (folder / "snapshot" / "snapshot.json").exists():
        snapshot = Snapshot.open(folder / "snapshot")
        works, users = snapshot.works, snapshot.users
        ids = {"user": users.ids, "item": works.ids}
        arrays.append(ids.get(erased.kind, works.columns.get(column, works.ids[:0])))
    if (items := folder / ITEM_TYPES / erased.kind).exists():
        arrays.append(ItemType.open(items).items.ids)
    return sum(int(np.isin(array, erased.numbers).sum()) for array in arrays)


def _erase_online(config: Config, bundle: Bundle, erased: Sequence[ErasedIds]) -> Iterator[Found]:
    assert config.online is not None
    source = read_event_source(config.path)
    file = Path(source.url.removeprefix(SQLITE))
    if not (config.online.is_on_a_server or file.exists() or backup_path(file).exists()):
        return  # no service has used the store
    contents, days = open_contents(bundle, config.online.late_ms), to_log_folder(source.exported or "")
    holder = uuid4().hex
    with closing(open_store(source.url, Path())) as store:
        contents.check(store)
        n_found = sum(erase_from_store(store, contents, ids) for ids in erased)
        yield Found(f"online store {config.online.url}", n_found, REWRITTEN)
        try:  # an export must not add to a day meanwhile, nor begin the first one
            renew_lease(store, holder)
            n_events = erase_from_log(days, erased, on_part=partial(renew_lease, store, holder))
        finally:
            store.acquire_lease(LEASE, holder, 0)  # seconds: ends it
        yield Found(f"exported events {days}", n_events, REWRITTEN)
        if isinstance(store, SqliteStore):
            store.compact()
            if backup_path(file).exists():
                store.back_up()
