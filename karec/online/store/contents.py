"""Which folds a store keeps, and of what: the labels, scenes and meanings that all its entries are of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from karec.aggregates.events import Head
from karec.catalog import schema
from karec.catalog.once import computed_once
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError
from karec.online.store.records import HIGHEST, LOWEST, META
from karec.online.store.store import StateStore

FORMAT = 1


@dataclass(frozen=True)
class StoreContents:
    """The base that states begin from, and the head of the log that they follow.

    A user or work that no event named yet is what ``base`` says; from its first event on it is in the store.
    Events before the base's moment are in the base already and are passed over. Raises ValueError when the
    log has no label that says enjoyed.
    """

    base: Snapshot
    head: Head

    def __post_init__(self) -> None:
        if not set(self.base.meaning.enjoyed) & set(self.head.labels):
            raise ValueError(
                f"the log has the labels {list(self.head.labels)}, and none that says enjoyed; "
                f"the base's are {list(self.base.meaning.enjoyed)}"
            )

    @computed_once
    def counters(self) -> tuple[str, ...]:
        return (schema.EXPOSED, *map(schema.counter, self.head.labels))

    @property
    def described(self) -> bytes:
        return json.dumps(
            {
                "format": FORMAT,
                "labels": self.head.labels,
                "scenes": list(self.base.labels.get("scene", ())),
                "meaning": asdict(self.base.meaning),
            }
        ).encode()

    def check(self, store: StateStore) -> None:
        """Raises DataError when the store's entries are of other labels, scenes or meanings, or do not say of
        which."""
        found = store.read([META])[0]
        if found is None and next(store.scan(LOWEST, HIGHEST), None) is not None:
            raise DataError(
                "the state store has entries and does not say of which labels: it was loaded in part, or is "
                "of something else: begin an empty store and load it, or rebuild it from the event log"
            )
        if found is not None and found != self.described:
            raise DataError(
                f"the state store is of {found[:400].decode(errors='replace')}, expected "
                f"{self.described.decode()}: begin an empty store and rebuild it from the event log"
            )
