"""Several processes serve one bundle: all of them use recorded events and refreshed vectors."""

import shutil
import time

import numpy as np
import pytest
from live_bundle import ask, live_config
from small_bundle import write_next_run

from karec.bundle import Bundle
from karec.config import open_hot_swap
from karec.refresh.follow import LibraryFollower
from karec.refresh.next_version import publish_next_version
from karec.refresh.rolling import open_refresh
from karec.refresh.shards import library_folder, list_shards

HOUR = 3_600_000
USER, NEW, CREATOR = 1, 9001, 4
LONG = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    bundle = Bundle.open(live_config(folder).parent / "bundles")
    write_next_run(bundle, folder / "run-2")
    return folder


@pytest.fixture
def worker(made, tmp_path):
    """Opens a cascade on a copy of the bundle of its own, as another process maps it, on one store."""
    opened = []

    def open_worker(name="one"):
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(made / "bundles", folder / "bundles", symlinks=True)
        text = (
            (made / "karec.toml").read_text().replace("sqlite:online.db", f"sqlite:{tmp_path / 'online.db'}")
        )
        (folder / "karec.toml").write_text(text)
        opened.append(open_hot_swap(folder / "karec.toml", None))
        return opened[-1]

    yield open_worker
    for entry in opened:
        entry.close()


@pytest.fixture
def now(made):
    return Bundle.open(made / "bundles", verify=False).snapshot.time_ms + HOUR


def bundle_of(live):
    return live.cascades["home"].bundle


def refresh(bundle, now):
    """A round of the bundle's library, as another process makes it."""
    with open_refresh(Bundle.open(bundle.path, verify=False)) as work:
        work.run(work.start_round(now, 7))


def vectors(index, ids):
    with index.pinned() as view:  # a thread writes
        return view.embeddings(view.lookup(ids))


def item_tower_vectors(bundle, ids, now):
    items = bundle.encoder.encode_items(bundle.snapshot, bundle.snapshot.works.lookup(ids), now)
    return bundle.item_tower.run(items, "item_vector")[0].astype(np.float16).astype(np.float32)


def wait_until(seen):
    """Asks again and again, as requests do; a thread of the cascade works meanwhile."""
    end = time.monotonic() + LONG
    while not seen():
        assert time.monotonic() < end


def test_refresh_replaces_served_vectors_except_in_pinned_requests(worker, now):
    live = worker()
    bundle = bundle_of(live)
    ids = np.asarray(bundle.snapshot.works.ids)
    with bundle.index.pinned() as held:
        was = held.embeddings(held.lookup(ids))
        refresh(bundle, now)
        wait_until(lambda: np.array_equal(vectors(bundle.index, ids), item_tower_vectors(bundle, ids, now)))
        np.testing.assert_array_equal(held.embeddings(held.lookup(ids)), was)
    live.add_refreshed()  # waits for the running call of the thread
    assert not ask(live, USER, time_ms=now).degraded


def test_refresh_keeps_edits_blocks_and_adjustments(worker, now):
    live = worker()
    bundle = bundle_of(live)
    edited, blocked, adjusted, other = bundle.snapshot.works.ids[:4].tolist()
    live.record(
        [
            {"event": "edit", "item_id": edited, "columns": {"song_id": 77}},
            {"event": "block", "item_id": blocked},
            {"event": "adjust", "item_id": adjusted, "offset": 3.0},
        ],
        now_ms=now,
    )
    was = vectors(bundle.index, [edited])
    refresh(bundle, now + HOUR)
    live.add_refreshed()
    np.testing.assert_array_equal(vectors(bundle.index, [edited]), was)
    np.testing.assert_array_equal(
        vectors(bundle.index, [other]), item_tower_vectors(bundle, np.array([other]), now + HOUR)
    )
    none = np.zeros(bundle.index.dim, np.float32)
    assert bundle.index.scores(none, ids=[blocked, adjusted, other]).tolist() == [-np.inf, 3.0, 0.0]


def test_rollout_of_the_next_model_version_ends_after_a_reload(worker, made, now):
    live = worker()
    before = bundle_of(live)
    refresh(before, now)
    live.add_refreshed()
    live.record([{"event": "adjust", "item_id": int(before.snapshot.works.ids[0]), "scale": 2.0}], now_ms=now)
    publish_next_version(made / "run-2", before.snapshot, before.path.parent, sample=5)
    assert live.reload()
    bundle = bundle_of(live)
    assert bundle.index.model_versions == (1, 2) and not ask(live, USER, time_ms=now).degraded
    refresh(bundle, now)
    live.add_refreshed()
    ids = np.asarray(bundle.snapshot.works.ids)
    assert bundle.index.model_versions == (2,)
    np.testing.assert_array_equal(vectors(bundle.index, ids), item_tower_vectors(bundle, ids, now))
    one = vectors(bundle.index, ids[:1])[0]
    np.testing.assert_allclose(bundle.index.scores(one, ids=ids[:1]), [2 * (one @ one)], rtol=1e-3)


def test_later_worker_has_the_refreshed_vectors(worker, now):
    live = worker()
    refresh(bundle_of(live), now)
    live.close()
    bundle = bundle_of(worker())
    ids = np.asarray(bundle.snapshot.works.ids)
    np.testing.assert_array_equal(vectors(bundle.index, ids), item_tower_vectors(bundle, ids, now))


def test_damaged_shard_is_logged_once_and_old_vectors_are_kept(worker, now, caplog):
    live = worker()
    bundle = bundle_of(live)
    ids = np.asarray(bundle.snapshot.works.ids)
    was = vectors(bundle.index, ids)
    live.close()
    refresh(bundle, now)
    path = list_shards(library_folder(bundle.path))[0].path / "index.karec"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9])
    live = worker()
    for _ in range(2):
        live.add_refreshed()
    result = [entry.message for entry in caplog.records if "refreshed vectors are not taken" in entry.message]
    assert len(result) == 1 and str(path) in result[0]
    assert len(ask(live, USER, time_ms=now))
    np.testing.assert_array_equal(vectors(bundle_of(live).index, ids), was)


def test_damaged_shard_does_not_undo_an_edit(worker, now):
    live = worker()
    bundle = bundle_of(live)
    live.close()
    refresh(bundle, now + HOUR)
    first, *_, last = list_shards(library_folder(bundle.path))
    edited = int(first.index("index.karec").ids[0])
    damaged = next(iter(last.path.rglob("*.karec")))
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    shards = bundle.path.parent / "library"
    shards.rename(shards.with_name("aside"))
    live = worker()
    bundle = bundle_of(live)
    live.record([{"event": "edit", "item_id": edited, "columns": {"song_id": 77}}], now_ms=now)
    was = vectors(bundle.index, [edited])
    shards.with_name("aside").rename(shards)
    live.add_refreshed()
    other = first.index("index.karec").ids[1:2]
    np.testing.assert_array_equal(vectors(bundle.index, other), item_tower_vectors(bundle, other, now + HOUR))
    np.testing.assert_array_equal(vectors(bundle.index, [edited]), was)


def test_library_follower_logs_an_error_and_continues(worker, now, caplog):
    def broken():
        raise RuntimeError("a tower fails")

    live = worker()
    bundle, refreshed = bundle_of(live), LibraryFollower()
    refresh(bundle, now)
    refreshed.follow(bundle, broken)
    assert "refreshed vectors are not taken: a tower fails" in caplog.text


def test_adjustment_reaches_all_workers_and_later_uploads(worker, now):
    one, two = worker("one"), worker("two")
    work = int(bundle_of(one).snapshot.works.ids[3])
    rows = [
        {"event": "adjust", "item_id": work, "scale": 0.0, "offset": 2.5},
        {"event": "adjust", "item_id": NEW, "offset": 7.0},  # it is uploaded later
        {"event": "block", "item_id": work + 1},
    ]
    assert one.record(rows, now_ms=now).events == 3
    one.record([{"event": "adjust", "item_id": work, "offset": 4.5, "time_ms": now + 1}], now_ms=now + 1)
    # recorded late
    one.record([{"event": "adjust", "item_id": work, "offset": 3.5, "time_ms": now - 1}], now_ms=now + 1)
    two.record([{"event": "upload", "item_id": NEW, "creator_id": CREATOR}], now_ms=now + 2)
    for live in (one, two, worker("late")):
        index = bundle_of(live).index
        zero = np.zeros(index.dim, np.float32)
        wait_until(
            lambda i=index, z=zero: i.scores(z, ids=[work, NEW, work + 1]).tolist() == [4.5, 7.0, -np.inf]
        )


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"item_id": 100}, "scale and offset are missing"),
        ({"scale": 2.0}, "item_id is missing"),
        ({"item_id": 100, "scale": "big"}, "scale is not a finite number"),
        ({"item_id": 100, "scale": True}, "scale is not a finite number"),
        ({"item_id": 100, "offset": float("nan")}, "offset is not a finite number"),
        ({"item_id": 100, "offset": 10**400}, "offset is not a finite number"),
        ({"item_id": 100, "offset": 1, "factor": 2}, "unknown key 'factor'"),
    ],
)
def test_invalid_adjustment_is_refused_with_its_reason(worker, now, row, why):
    live = worker()
    result = live.record([{"event": "adjust", **row}], now_ms=now)
    assert (result.events, result.refused) == (0, {why: 1})
