"""A platform small enough to read: 12 users, 40 works, 600 exposures, several of which share a moment."""

import numpy as np
import pytest

from karec.platform.dataset import Dataset
from karec.platform.events import Exposures
from karec.platform.folds.advance import advance
from karec.platform.relations import Relation
from karec.platform.snapshot import Snapshot
from karec.platform.table import Table

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
N_USERS, N_WORKS, N_ROWS = 12, 40, 600


def make_snapshot(generator):
    works = Table(
        np.arange(N_WORKS) * 7 + 100,
        {
            "creator_id": generator.integers(0, 9, N_WORKS) + 5000,
            "song_id": np.where(np.arange(N_WORKS) % 5 == 0, -1, generator.integers(0, 6, N_WORKS)),
            "type": generator.integers(0, 2, N_WORKS).astype(np.int32),
            "city": generator.integers(0, 3, N_WORKS).astype(np.int32),
            "tag": generator.integers(0, 4, N_WORKS).astype(np.int32),
            "upload_ms": START - generator.integers(0, 400, N_WORKS) * HOUR,
            "log_duration": generator.normal(4, 1, N_WORKS).astype(np.float32),
        },
    )
    users = Table(
        np.arange(N_USERS) + 1,
        {
            "city": generator.integers(0, 3, N_USERS).astype(np.int32),
            "age": np.where(np.arange(N_USERS) % 4 == 0, np.nan, generator.normal(30, 8, N_USERS)).astype(np.float32),
        },
    )
    pairs = generator.integers(0, N_USERS, 30), works.ids[generator.integers(0, N_WORKS, 30)]
    history = Relation.from_pairs(*pairs, N_USERS, np.zeros(30, np.int64))
    creators = np.unique(works["creator_id"])
    everyone = np.arange(N_USERS)
    ties = {
        name: Relation.from_pairs(everyone, creators[(everyone + shift) % len(creators)], N_USERS)
        for name, shift in (("follows", 0), ("friends", 3))
    }
    return Snapshot(
        START, works, users, {"history": history, **ties}, {"scene": ["home", "city"], "type": ["audio", "video"]}
    )


@pytest.fixture(scope="session")
def dataset():
    return make_dataset()


def make_dataset():
    generator = np.random.default_rng(11)
    base = make_snapshot(generator)
    user, work = generator.integers(0, N_USERS, N_ROWS), generator.integers(0, N_WORKS, N_ROWS)
    time = np.sort(START + generator.integers(0, 200, N_ROWS) * HOUR // 2)
    liking = (user % 3 == base.works["tag"][work] % 3) * 1.2 + base.works["type"][work]
    click = generator.random(N_ROWS) < 0.15 + 0.25 * liking
    labels = {
        "click": click,
        "long_view": click & (generator.random(N_ROWS) < 0.7),
        "like": click & (generator.random(N_ROWS) < 0.4),
        "follow": generator.random(N_ROWS) < 0.03,
    }
    exposures = Exposures(
        user_id=base.users.ids[user],
        work_id=base.works.ids[work],
        time_ms=time,
        scene=generator.integers(0, 2, N_ROWS).astype(np.int32),
        labels={name: label.astype(np.uint8) for name, label in labels.items()},
        play_ms=np.where(click, 30_000, 1_000),
    )
    snapshot = advance(base, exposures, START)  # no row is earlier: this only gives the tables their counters
    cuts = time[N_ROWS * 7 // 10], time[N_ROWS * 85 // 100]
    return Dataset("tiny", snapshot, exposures, int(cuts[0]), int(cuts[1]), ("click", "long_view", "like"))
