"""The inputs from which the state of a store is computed: base, labels, scenes, and the meaning of labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from karec.aggregates.events import WORK, Head
from karec.aggregates.recent import recent_labels
from karec.catalog import schema
from karec.catalog.once import computed_once
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError, LogSchemaError
from karec.online.store import records
from karec.online.store.online_store import OnlineStore

FORMAT = 1
DOCUMENT = "contents"  # of the store


@dataclass(frozen=True)
class StoreContents:
    """The base that states begin from, and the labels and scenes of events.

    A user or item without events has the state of ``base``; from its first event on its state is in the
    store. Events before the base's moment are in the base already and are not counted. Raises ValueError if
    no label means enjoyed.

    item_type  of the items of ``base``
    others     of works: the contents of the other item types
    """

    base: Snapshot
    head: Head
    item_type: str = WORK
    others: Mapping[str, StoreContents] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not set(self.base.meaning.enjoyed) & set(self.head.labels):
            raise ValueError(
                f"events have the labels {list(self.head.labels)}, expected at least one that means enjoyed: "
                f"{list(self.base.meaning.enjoyed)}"
            )

    @property
    def by_type(self) -> Mapping[str, StoreContents]:
        """{item type: its contents}, works first."""
        return {self.item_type: self, **self.others}

    def letter(self, letter: bytes) -> bytes:
        """Returns ``letter`` of the keys of this item type."""
        return records.letter_of_type(letter, self.item_type)

    @computed_once
    def counters(self) -> tuple[str, ...]:
        return (schema.EXPOSED, *map(schema.counter, self.head.labels))

    @computed_once
    def recent_counters(self) -> tuple[str, ...]:
        """The counters of items that are also recent counters (``karec.aggregates.recent``)."""
        labels = recent_labels(self.base.meaning)
        return (schema.EXPOSED, *(schema.counter(label) for label in self.head.labels if label in labels))

    @computed_once
    def description(self) -> bytes:
        """Labels, scenes and meaning, equal for bases that may share a store."""
        return json.dumps(
            {
                "format": FORMAT,
                "labels": self.head.labels,
                "event_scenes": self.head.scenes,
                "scenes": list(self.base.labels.get("scene", ())),
                "meaning": asdict(self.base.meaning),
            }
        ).encode()

    def check(self, store: OnlineStore) -> None:
        """Writes the description into an empty store.

        Raises DataError if the store has other labels, scenes or meanings.
        """
        stored = store.read_document(DOCUMENT)
        if stored is None and store.write_document(DOCUMENT, self.description, None):
            return
        stored = stored or store.read_document(DOCUMENT) or b""
        if stored != self.description:
            raise DataError(
                f"the online store has {stored[:400].decode(errors='replace')}, expected "
                f"{self.description.decode()}. Name another store in [online] url, or publish a bundle with "
                "these labels and scenes."
            )


def read_head(store: OnlineStore) -> Head:
    """Returns the labels and scenes of the store's events. Raises LogSchemaError if it has none."""
    stored = store.read_document(DOCUMENT)
    if stored is None:
        raise LogSchemaError("the online store is empty: no service has used it")
    description = json.loads(stored)
    if description["format"] != FORMAT:
        raise LogSchemaError(f"the online store has the format {description['format']}, expected {FORMAT}")
    return Head(tuple(description["labels"]), tuple(description["event_scenes"]))
