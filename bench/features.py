"""Aggregates of events, over arrays and into a store, and the encoder of model inputs."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
import workloads

from karec.aggregates.counters import BY_USER, BY_WORK
from karec.aggregates.events import IMPRESSION, Events, Head
from karec.aggregates.histories import HISTORY, SHOWN
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.config import open_bundle
from karec.online.apply_events import EventApplier
from karec.online.read_state import StateReader
from karec.online.store.contents import StoreContents
from karec.online.store.sqlite import SqliteStore

USERS, ITEMS, CREATORS = 200_000, 100_000, 5_000
LABELS, RATES = ("click", "long_view", "like", "follow"), (0.3, 0.2, 0.03, 0.005)
START_MS = 1_790_000_000_000
HEAD = Head(LABELS, ("home",))


def platform() -> Snapshot:
    items = Table(np.arange(ITEMS), {"creator_id": np.arange(ITEMS) % CREATORS})
    users = Table(np.arange(USERS), {})
    meaning = Meaning(("click", "long_view"), ("like",), ("follow",))
    return Snapshot(
        START_MS,
        items,
        users,
        {},
        {"scene": ["home"]},
        None,
        meaning,
    )


def impressions(n: int) -> Events:
    """In order of time; users are drawn uniformly, items by Zipf's law."""
    rng = np.random.default_rng(0)
    labels = sum((rng.random(n) < rate).astype(np.uint64) << np.uint64(bit) for bit, rate in enumerate(RATES))
    return Events.from_columns(
        np.full(n, IMPRESSION, np.uint8),
        source=1,
        number=np.arange(n),
        time_ms=START_MS + np.arange(n) // 10,
        user_id=rng.integers(0, USERS, n),
        item_id=(rng.zipf(1.2, n) - 1) % ITEMS,
        scene=0,
        labels=labels,
    )


@pytest.mark.parametrize(
    "fold", [HISTORY, SHOWN, BY_USER, BY_WORK], ids=lambda fold: getattr(fold, "name", None) or fold.by
)
def test_aggregate_before_each_event(compare, fold):
    """Builds an aggregate over all events and reads it before each of them: an as-of join per event."""
    base, events = platform(), impressions(workloads.N_EVENTS)
    located = LocatedEvents.from_rows(base, HEAD, events, events.user_id, events.item_id, events.item_id)
    if fold in (HISTORY, SHOWN):
        name, run_karec = fold.name, lambda: fold.over_time(base, located).at(located.user, located.time_ms)
    else:
        counters, rows = StoreContents(base, HEAD).counters, getattr(located, fold.by)
        name = f"counters by {fold.by}"
        run_karec = lambda: fold.over_time(base, located, counters).at(rows, located.time_ms)  # noqa: E731
    compare(f"features: {name}", f"{len(events):,} events", run_karec, items=len(events))


@pytest.mark.parametrize("store", ["memory", "file"])
def test_events_into_a_store(compare, store, tmp_path):
    events = impressions(40_000)
    numbers = count()

    def append():
        path = None if store == "memory" else tmp_path / f"online-{next(numbers)}.db"
        opened, applier = SqliteStore(path), EventApplier(StoreContents(platform(), HEAD))
        for begin in range(0, len(events), 20_000):
            opened.append(events.take(slice(begin, begin + 20_000)), applier)
        opened.close()

    compare(f"features: events into a store in {store}", f"{len(events):,} events", append, items=len(events))


def test_user_from_a_store(compare, tmp_path):
    store, contents = SqliteStore(tmp_path / "online.db"), StoreContents(platform(), HEAD)
    store.append(impressions(20_000), EventApplier(contents))
    reader, users = StateReader(store, contents), np.random.default_rng(1).integers(0, USERS, 100).tolist()
    compare("features: read a user", "SQLite", lambda: list(map(reader.read_user, users)), items=len(users))


@pytest.mark.parametrize("part", ["user", "1,000 items", "1,000 crosses"])
def test_encoder(compare, world, part):
    bundle, rng = open_bundle(world), np.random.default_rng(0)
    encoder, snapshot = bundle.encoder, bundle.snapshot
    users = rng.choice(np.asarray(snapshot.users.ids), 20).tolist()
    rows = [rng.integers(0, len(snapshot.works), 1000) for _ in users]
    encoded = [encoder.encode_user(snapshot, user, snapshot.time_ms, 0) for user in users]
    items = [encoder.encode_items(snapshot, batch, snapshot.time_ms) for batch in rows]
    calls = {
        "user": lambda: [encoder.encode_user(snapshot, user, snapshot.time_ms, 0) for user in users],
        "1,000 items": lambda: [encoder.encode_items(snapshot, batch, snapshot.time_ms) for batch in rows],
        "1,000 crosses": lambda: [encoder.encode_crosses(*pair) for pair in zip(encoded, items, strict=True)],
    }
    compare(f"features: encode {part}", "20 users", calls[part], items=len(users))
