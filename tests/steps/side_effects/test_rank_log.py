"""The rank log of a service is flushed by size and by time, however the process ends. Lost rows are
counted."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from logged_cascade import WORKS, logged_cascade, logits, numbered

from karec.logs.parts import read_part
from karec.logs.read import list_parts, read_rank_log
from karec.steps.selectors.random_position import RandomPosition
from karec.steps.selectors.top_k import TopK
from karec.steps.side_effects.rank_log import RankLog

TASKS = ("click", "like")
LONG = 60  # seconds until a test that would wait for ever gives up


def requests_in(folder):
    """Returns the numbers of the requests in the log. Each must be complete and unchanged."""
    numbers = []
    for log in read_rank_log(folder / "log", TASKS).requests():
        numbers.append(int(log.request_id[0].removeprefix("r")))
        np.testing.assert_array_equal(log.item_id, np.arange(WORKS))
        np.testing.assert_array_equal(log.logits, logits(numbers[-1]))
    return numbers


class TellsWhenFlushed(RankLog):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.flushed = threading.Event()

    def flush(self):
        super().flush()
        self.flushed.set()


def test_rank_log_flushes_rows_by_size(ranker, tmp_path):
    cascade = logged_cascade(ranker, tmp_path, TellsWhenFlushed, part_rows=3 * WORKS, flush_seconds=1e6)
    for at in range(7):
        cascade.run(numbered(at))
    cascade.side_effects[0].flush()
    assert len(list((tmp_path / "log").iterdir())) == 3
    assert requests_in(tmp_path) == list(range(7))
    assert cascade.close()[0].own == {"rows_written": 7 * WORKS, "rows_held": 0, "rows_lost": 0}


def test_rank_log_flushes_rows_by_time(ranker, tmp_path):
    cascade = logged_cascade(ranker, tmp_path, TellsWhenFlushed, flush_seconds=0.01)
    cascade.run(numbered(0))
    assert cascade.side_effects[0].side_effect.flushed.wait(LONG)
    assert requests_in(tmp_path) == [0]
    cascade.close()


@pytest.mark.parametrize("n", [4, 30])
def test_rank_log_has_positions_and_propensities_of_all_random_items(ranker, tmp_path, n):
    cascade = logged_cascade(ranker, tmp_path)
    (rank,) = cascade.stages
    random_stage = dataclasses.replace(rank, steps=(*rank.steps[:-1], TopK(20), RandomPosition(1.0, n)))
    cascade = dataclasses.replace(cascade, versions={"config": "4f2a"})
    page = cascade.run(numbered(0))
    random_page = dataclasses.replace(cascade, stages=(random_stage,)).run(numbered(1))
    cascade.close()
    log, random_log = read_rank_log(tmp_path / "log", TASKS).requests()
    logged_sources = {
        (row["request_id"], row["item_id"]): row["sources"]
        for part in list_parts(tmp_path / "log")
        for row in read_part(part, TASKS).to_pylist()
    }
    for rows, logged_page in ((log, page), (random_log, random_page)):
        on_page = {item.item_id: ";".join(item.sources) for item in logged_page}
        assert all(on_page.values())
        for request_id, item in zip(rows.request_id, rows.item_id.tolist(), strict=True):
            assert logged_sources[request_id, item] == on_page.get(item, "")
        on_page = rows.take(rows.page_position >= 0)
        assert dict(zip(on_page.page_position.tolist(), on_page.item_id.tolist(), strict=True)) == dict(
            enumerate(logged_page.candidates.ids.tolist())
        )
        assert set(rows.config_version) == {"4f2a"} and set(rows.model_version) == {7}
    assert np.isnan(log.propensity).all()
    n_random = min(n, 20)
    expected = np.where(random_log.position < n_random, 1 / n_random, np.nan)
    np.testing.assert_array_equal(random_log.propensity, expected.astype(np.float32))


class RemembersCalls(RankLog):
    """Records the threads that call the log, and whether two calls overlap."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.threads, self.inside, self.overlapped = set(), threading.Semaphore(1), False

    @contextmanager
    def alone(self):
        self.threads.add(threading.current_thread())
        alone = self.inside.acquire(blocking=False)
        self.overlapped |= not alone
        yield
        if alone:
            self.inside.release()

    def run(self, request, page):
        with self.alone():
            super().run(request, page)

    def due(self):
        with self.alone():
            return super().due()

    def flush(self):
        with self.alone():
            super().flush()

    def close(self):
        with self.alone():
            super().close()


def test_rank_log_is_written_by_one_thread_only(ranker, tmp_path):
    """The writer has no lock, so only the queue's thread may call it, one call at a time."""
    cascade = logged_cascade(ranker, tmp_path, RemembersCalls, part_rows=7 * WORKS)
    queue = cascade.side_effects[0]

    def ask(at):
        cascade.run(numbered(at))
        if at % 10 == 0:
            queue.flush()
        return threading.current_thread()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            askers = set(threads.map(ask, range(200)))
            closed = list(threads.map(lambda _: cascade.close(), range(8)))
    finally:
        sys.setswitchinterval(interval)
    observer = queue.side_effect
    assert len(observer.threads) == 1 and not observer.threads & {*askers, threading.current_thread()}
    assert not observer.overlapped
    assert all(counts.own["rows_written"] == 200 * WORKS for (counts,) in closed)
    assert sorted(requests_in(tmp_path)) == list(range(200)), (
        "each request is logged once, complete and unchanged"
    )


def test_rank_log_counts_rows_before_the_flush(ranker, tmp_path):
    cascade = logged_cascade(ranker, tmp_path)
    feed = dataclasses.replace(cascade, side_effects=()).run(numbered(1))
    observer = cascade.side_effects[0].side_effect
    observer.run(feed.request, feed)  # on this thread: the queue has none, nothing was offered to it
    assert observer.counts() == {"rows_written": 0, "rows_held": WORKS, "rows_lost": 0}


def test_close_returns_the_counts_of_written_rows(ranker, tmp_path):
    with logged_cascade(ranker, tmp_path) as cascade:
        for at in range(10):
            cascade.run(numbered(at))
    (counts,) = cascade.close()
    assert counts.to_dict() == {
        "name": "rank_log", "seen": 10, "done": 10, "dropped": 0, "failed": 0, "pending": 0,
        "rows_written": 10 * WORKS, "rows_held": 0, "rows_lost": 0, "reasons": {},
    }  # fmt: skip
    assert str(counts) == (
        "rank_log: 10 seen, 10 done, 0 dropped, 0 failed, 0 pending, 500 rows written, 0 rows held, 0 rows "
        "lost"
    )


def test_rank_log_leaves_out_a_request_with_an_infinite_logit(ranker, tmp_path):
    """The reader would refuse the whole part."""
    cascade = logged_cascade(ranker, tmp_path)
    plain = cascade.stages[0].steps[0].hydrate

    def infinite(request, candidates):
        columns = plain(request, candidates)
        if request.user_id == 1:
            columns["logits"][3, 0] = -np.inf  # its fused score is finite
        return columns

    cascade.stages[0].steps[0].hydrate = infinite
    for at in range(3):
        cascade.run(numbered(at))
    (counts,) = cascade.close()
    assert (counts.done, counts.failed, counts.reasons) == (2, 1, {"Unavailable": 1})
    assert requests_in(tmp_path) == [0, 2]


def test_rank_log_refuses_options_of_zero(ranker, tmp_path):
    for option in ("part_rows", "flush_seconds"):
        with pytest.raises(ValueError, match=f"{option} must be positive, got 0"):
            logged_cascade(ranker, tmp_path, **{option: 0})


def test_rank_log_counts_rows_lost_with_a_removed_folder(ranker, tmp_path):
    cascade = logged_cascade(ranker, tmp_path)
    folder = tmp_path / "log"
    folder.rmdir()
    cascade.run(numbered(0))
    cascade.side_effects[0].flush()
    folder.mkdir()
    assert len(cascade.run(numbered(1))) == 5
    (counts,) = cascade.close()
    assert (counts.done, counts.failed) == (2, 0)
    assert counts.own == {"rows_written": WORKS, "rows_held": 0, "rows_lost": WORKS}
    assert counts.reasons == {"FileNotFoundError: No such file or directory": 1}
    assert requests_in(tmp_path) == [1]


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_rank_log_counts_lost_rows_and_does_not_raise_if_disk_is_full(ranker, small_disk, caplog):
    cascade = logged_cascade(ranker, small_disk, part_rows=10 * WORKS)
    for at in range(200):
        assert len(cascade.run(numbered(at))) == 5
    (counts,) = cascade.close()
    assert (counts.seen, counts.done, counts.failed, counts.pending) == (200, 200, 0, 0)
    written, lost = counts.own["rows_written"], counts.own["rows_lost"]
    assert written > 0 and lost > 0 and written + lost == 200 * WORKS
    assert list(counts.reasons) == ["OSError: No space left on device"]
    messages = [record.getMessage() for record in caplog.records]
    assert (
        len(messages) == 2
        and "No space left on device" in messages[0]
        and f"{lost:,} rows lost" in messages[1]
    )
    assert len(requests_in(small_disk)) * WORKS == written
    assert all(path.suffix == ".parquet" for path in (small_disk / "log").iterdir())


PROGRAM = """
import os, resource, signal, sys, threading
from pathlib import Path
sys.path.append({fixtures!r})
from logged_cascade import WORKS, logged_cascade, numbered
from karec.models.onnx_model import OnnxModel
from karec.steps.side_effects.rank_log import RankLog

ranker, folder = OnnxModel({ranker!r}), Path({folder!r})
"""


@pytest.fixture
def run(ranker, tmp_path):
    """Returns a function that runs a program with ``ranker`` and ``folder`` of the test, and returns its
    output."""

    def run(program, code=0):
        names = {"fixtures": str(Path(__file__).parents[2] / "fixtures"), "folder": str(tmp_path)}
        whole = PROGRAM.format(ranker=str(ranker.path), **names) + program
        command = [sys.executable, "-c", whole]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
        assert done.returncode == code, done.stderr
        return done

    return run


KILLED = """
class Tells(RankLog):
    flushed = threading.Event()
    def flush(self):
        super().flush()
        if self.counts()["rows_written"] >= 100 * WORKS: self.flushed.set()

cascade = logged_cascade(ranker, folder, Tells, {options})
for at in range(200):
    cascade.run(numbered(at))
    if at == 100: Tells.flushed.wait()      # by size or time, without a call of flush()
    if at == 120: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("options", ["part_rows=10 * WORKS, flush_seconds=1e6", "flush_seconds=0.05"])
def test_rank_log_keeps_flushed_requests_if_the_process_is_killed(run, tmp_path, options):
    run(KILLED.format(options=options), -signal.SIGKILL)
    there = requests_in(tmp_path)
    assert len(there) >= 100
    assert there == list(range(len(there)))  # the oldest, without a gap


def test_process_exit_writes_all_rows_of_the_rank_log(run, tmp_path):
    done = run("""
cascade = logged_cascade(ranker, folder)
for at in range(30): cascade.run(numbered(at))
""")
    assert done.stderr == ""
    assert requests_in(tmp_path) == list(range(30))


def test_rank_log_counts_lost_rows_at_a_file_size_limit(run, tmp_path):
    done = run("""
cascade = logged_cascade(ranker, folder, part_rows=10 * WORKS)
for at in range(30): cascade.run(numbered(at))
cascade.side_effects[0].flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for at in range(30, 60): assert len(cascade.run(numbered(at))) == 5
print(cascade.close()[0])
""")
    assert (
        "60 done" in done.stdout and "1,500 rows written" in done.stdout and "1,500 rows lost" in done.stdout
    )
    assert "OSError: File too large" in done.stdout and "File too large" in done.stderr
    assert requests_in(tmp_path) == list(range(30))


def test_forked_processes_lose_and_repeat_no_row_of_the_rank_log(run, tmp_path):
    """A server forks after it built its cascade: before the first request, or with pending rows."""
    run("""
cascade = logged_cascade(ranker, folder, flush_seconds=1e6)
def serve(numbers):
    for at in numbers: cascade.run(numbered(at))
    (counts,) = cascade.close()
    assert counts.seen == len(numbers) and counts.own["rows_written"] == len(numbers) * WORKS, counts

def child(numbers):
    process = os.fork()
    if process == 0:
        try: serve(numbers)
        except BaseException as error: os.write(2, repr(error).encode()); os._exit(1)
        os._exit(0)
    return process

children = [child(range(10)), child(range(10, 20))]     # no thread yet
for at in range(20, 30): cascade.run(numbered(at))
children += [child(range(30, 40)), child(range(40, 50))]
for process in children: assert os.waitpid(process, 0)[1] == 0
assert cascade.close()[0].own["rows_written"] == 10 * WORKS
""")
    assert sorted(requests_in(tmp_path)) == list(range(50))
    assert len(list((tmp_path / "log").iterdir())) == 5
    assert sum(os.path.getsize(part) > 0 for part in (tmp_path / "log").iterdir()) == 5
