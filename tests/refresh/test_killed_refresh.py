"""Tests that SIGKILL at random times of a refresh leaves whole shards, and resumed rounds equal others."""

import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
from killed_publishers import ended, forked

from karec.bundle import Bundle
from karec.index import ItemIndex
from karec.refresh.rolling import open_refresh
from karec.refresh.shards import Round, library_folder, list_shards
from karec.times import HOUR_MS

KILLS = 24
SIZE = 3  # works of a shard: 14 in a round


def next_round(bundle, should_continue=lambda: True):
    """Resumes the unfinished round, or starts the next one, as of a time that depends on its number."""
    with open_refresh(bundle) as work:
        former = Round.open(work.library)
        number = 1 if former is None else former.number + 1
        work.run(work.start_round(number * HOUR_MS, SIZE), should_continue=should_continue)


def refresh_for_ever(folder, should_continue):
    bundle = Bundle.open(folder, verify=False)

    def report():
        os.write(should_continue, b".")
        return True

    while True:
        next_round(bundle, report)


def vectors_by_file(library):
    return {
        (shard.round, shard.number, file.relative_to(shard.path).as_posix()): (
            index.ids,
            index.embeddings(index.lookup(index.ids)),
        )
        for shard in list_shards(library)
        for file in sorted(shard.path.rglob("*.karec"))
        for index in [ItemIndex.open(file)]
    }


@pytest.fixture
def copies(published, tmp_path):
    """Two copies of one bundle."""
    for name in ("killed", "unbroken"):
        shutil.copytree(published[0].path.parent, tmp_path / name, symlinks=True)
    return [Bundle.open(tmp_path / name, verify=False).path for name in ("killed", "unbroken")]


def test_killed_refreshes_leave_whole_shards_and_end_equal(copies):
    killed, unbroken = copies
    rng = random.Random(0)
    for _ in range(KILLS):
        reading, writing = os.pipe()
        child = forked(refresh_for_ever, killed, writing)
        os.close(writing)
        for _ in range(rng.randrange(1, 20)):
            assert os.read(reading, 1)
        until = time.perf_counter() + rng.uniform(0, 0.01)
        while time.perf_counter() < until:
            pass
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
        os.close(reading)
        vectors_by_file(library_folder(killed))  # opens and checks every file
    next_round(Bundle.open(killed, verify=False))  # ends the round that was begun, if one is open
    last = Round.open(library_folder(killed))
    reference = Bundle.open(unbroken, verify=False)
    while (former := Round.open(library_folder(unbroken))) is None or former.number < last.number:
        next_round(reference)
    vectors_killed, expected = (
        vectors_by_file(library_folder(killed)),
        vectors_by_file(library_folder(unbroken)),
    )
    assert last.number > 3 and vectors_killed.keys() == expected.keys()
    for file, (ids, vectors) in expected.items():
        np.testing.assert_array_equal(vectors_killed[file][0], ids)
        np.testing.assert_array_equal(vectors_killed[file][1], vectors)
