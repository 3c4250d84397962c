"""Erases ids from all places of a karec.toml, and deletes logs that are older than it keeps them.

Rewritten   online store, its exported days and backup; rank logs in folders and at URLs; logs of run folders
Due         published versions and run folders with models of the id: the next training leaves it out
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.in_use import lock_exclusively
from karec.bundle.manifest import MANIFEST
from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.config.online import open_contents
from karec.config.online_store import read_event_source
from karec.config.scenes import Config
from karec.erasure import ErasedIds, Kind, Tombstones
from karec.errors import DataError
from karec.features.encoder import Encoder
from karec.index.ids import IdMap, PlainIds
from karec.logs.erase import delete_old_parts, erase_from_log
from karec.logs.parts import LogFolder, to_log_folder
from karec.object_store import is_url
from karec.online.erase import erase_from_files, erase_from_store
from karec.online.event_files import EventFiles
from karec.online.store.open import SQLITE, open_store
from karec.online.store.sqlite import SqliteStore
from karec.online.store.sqlite_file import backup_path
from karec.steps.side_effects.rank_log import DAYS
from karec.times import DAY_MS

REWRITTEN, DELETED = "rewritten", "files deleted"
DUE = "due: train and publish again, then delete it"
RUNS = ("run*", "choice")  # folders of trainings


class Found(NamedTuple):
    """Number of rows or entries with erased ids in one place, and what was done or is due."""

    place: str
    rows: int
    outcome: str


def erase_ids(
    path: Path, ids: Mapping[Kind, Sequence[str]], now_ms: int, *, is_check: bool = False
) -> list[Found]:
    """Erases ids of the platform from everything before ``now_ms``. Returns a row for each place.

    Tombstones are written first. A killed call may be repeated; services run meanwhile.

    Args:
        is_check: writes nothing; searches what is from before the ids' erasure.

    Raises:
        DataError: a training or another erasure runs in the folder.
        ValueError: an id is not of the platform's kind.
    """
    config, folder = Config.read(path), path.absolute().parent
    tombstones = Tombstones(folder)
    bundle = Bundle.open(config.follow_bundle(), verify=False)
    parsed = {kind: _parse_ids(bundle, kind, texts) for kind, texts in ids.items() if texts}
    if is_check:
        erased = [
            ErasedIds(kind, numbers[n : n + 1], erased_ms or now_ms)
            for kind, (typed_ids, numbers) in parsed.items()
            for n, erased_ms in enumerate(tombstones.erased_ms(kind, typed_ids))
        ]
        return [*_erase(config, bundle, erased, is_check=True)]
    with lock_exclusively(folder, wait=False) as is_locked:
        if not is_locked:
            raise DataError(f"{folder}: a training or another erasure runs. Erase after its end.")
        for kind, (typed_ids, _) in parsed.items():
            tombstones.add(kind, typed_ids, now_ms)
        erased = [ErasedIds(kind, numbers, now_ms) for kind, (_, numbers) in parsed.items()]
        return [*_erase(config, bundle, erased, is_check=False)]


def delete_old_logs(path: Path, now_ms: int) -> list[Found]:
    """Deletes exported days and rank log parts that are older than the karec.toml keeps them.

    Returns the number of deleted files of each log that has a limit.
    """
    config, deleted = Config.read(path), list[Found]()
    if config.online is not None and config.online.exported_days:
        source = read_event_source(path)
        assert source.exported is not None
        files = EventFiles(source.exported)
        n_files = files.delete_before(int(now_ms / DAY_MS - config.online.exported_days))
        deleted.append(Found(f"exported events {files.display}", n_files, DELETED))
    for log, days in _rank_logs(config).items():
        if days is not None:
            n_files = delete_old_parts(_log_folder(config, log), now_ms - round(days * DAY_MS))
            deleted.append(Found(f"rank log {log}", n_files, DELETED))
    return deleted


def _rank_logs(config: Config) -> dict[str, float | None]:
    """Returns {folder or URL: days that it is kept, None without a limit}, each folder before its URL."""
    logs = dict[str, float | None]()
    for scene in config.scenes:
        for step in config.scene(scene).side_effects:
            if step["use"] == "shadow":  # It writes into the folder of a rank log, which has the limit.
                logs.setdefault(step["folder"], None)
            elif step["use"] == "rank_log":
                logs[step["folder"]] = step.get("days", DAYS)
                if step.get("url") is not None:
                    logs[step["url"]] = step.get("url_days")
    return logs


def _log_folder(config: Config, log: str) -> LogFolder:
    return to_log_folder(log if is_url(log) else str(config.path.absolute().parent / log))


def _parse_ids(
    bundle: Bundle, kind: Kind, texts: Sequence[str]
) -> tuple[list[int] | list[str], NDArray[Any]]:
    """Returns the ids as integers or texts, as the platform has them, and their numbers (N,) int64."""
    creators = bundle.path / "ids" / "creators.karec"
    id_map: IdMap | PlainIds = PlainIds()
    if bundle.naming is not None:
        id_map = bundle.naming.items if kind == "item" else bundle.naming.users
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
    raise ValueError(f"--{kind} is {', '.join(texts)}, expected integers from 0 to 2^63 − 1 as in the data")


def _erase(config: Config, bundle: Bundle, erased: Sequence[ErasedIds], *, is_check: bool) -> Iterator[Found]:
    folder = config.path.absolute().parent
    if config.online is not None:
        yield from _erase_online(config, bundle, erased, is_check=is_check)
    runs = sorted({path.parent for name in RUNS for path in folder.glob(f"{name}/**/encoder.npz")})
    run_logs = [str(log.relative_to(folder)) for run in runs for log in sorted(run.glob("*_log"))]
    for log in (*_rank_logs(config), *run_logs):
        n_rows = erase_from_log(_log_folder(config, log), erased, is_check=is_check)
        yield Found(f"rank log {log}", n_rows, REWRITTEN)
    root = config.bundle
    versions = [root] if (root / MANIFEST).exists() else sorted(root.glob("v*[0-9]"))
    names = {run: f"run folder {run.relative_to(folder)}" for run in runs}
    for made, name in (names | {version: f"bundle {version.name}" for version in versions}).items():
        yield Found(name, sum(_count_learned(made, ids) for ids in erased), DUE)


def _count_learned(folder: Path, erased: ErasedIds) -> int:
    """Returns how often the ids are in a run folder or bundle, in its parts from before the erasure."""
    arrays = list[NDArray[Any]]()
    if _is_before(folder / "encoder.npz", erased):
        encoder = Encoder.load(folder / "encoder.npz")
        vocabularies = dict(zip(encoder.works.category_names, encoder.works.vocabularies, strict=True))
        keys = {"user": encoder.people, "item": vocabularies["id"], "creator": vocabularies.get(CREATOR)}
        arrays += [vocabulary.keys for vocabulary in (keys[erased.kind],) if vocabulary is not None]
    if _is_before(folder / "snapshot" / "snapshot.json", erased):
        snapshot = Snapshot.open(folder / "snapshot")
        works, users = snapshot.works, snapshot.users
        ids = {"user": users.ids, "item": works.ids, "creator": works.columns.get(CREATOR, works.ids[:0])}
        arrays.append(ids[erased.kind])
    return sum(int(np.isin(array, erased.numbers).sum()) for array in arrays)


def _is_before(path: Path, erased: ErasedIds) -> bool:
    return path.exists() and path.stat().st_mtime * 1000 < erased.before_ms


def _erase_online(
    config: Config, bundle: Bundle, erased: Sequence[ErasedIds], *, is_check: bool
) -> Iterator[Found]:
    assert config.online is not None
    source = read_event_source(config.path)
    assert source.exported is not None
    file = Path(source.url.removeprefix(SQLITE))
    if not (config.online.is_on_a_server or file.exists() or backup_path(file).exists()):
        return  # no service has used the store
    contents = open_contents(bundle, config.online.late_ms)
    files = EventFiles(source.exported)
    with closing(open_store(source.url, Path())) as store:
        contents.check(store)
        n_found = sum(erase_from_store(store, contents, ids, is_check=is_check) for ids in erased)
        yield Found(f"online store {config.online.url}", n_found, REWRITTEN)
        n_events = sum(
            erase_from_files(store, files, contents.head, ids, is_check=is_check) for ids in erased
        )
        yield Found(f"exported events {files.display}", n_events, REWRITTEN)
        if not isinstance(store, SqliteStore):
            yield Found("append-only file of the server", n_found, "due: run BGREWRITEAOF on the server")
            return
        backup = backup_path(file)
        has_old_backup = any(_is_before(backup, ids) for ids in erased)
        if not is_check:
            store.compact()
            if has_old_backup:
                store.back_up()
        yield Found(f"backup {backup.name}", int(has_old_backup), "written again")
