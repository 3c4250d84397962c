"""Binds the ingestion of events to a bundle: its id maps, its indices, and the rules for uploads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from karec.aggregates.events import LATE_MS
from karec.bundle import Bundle
from karec.catalog.schema import CREATOR
from karec.config.online_settings import OnlineSettings
from karec.config.scenes import Config
from karec.erasure import Tombstones
from karec.features.online_inputs import find_columns
from karec.online.followed_items import FollowedItems, Presence
from karec.online.ingestion import Ingestion, OnlineBase, head_of
from karec.online.item_changes import ItemChanges, Refuse
from karec.online.item_counters import ItemCounters
from karec.online.lifecycle import ID
from karec.online.parse_events import EventParser
from karec.online.store.contents import StoreContents
from karec.online.store.open import MEMORY, open_store
from karec.online.text_numbers import TextNumbers
from karec.refresh.uploads import ItemTypeUploads, Uploads


def open_ingestion(settings: OnlineSettings, folder: Path, bundle: Bundle) -> Ingestion:
    """Opens the store. Paths in ``settings`` are relative to ``folder``."""
    return Ingestion(
        open_store(settings.url, folder),
        open_contents(bundle, settings.late_ms).head,
        refuse=_upload_screening(None if settings.screen is None else folder / settings.screen),
        deadline_ms=settings.deadline_ms if settings.is_on_a_server else None,
    )


def open_contents(bundle: Bundle, late_ms: int = LATE_MS) -> StoreContents:
    """Returns the contents of the online store of ``bundle``, for all its item types."""
    snapshots = {name: bundle.item_type(name).snapshot for name in bundle.item_types}
    head = head_of(bundle.snapshot, late_ms, [snapshot.meaning for snapshot in snapshots.values()])
    others = {name: StoreContents(snapshot, head, name) for name, snapshot in snapshots.items()}
    return StoreContents(bundle.snapshot, head, others=others)


def bind_bundle(ingestion: Ingestion, bundle: Bundle, config: Config) -> OnlineBase:
    """Returns the online store for ``bundle``. Raises what ``Ingestion.bind`` raises, and ConfigError for an
    unknown item type.
    """
    assert config.online is not None
    open_minutes = config.online.open_minutes
    for mistake in config.open_minutes_mistakes(bundle.item_types):
        raise mistake
    number_of = TextNumbers.from_folder(bundle.path / "ids")
    followed = []
    for name, contents in open_contents(bundle, ingestion.head.late_ms).by_type.items():
        items = bundle.item_type(name) if name else bundle
        changes = ItemChanges(items.snapshot, number_of, _accept if name else ingestion.refuse)
        update = ItemTypeUploads(bundle, name).take if name else Uploads(bundle).take
        presence = Presence(60_000 * open_minutes[name]) if name in open_minutes else None
        followed.append(FollowedItems(contents, changes, update, presence))
    tombstones = Tombstones(config.path.absolute().parent)
    parser = EventParser(bundle, ingestion.head, tombstones, config.scenes, open_minutes)
    return ingestion.bind(followed, parser)


@contextmanager
def open_counters(config: Config, bundle: Bundle) -> Iterator[Callable[[NDArray[Any]], NDArray[Any]] | None]:
    """Yields a function from item ids to their newest counters, in the order of the bundle's encoder.

    They are read from the online store of ``config``. Yields None if it has none that other processes read.
    Raises DataError if the store has other labels.
    """
    if config.online is None or config.online.url == MEMORY:
        yield None
        return
    contents = open_contents(bundle)
    columns = find_columns(contents.counters, bundle.encoder.works.counters)
    store = open_store(config.online.url, config.path.absolute().parent)
    try:
        contents.check(store)
        counters = ItemCounters(store, contents)
        yield lambda ids: counters.read(ids)[:, columns]
    finally:
        store.close()


def _accept(columns: Mapping[str, Any], number: int) -> str:
    return ""


def _upload_screening(path: Path | None) -> Refuse:
    """Returns the function that gives the reason why an upload is refused, by a screen.toml."""
    if path is None:
        return _accept
    from karec.screening.upload_screening import UploadScreening

    screening = UploadScreening(path)
    id_column = screening.settings.columns.work

    def refuse(columns: Mapping[str, Any], number: int) -> str:
        creator = columns.get("creator", columns.get(CREATOR))
        values = {**columns, CREATOR: creator, id_column: columns.get(ID, number)}
        reason = screening.rejection_reason(values)
        return f"screened: {reason}" if reason else ""

    return refuse
