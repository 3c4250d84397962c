"""What a refresh makes of a library is in the service that runs, and takes nothing back that happened meanwhile."""

import shutil

import numpy as np
import pytest
from live_bundle import ask, live_config
from small_bundle import write_next_run

import karec
from karec.bundle import Bundle
from karec.config.watching import Watcher
from karec.refresh.pace import Pace
from karec.refresh.roll_in import roll_in
from karec.refresh.rolling import refreshing
from karec.refresh.shards import shards_in

HOUR = 3_600_000
USER, NEW, CREATOR = 1, 9001, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("lmdb")
    folder = tmp_path_factory.mktemp("made")
    live_config(folder, recall=True)
    return folder


@pytest.fixture
def path(made, tmp_path):
    """A copy, whose index and library nobody else writes to."""
    shutil.copytree(made / "bundles", tmp_path / "bundles", symlinks=True)
    shutil.copyfile(made / "karec.toml", tmp_path / "karec.toml")
    return tmp_path / "karec.toml"


def refreshed(path, now):
    """One round, of a bundle that it opens for itself, as another process does; {work: vector} in prerank's space."""
    with refreshing(Bundle.open(path.parent / "bundles")) as refresh:
        refresh.run(refresh.begin(now, 7), Pace(1.0))
        shards = [each.index("index.karec") for each in shards_in(refresh.library) if not each.ends_round]
    return {
        work: vector
        for each in shards
        for work, vector in zip(each.ids.tolist(), each.embeddings(each.lookup(each.ids)), strict=True)
    }


def test_a_service_takes_what_a_refresh_made_and_keeps_edits_uploads_and_deletions(path):
    with karec.LiveCascade.from_config(path, None) as live:
        bundle = live.cascades["home"].bundle
        now, works = bundle.snapshot.time_ms + 200 * HOUR, bundle.snapshot.works.ids.tolist()
        edited, deleted = works[0], works[1]
        live.record(
            [
                {"kind": "edit", "work": edited, "columns": {"song_id": 77}},
                {"kind": "delete", "work": deleted},
                {"kind": "upload", "work": NEW, "creator": CREATOR, "columns": {}},
            ],
            now_ms=now,
        )
        index = bundle.index

        def vectors(ids):
            return index.embeddings(index.lookup(ids))

        said, was = vectors([edited, NEW]), vectors(works)
        made = refreshed(path, now)
        assert live.take_refreshed() == len(works) - 1 and live.take_refreshed() == 0
        others = [work for work in works if work != edited]
        np.testing.assert_array_equal(vectors(others), [made[work] for work in others])
        assert not np.array_equal(vectors(works), was)
        np.testing.assert_array_equal(vectors([edited, NEW]), said)
        feed = [item.id for item in ask(live, USER, k=90, time_ms=now)]
        assert NEW in feed and deleted not in feed


def test_a_model_that_rolls_in_moves_through_a_service_that_watches(path, tmp_path):
    with karec.LiveCascade.from_config(path, None) as live:
        before = live.cascades["home"].bundle
        roll_in(write_next_run(before, tmp_path / "run-2"), before.snapshot, path.parent / "bundles", sample=10)
        assert live.reload()
        bundle = live.cascades["home"].bundle
        now = bundle.snapshot.time_ms + HOUR
        assert {each.number: each.works for each in bundle.index.versions} == {1: 30, 2: 10}
        both = {item.id for item in ask(live, USER, k=90, time_ms=now)}
        refreshed(path, now)
        looks = iter([False, True])
        Watcher(live, path, 5.0, lambda seconds: next(looks))._thread.join()
        assert [each.number for each in bundle.index.versions if each.works] == [2]
        assert {item.id for item in ask(live, USER, k=90, time_ms=now)} == both


def test_a_damaged_shard_is_told_once_and_what_served_serves_on(path, caplog):
    with karec.LiveCascade.from_config(path, None) as live:
        bundle = live.cascades["home"].bundle
        refreshed(path, bundle.snapshot.time_ms + HOUR)
        shard = next((path.parent / "bundles" / "library").rglob("index.karec"))
        shard.write_bytes(shard.read_bytes()[:-1])
        looks = iter([False, False, False, True])
        Watcher(live, path, 5.0, lambda seconds: next(looks))._thread.join()
        told = [record.getMessage() for record in caplog.records if "are not taken" in record.getMessage()]
        assert len(told) == 1 and "index.karec" in told[0]
        assert len(ask(live, USER))
