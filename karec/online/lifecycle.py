"""What became of works, in the store: one entry for each that was uploaded, edited, deleted, blocked or
adjusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from karec.aggregates.events import ADJUST, BLOCK, UNBLOCK, Events
from karec.online.item_life import LIVES, SAY, ItemLife, Word, adjustment_of, columns_of, newest
from karec.online.packed_lives import PackedLives
from karec.online.store import records
from karec.online.store.store import StateStore


@dataclass(frozen=True)
class ItemLifecycle:
    """``works`` {work: its life}, ``creators`` {creator: the newest block or unblock of all their works}."""

    works: Mapping[int, ItemLife] = field(default_factory=dict)
    creators: Mapping[int, Word] = field(default_factory=dict)

    def step(self, events: Events, counted: Counter[str]) -> ItemLifecycle:
        """Of the works and creators that ``events`` name: after these, which are of the kinds LIVES, in any
        order."""
        works, creators = dict[int, ItemLife](), dict[int, Word]()
        for at in range(len(events)):
            kind, work, creator = int(events.kind[at]), int(events.item_id[at]), int(events.creator_id[at])
            moment = int(events.time_ms[at]), int(events.number[at])
            if kind in (BLOCK, UNBLOCK) and work < 0:
                word = newest(creators.get(creator, self.creators.get(creator)), (moment, kind))
                assert word is not None
                creators[creator] = word
                continue
            text = events.text[at] if kind in SAY else ""
            said = adjustment_of(text) if kind == ADJUST else columns_of(text, creator if kind in SAY else -1)
            if said is None:
                counted["unreadable text"] += 1
                continue
            works[work] = works.get(work, self.works.get(work, ItemLife())).step(kind, moment, said)
        return ItemLifecycle(works, creators)

    def entries(self) -> dict[bytes, bytes]:
        """As the store keeps them."""
        found = {}
        for work, life in self.works.items():
            key = records.keys_of(records.WORK_LIFE, np.array([work]))[0]
            found[key] = records.pack(key, life.to_bytes())
        for creator, (moment, kind) in self.creators.items():
            key = records.keys_of(records.CREATOR_BLOCK, np.array([creator]))[0]
            found[key] = records.pack(key, np.array([*moment, kind], np.uint64).tobytes())
        return found

    @classmethod
    def read(cls, values: Mapping[bytes, bytes | None], counted: Counter[str]) -> ItemLifecycle:
        """Of the store's entries by key; corrupt ones are counted and taken as missing."""
        works, creators = dict[int, ItemLife](), dict[int, Word]()
        for key, value in values.items():
            if value is None:
                continue
            if not records.is_whole(key, value, 24 if key[:1] == records.CREATOR_BLOCK else 1):
                counted["corrupt entries"] += 1
                continue
            if key[:1] == records.WORK_LIFE:
                works[records.id_of(key)] = ItemLife.of_bytes(records.payload(value))
            else:
                time, number, kind = np.frombuffer(records.payload(value), np.uint64).tolist()
                creators[records.id_of(key)] = (time, number), kind
        return cls(works, creators)

    @classmethod
    def all_of(cls, store: StateStore, counted: Counter[str]) -> ItemLifecycle:
        """Every one that ``store`` has; its works' are ``PackedLives``."""
        works = PackedLives()
        for key, value in store.scan(records.WORK_LIFE, _behind(records.WORK_LIFE)):
            if records.is_whole(key, value, 1):
                works.put_bytes(records.id_of(key), records.payload(value))
            else:
                counted["corrupt entries"] += 1
        blocks = store.scan(records.CREATOR_BLOCK, _behind(records.CREATOR_BLOCK))
        return cls(works, cls.read(dict(blocks), counted).creators)

    @classmethod
    def named_by(cls, store: StateStore, events: Events, counted: Counter[str]) -> ItemLifecycle:
        """Those that ``events`` name, in one read."""
        creators = np.unique(events.creator_id[np.isin(events.kind, (BLOCK, UNBLOCK)) & (events.item_id < 0)])
        works = np.unique(events.item_id[events.item_id >= 0])
        keys = [*records.keys_of(records.WORK_LIFE, works), *records.keys_of(records.CREATOR_BLOCK, creators)]
        return cls.read(dict(zip(keys, store.read(keys), strict=True)), counted)


def _behind(letter: bytes) -> bytes:
    """The first key behind those that begin with ``letter``."""
    return bytes([letter[0] + 1])


def of_lives(events: Events) -> Events:
    """Those of ``events`` that say what became of works."""
    return events.take(np.isin(events.kind, LIVES))
