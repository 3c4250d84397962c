"""Binds the ingestion of events to a bundle: its id maps, its indices, and the rules for uploads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.catalog.schema import CREATOR, SONG
from karec.config.online_settings import OnlineSettings
from karec.config.scenes import Config
from karec.features.online_inputs import find_columns
from karec.index import IdMap
from karec.online.ingestion import Ingestion, OnlineBase, head_of
from karec.online.item_changes import Refuse
from karec.online.item_counters import ItemCounters
from karec.online.lifecycle import ID
from karec.online.parse_events import EventParser
from karec.online.store.contents import StoreContents
from karec.online.store.open import MEMORY, open_store
from karec.refresh.uploads import Uploads

MAPS = {CREATOR: "creators", SONG: "songs"}  # columns whose texts have id maps


def open_ingestion(settings: OnlineSettings, folder: Path, bundle: Bundle) -> Ingestion:
    """Opens the store. Paths in ``settings`` are relative to ``folder``."""
    return Ingestion(
        open_store(settings.url, folder),
        head_of(bundle.snapshot, settings.late_ms),
        refuse=_upload_rules(None if settings.screen is None else folder / settings.screen),
        deadline_ms=settings.deadline_ms if settings.is_on_a_server else None,
    )


def bind_bundle(ingestion: Ingestion, bundle: Bundle, scenes: Collection[str]) -> OnlineBase:
    """Returns the online store for ``bundle``. Raises what ``Ingestion.bind`` raises.

    ``scenes``: scenes of the karec.toml, which events may name.
    """
    parser = EventParser(bundle, ingestion.head, scenes)
    return ingestion.bind(bundle.snapshot, TextNumbers.from_bundle(bundle), Uploads(bundle).take, parser)


@contextmanager
def open_counters(config: Config, bundle: Bundle) -> Iterator[Callable[[NDArray[Any]], NDArray[Any]] | None]:
    """Yields a function from item ids to their newest counters, in the order of the bundle's encoder.

    They are read from the online store of ``config``. Yields None if it has none that other processes read.
    Raises DataError if the store has other labels.
    """
    if config.online is None or config.online.url == MEMORY:
        yield None
        return
    contents = StoreContents(bundle.snapshot, head_of(bundle.snapshot))
    columns = find_columns(contents.counters, bundle.encoder.works.counters)
    store = open_store(config.online.url, config.path.absolute().parent)
    try:
        contents.check(store)
        counters = ItemCounters(store, contents)
        yield lambda ids: counters.read(ids)[:, columns]
    finally:
        store.close()


@dataclass(frozen=True)
class TextNumbers:
    """Numbers of texts in a column, by the id maps of one bundle. Equal if another bundle's maps give the
    same numbers."""

    columns: Mapping[str, tuple[str, int]]  # kind and seed of each column's map
    maps: Mapping[str, IdMap] = field(compare=False, repr=False)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        paths = {column: bundle.path / "ids" / f"{name}.karec" for column, name in MAPS.items()}
        maps = {column: IdMap.open(path, verify=False) for column, path in paths.items() if path.exists()}
        return cls({column: (ids.kind, ids.seed) for column, ids in maps.items()}, maps)

    def __call__(self, column: str, text: str) -> int:
        """Returns −1 if the column has no map or the map cannot hold ``text``."""
        try:
            return int(self.maps[column].numbers([text])[0]) if column in self.maps else -1
        except ValueError:
            return -1


def _upload_rules(path: Path | None) -> Refuse:
    """Returns the function that gives the reason why an upload is refused, by the rules of a screen.toml."""
    if path is None:
        return lambda columns, number: ""
    from karec.screening.upload_rules import UploadRules

    rules = UploadRules(path)
    id_column = rules.settings.columns.work

    def refuse(columns: Mapping[str, Any], number: int) -> str:
        creator = columns.get("creator", columns.get(CREATOR))
        broken = rules.find_broken_rule({**columns, CREATOR: creator, id_column: columns.get(ID, number)})
        return f"screened: {broken}" if broken else ""

    return refuse
