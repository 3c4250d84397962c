"""The rank log is read as it was written, in any order and parts. Formats 1 and 2 are read."""

import dataclasses
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from killed_publishers import ended, forked
from small_rank_log import TASKS, append, change

from karec.aggregates.events import WORK
from karec.errors import LogSchemaError, MissingExtra
from karec.logs.contents import describe_rank_log
from karec.logs.parts import FORMAT_KEY
from karec.logs.read import read_rank_log, read_tasks
from karec.logs.write import RankLogWriter


def test_request_is_read_in_order_of_ids_with_positions(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        logits = append(writer, "r1", [30, 10, 20], fused=[0.2, 0.9, 0.2])
    log = read_rank_log(tmp_path, TASKS)
    order = [1, 2, 0]
    np.testing.assert_array_equal(log.item_id, [10, 20, 30])
    np.testing.assert_array_equal(log.logits, logits[order])
    np.testing.assert_array_equal(log.position, [0, 2, 1])
    assert set(log.request_id) == {"r1"}
    assert set(log.scene) == {"home"}
    assert set(log.model_version) == {7}


def test_parts_are_read_as_one_log_ordered_by_time(tmp_path):
    with RankLogWriter(tmp_path, TASKS, part_rows=4) as writer:
        for i in range(5):
            append(writer, f"r{i}", [1, 2, 3], time_ms=100 - i)
    assert len(list(tmp_path.glob("*.parquet"))) > 1
    log = read_rank_log(tmp_path, TASKS)
    assert len(log) == 15
    assert list(log.time_ms) == sorted(log.time_ms)


def test_repeated_parts_are_ignored(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "r1", [1, 2])
    part = next(tmp_path.glob("*.parquet"))
    (tmp_path / "part-copy.parquet").write_bytes(part.read_bytes())
    assert len(read_rank_log(tmp_path, TASKS)) == 2


ranked = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([-1.0, 0.25, 2.0])), min_size=1, max_size=6)


@given(st.lists(ranked, min_size=1, max_size=3))
def test_repeats_keep_the_row_with_the_lowest_fused_score(tmp_path_factory, parts):
    folder, rows = tmp_path_factory.mktemp("log"), []
    for part in parts:
        with RankLogWriter(folder, TASKS) as writer:
            for item, fused in part:
                append(writer, "r1", [item], fused=[fused])
                rows.append((item, fused))
    log = read_rank_log(folder, TASKS)
    lowest = {item: min(fused for other, fused in rows if other == item) for item, _ in rows}
    assert dict(zip(log.item_id.tolist(), log.fused.tolist(), strict=True)) == lowest and len(log) == len(
        lowest
    )


def test_row_kept_of_repeats_has_its_own_logits(tmp_path):
    for fused, first in ((0.75, 10), (0.25, 20), (0.5, 30)):
        with RankLogWriter(tmp_path, TASKS) as writer:
            writer.append(
                request_id="r1",
                user_id=5,
                item_ids=np.array([1]),
                scene="home",
                time_ms=1,
                model_version=7,
                logits=np.float32([[first, first + 1]]),
                fused=np.float32([fused]),
            )
    log = read_rank_log(tmp_path, TASKS)
    assert log.fused.tolist() == [0.25] and log.logits.tolist() == [[20.0, 21.0]]


def test_writer_writes_a_part_when_it_is_full(tmp_path):
    writer = RankLogWriter(tmp_path, TASKS, part_rows=4)
    n_parts = []
    for request, n in (("r1", 3), ("r2", 1), ("r3", 2), ("r4", 2), ("r5", 5)):
        append(writer, request, list(range(1, n + 1)))
        n_parts.append((len(list(tmp_path.glob("*.parquet"))), writer.rows_held))
    assert n_parts == [(0, 3), (1, 0), (1, 2), (2, 0), (3, 0)]


def test_incomplete_part_is_not_visible(tmp_path):
    writer = RankLogWriter(tmp_path, TASKS)
    append(writer, "r1", [1])
    assert list(tmp_path.iterdir()) == []
    writer.close()
    assert [p.suffix for p in tmp_path.iterdir()] == [".parquet"]


def test_append_refuses_shapes_that_do_not_fit(tmp_path):
    writer = RankLogWriter(tmp_path, TASKS)
    with pytest.raises(ValueError, match=r"2 items and 2 tasks, but logits \(2, 1\)"):
        writer.append(
            request_id="r",
            user_id=1,
            item_ids=np.array([1, 2]),
            scene="home",
            time_ms=1,
            model_version=1,
            logits=np.zeros((2, 1), np.float32),
            fused=np.zeros(2, np.float32),
        )


def test_writers_share_a_folder_without_losing_rows(tmp_path):
    for request_id in ("r1", "r2"):
        with RankLogWriter(tmp_path, TASKS) as writer:
            append(writer, request_id, [1, 2])
    assert set(read_rank_log(tmp_path, TASKS).request_id) == {"r1", "r2"}


def test_rows_that_cannot_be_written_are_dropped(tmp_path):
    folder = tmp_path / "log"
    writer = RankLogWriter(folder, TASKS)
    folder.rmdir()
    append(writer, "r1", [1, 2])
    with pytest.raises(OSError, match="log"):
        writer.flush()
    assert writer.counts() == {"rows_written": 0, "rows_held": 0, "rows_lost": 2}
    folder.mkdir()
    append(writer, "r2", [3])
    writer.close()
    assert writer.counts() == {"rows_written": 1, "rows_held": 0, "rows_lost": 2}
    assert set(read_rank_log(folder, TASKS).request_id) == {"r2"}


def test_writer_without_part_rows_writes_at_flush(tmp_path):
    writer = RankLogWriter(tmp_path, TASKS, part_rows=None)
    for at in range(3):
        append(writer, f"r{at}", [1, 2])
    assert list(tmp_path.iterdir()) == [] and writer.counts()["rows_held"] == 6
    writer.flush()
    assert len(list(tmp_path.iterdir())) == 1


def test_rows_of_a_request_are_in_one_part(tmp_path):
    with RankLogWriter(tmp_path, TASKS, part_rows=4) as writer:
        for at in range(10):
            append(writer, f"r{at}", [1, 2, 3])
    parts = [set(pq.read_table(part)["request_id"].to_pylist()) for part in tmp_path.iterdir()]
    assert sum(map(len, parts)) == 10 and set().union(*parts) == {f"r{at}" for at in range(10)}


@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 4), max_size=4), st.integers(1, 4))
def test_read_does_not_depend_on_order_repeats_and_parts(tmp_path_factory, random, repeats, n_parts):
    folder = tmp_path_factory.mktemp("log")
    with RankLogWriter(folder, TASKS) as writer:
        append(writer, "r1", [1, 2, 3], time_ms=10)
        append(writer, "r2", [1, 2], time_ms=5)
    clean = read_rank_log(folder, TASKS)
    (part,) = folder.glob("*.parquet")
    table = pq.read_table(part)
    rows = [*range(5), *repeats]
    random.shuffle(rows)
    part.unlink()
    for at in range(n_parts):
        pq.write_table(table.take(rows[at::n_parts]), folder / f"part-{at}.parquet")
    dirty = read_rank_log(folder, TASKS)
    for field in dataclasses.fields(clean):
        np.testing.assert_array_equal(getattr(dirty, field.name), getattr(clean, field.name))


def test_item_types_of_a_mixed_page_are_separate(tmp_path):
    for item_type in (WORK, "song"):  # both have the items 1 and 2
        with RankLogWriter(tmp_path, TASKS, item_type=item_type) as writer:
            append(writer, "r1", [1, 2])
    log = read_rank_log(tmp_path, ())
    assert len(log) == 4
    pools = {pool.item_type[0]: pool.item_id.tolist() for pool in log.requests()}
    assert pools == {WORK: [1, 2], "song": [1, 2]}


def test_shadow_pool_is_separate_from_ranked_items(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "r1", [1, 2])
        writer.append(
            request_id="r1",
            user_id=5,
            item_ids=np.array([2, 1, 9]),
            scene="home",
            time_ms=1000,
            model_version=7,
            logits=np.zeros((3, 2), np.float32),
            fused=np.zeros(3, np.float32),
            shadow=True,
            prerank=np.array([0.5, np.nan, -1.0], np.float32),
        )
        append(writer, "r2", [4], time_ms=2000)
    requests = [
        (log.request_id[0], bool(log.shadow[0]), log.item_id.tolist())
        for log in read_rank_log(tmp_path, TASKS).requests()
    ]
    assert requests == [("r1", False, [1, 2]), ("r1", True, [1, 2, 9]), ("r2", False, [4])]
    log = read_rank_log(tmp_path, TASKS)
    np.testing.assert_array_equal(log.prerank[log.shadow], np.array([np.nan, 0.5, -1.0], np.float32))
    assert np.isnan(log.prerank[~log.shadow]).all()


@pytest.mark.parametrize(("metadata", "actual"), [({FORMAT_KEY: b"2"}, "2"), (None, "missing")])
def test_part_of_another_format_is_refused(folder, metadata, actual):
    part = change(folder, lambda table: table.replace_schema_metadata(metadata))
    with pytest.raises(
        LogSchemaError, match=rf"{part}: rank log format is {actual}, expected 1\. Move the part"
    ):
        read_rank_log(folder, TASKS)


FORKED = """
import os, sys
from pathlib import Path
import numpy as np
from karec.logs.write import RankLogWriter

writer = RankLogWriter(Path(sys.argv[1]), ("click",))
one = dict(user_id=1, scene="home", time_ms=1, model_version=1, fused=np.zeros(2, np.float32))
one |= dict(item_ids=np.array([1, 2]), logits=np.zeros((2, 1), np.float32))
writer.append(request_id="parent", **one)
child = os.fork()
if child == 0:
    assert writer.counts() == {"rows_written": 0, "rows_held": 0, "rows_lost": 0}, writer.counts()
    writer.append(request_id="child", **one)
    writer.close()
    assert writer.counts() == {"rows_written": 2, "rows_held": 0, "rows_lost": 0}, writer.counts()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
writer.close()
"""


def test_forked_writers_count_and_write_their_own_rows(tmp_path):
    subprocess.run([sys.executable, "-c", FORKED, str(tmp_path)], check=True)
    assert sorted(read_rank_log(tmp_path, ("click",)).request_id) == ["child", "child", "parent", "parent"]


def test_writer_in_a_forked_child_starts_with_zero_counts(tmp_path):
    def counts_nothing():
        assert writer.counts() == {"rows_written": 0, "rows_held": 0, "rows_lost": 0}

    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "parent", [1, 2])
        assert ended(forked(counts_nothing)) == 0
        assert writer.counts() == {"rows_written": 0, "rows_held": 2, "rows_lost": 0}


def test_writer_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        MissingExtra,
        match=r"^the rank log needs the package 'pyarrow': pip install "
        r"'karec\[online\]'$",
    ):
        RankLogWriter(tmp_path / "log", TASKS)
    assert not (tmp_path / "log").exists()


def test_parts_of_a_writer_are_numbered_from_0(tmp_path):
    with RankLogWriter(tmp_path, TASKS, part_rows=1) as writer:
        for request in ("r1", "r2", "r3"):
            append(writer, request, [1])
    numbers = [part.stem.rpartition("-")[2] for part in sorted(tmp_path.glob("part-*.parquet"))]
    assert numbers == ["000000", "000001", "000002"]


def test_writer_in_a_forked_child_drops_rows_of_the_parent(tmp_path):
    def appends():
        append(writer, "child", [1, 2])
        assert writer.counts() == {"rows_written": 0, "rows_held": 2, "rows_lost": 0}
        writer.close()

    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "parent", [1, 2])
        assert ended(forked(appends)) == 0
    assert sorted(read_rank_log(tmp_path, TASKS).request_id) == ["child", "child", "parent", "parent"]


def test_reading_with_tasks_leaves_out_parts_without_logits_of_works(tmp_path):
    for tasks, item_type, request_id in (
        ((), "song", "songs"),
        (TASKS, "live", "rooms"),
        (TASKS, WORK, "works"),
    ):
        with RankLogWriter(tmp_path, tasks, item_type=item_type) as writer:
            append(writer, request_id, [1, 2], n_tasks=len(tasks))
    assert read_tasks(tmp_path) == TASKS
    assert set(read_rank_log(tmp_path, TASKS).request_id) == {"works"}
    log = read_rank_log(tmp_path, ())
    assert dict(zip(log.request_id, log.item_type, strict=True)) == {
        "songs": "song",
        "rooms": "live",
        "works": WORK,
    }
    assert log.logits.shape == (6, 0)
    assert describe_rank_log(tmp_path)["item types"] == "live, song, work"
