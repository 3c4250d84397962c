"""Several workers of a refresh write the shards that one worker writes. Wrong workers are refused."""

import errno
import os
import resource
import shutil
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from killed_publishers import ended, forked
from small_bundle import publish_small_bundle, write_next_run

from karec.bundle import Bundle
from karec.bundle.manifest import MANIFEST
from karec.cli import main
from karec.errors import DataError, IndexFormatError, KarecError
from karec.index import ItemIndex
from karec.refresh.follow import LibraryFollower
from karec.refresh.next_version import publish_next_version
from karec.refresh.rolling import open_refresh
from karec.refresh.shards import LAST, Round, library_folder, list_shards, shard_folder, unfinished_job
from karec.refresh.workers import Worker
from karec.times import HOUR_MS

SIZE = 3  # works of a shard: 14 in a round
N_SHARDS = 14


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """(bundle of wide towers, run folder of the next version). Read only."""
    root = tmp_path_factory.mktemp("wide")
    bundle = publish_small_bundle(root, is_wide=True)
    return bundle, write_next_run(bundle, root / "run-2")


@pytest.fixture
def copy_of(tmp_path):
    """Function that copies a published bundle with all versions to a folder of this name."""

    def copy(bundle, name):
        shutil.copytree(bundle.path.parent, tmp_path / name, symlinks=True)
        return Bundle.open(tmp_path / name, verify=False)

    return copy


@pytest.fixture
def bundle(published, copy_of):
    return copy_of(published[0], "bundles")


def work(bundle, worker="0/1", job="", hours=5, shards=10**6, report=lambda: None):
    """Runs a worker in a bundle that was opened again, until it has gone through ``shards`` shards."""
    remaining = iter([True] * shards)

    def should_continue():
        report()
        return next(remaining, False)

    with open_refresh(Bundle.open(bundle.path, verify=False), worker=Worker.from_text(worker)) as refresh:
        current = refresh.start_round(bundle.snapshot.time_ms + hours * HOUR_MS, SIZE, job)
        return refresh.run(current, should_continue=should_continue)


def bytes_of_shards(bundle):
    library = library_folder(bundle.path)
    return {
        str(file.relative_to(library)): file.read_bytes()
        for shard in list_shards(library)
        for file in shard.path.rglob("*.karec")
    }


def numbers_of(bundle):
    return [shard.key for shard in list_shards(library_folder(bundle.path))]


@pytest.mark.parametrize("n_workers", [2, 3, 20])
def test_workers_in_any_order_write_the_files_of_one(published, copy_of, n_workers):
    alone, shared = copy_of(published[0], "alone"), copy_of(published[0], "shared")
    assert work(alone)
    ends = [work(shared, f"{number}/{n_workers}") for number in reversed(range(n_workers))]
    assert ends == [False] * (n_workers - 1) + [True]
    expected = bytes_of_shards(alone)
    assert bytes_of_shards(shared) == expected and len(expected) > N_SHARDS


def test_followed_library_of_workers_equals_that_of_one_worker(wide, copy_of, tmp_path):
    files = []
    for n_workers in (1, 3):
        bundle = copy_of(wide[0], f"by-{n_workers}")
        publish_next_version(wide[1], bundle.snapshot, bundle.path.parent, sample=10)
        bundle = Bundle.open(bundle.path.parent, verify=False)
        for number in range(n_workers):
            work(bundle, f"{number}/{n_workers}")
        bundle.index.build_lists(4)
        assert len(bundle.index.model_versions) == 2
        assert LibraryFollower().catch_up(bundle) == 40
        assert bundle.index.model_versions == (2,) and bundle.index.n_lists == 4 and bundle.index.code_columns
        bundle.index.save(tmp_path / f"{n_workers}.karec")
        files.append((tmp_path / f"{n_workers}.karec").read_bytes())
    assert files[0] == files[1]


def test_workers_that_run_at_once_share_one_round(bundle, published, copy_of):
    alone = copy_of(published[0], "alone")
    children = [forked(work, bundle, f"{number}/3", "monday") for number in range(3)]
    assert [ended(child) for child in children] == [0, 0, 0]
    assert set(numbers_of(bundle)) == {(1, number) for number in (*range(N_SHARDS), LAST)}
    work(alone, job="monday")
    assert bytes_of_shards(bundle) == bytes_of_shards(alone)


@pytest.mark.parametrize("n_reports", [1, 3, 5])
def test_killed_worker_starts_again_and_keeps_finished_shards(bundle, n_reports):
    reading, writing = os.pipe()
    child = forked(lambda: work(bundle, "1/2", report=lambda: os.write(writing, b".")))
    for _ in range(n_reports):
        assert os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    finished = {shard.key: os.stat(shard.path).st_ino for shard in list_shards(library_folder(bundle.path))}
    assert len(finished) >= n_reports - 1
    assert not work(bundle, "1/2") and work(bundle, "0/2")
    shards = {shard.key: os.stat(shard.path).st_ino for shard in list_shards(library_folder(bundle.path))}
    assert finished.items() <= shards.items() and len(shards) == N_SHARDS + 1


def test_killed_last_worker_ends_the_round_when_it_starts_again(bundle):
    work(bundle, "0/2")
    work(bundle, "1/2", shards=7)  # ended before the last shard
    shutil.rmtree(shard_folder(library_folder(bundle.path), 1, LAST))
    leftover = library_folder(bundle.path) / f"{1:010d}-{LAST}.77-1.tmp"
    leftover.mkdir()
    assert work(bundle, "1/2") and not leftover.exists()


@pytest.mark.parametrize("worker", ["0/2", "1/2"])
def test_worker_that_does_not_end_the_round_leaves_an_unfinished_last_shard(bundle, worker):
    work(bundle, worker, shards=1)
    last = library_folder(bundle.path) / f"{1:010d}-{LAST}.77-1.tmp"
    last.mkdir()
    work(bundle, worker, shards=0)
    assert last.exists()


def test_leftovers_of_other_workers_stay(bundle):
    work(bundle, "0/2", shards=1)
    mine, other = (library_folder(bundle.path) / f"{1:010d}-{number:010d}.77-1.tmp" for number in (4, 5))
    mine.mkdir()
    other.mkdir()
    work(bundle, "0/2", shards=0)
    assert not mine.exists() and other.exists()


def test_follower_adds_shards_in_any_order(bundle):
    follower = LibraryFollower()
    work(bundle, "1/2")
    assert follower.catch_up(bundle) == 19
    work(bundle, "0/2", shards=2)
    assert follower.catch_up(bundle) == 6 and follower.catch_up(bundle) == 0


def test_job_started_again_after_its_end_does_nothing(bundle):
    work(bundle, "0/2", "monday")
    work(bundle, "1/2", "monday")
    before = numbers_of(bundle)
    assert work(bundle, "1/2", "monday") and numbers_of(bundle) == before
    assert work(bundle, "0/1", "tuesday") and {key[0] for key in numbers_of(bundle)} == {2}


def test_unfinished_job_is_that_of_the_round_until_it_ends(bundle):
    library = library_folder(bundle.path)
    assert unfinished_job(library, 2) == ""
    work(bundle, "0/2", "monday")
    assert (unfinished_job(library, 2), unfinished_job(library, 3)) == ("monday", "")
    work(bundle, "1/2", "monday")
    assert unfinished_job(library, 2) == ""


def test_next_job_leaves_unfinished_round_and_skips_its_late_shards(bundle):
    work(bundle, "0/2", "monday", hours=1)
    work(bundle, "0/3", "tuesday", hours=30)
    late = shard_folder(library_folder(bundle.path), 1, 1)
    follower = LibraryFollower()
    follower.catch_up(bundle)
    shutil.copytree(shard_folder(library_folder(bundle.path), 1, 2), late)
    assert follower.catch_up(bundle) == 0
    work(bundle, "1/3", "tuesday")
    assert work(bundle, "2/3", "tuesday") and {key[0] for key in numbers_of(bundle)} == {2}


def test_second_worker_of_the_same_number_is_refused(bundle):
    with (
        open_refresh(bundle, worker=Worker(1, 3)),
        pytest.raises(DataError, match=r"another refresh is running as worker 1\. Wait"),
    ):
        work(bundle, "1/2")
    with open_refresh(bundle, worker=Worker(1, 3)), open_refresh(bundle, worker=Worker(0, 3)):
        pass


@pytest.mark.parametrize("hours", [-100_000, 4, 100_000])
def test_workers_with_other_clocks_write_the_files_of_one(published, copy_of, hours):
    """All features are as of the time of the worker that starts the round."""
    alone, shared = copy_of(published[0], "alone"), copy_of(published[0], "shared")
    work(alone)
    work(shared, "1/2")
    assert work(shared, "0/2", hours=hours)
    assert bytes_of_shards(shared) == bytes_of_shards(alone)


def work_on_full_disk(bundle, worker, pipe):
    """Works until no file can have more than 100 bytes, from the third shard on, and sends the error."""
    n_shards = iter(range(N_SHARDS))

    def fill_disk():
        if next(n_shards) == 2:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    try:
        work(bundle, worker, report=fill_disk)
    except (OSError, KarecError) as error:
        os.write(pipe, str(error).encode())


def test_worker_on_a_full_disk_names_the_file_and_continues_later(bundle):
    reading, writing = os.pipe()
    assert ended(forked(work_on_full_disk, bundle, "1/2", writing)) == 0
    os.close(writing)
    with open(reading) as pipe:
        error = pipe.read()
    library = library_folder(bundle.path)
    assert f"{library}/{1:010d}-{5:010d}" in error and os.strerror(errno.EFBIG) in error
    finished = {shard.key: os.stat(shard.path).st_ino for shard in list_shards(library)}
    assert list(finished) == [(1, 1), (1, 3)]
    assert not list(library.glob("*.tmp"))
    work(bundle, "0/2")
    assert work(bundle, "1/2")
    assert (
        finished.items() <= {shard.key: os.stat(shard.path).st_ino for shard in list_shards(library)}.items()
    )


@pytest.mark.parametrize("job", ["", "monday"])
def test_another_number_of_workers_is_refused(bundle, job):
    work(bundle, "0/2", job)
    with pytest.raises(DataError, match=r"worker is 1/4, but round 1 has 2 workers\. Start them as s/2"):
        work(bundle, "1/4", job)


def test_another_manifest_of_the_bundle_is_refused(bundle):
    work(bundle, "0/2")
    manifest = bundle.path / MANIFEST
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(DataError, match=r"not of the item tower or manifest of .*Remove it"):
        work(bundle, "1/2")


def test_job_over_two_bundles_is_refused(bundle, published):
    work(bundle, "0/2", "monday")
    publish_next_version(published[1], bundle.snapshot, bundle.path.parent, sample=10)
    newer = Bundle.open(bundle.path.parent, verify=False)
    with pytest.raises(
        DataError, match=r"'monday' started with the bundle v0000000001, expected v0000000002"
    ):
        work(newer, "1/2", "monday")
    work(newer, "1/2", "tuesday")
    assert Round.open(library_folder(newer.path)).job == "tuesday"


def test_damaged_shard_is_refused_by_the_worker_that_ends_the_round(bundle):
    work(bundle, "0/2")
    path = shard_folder(library_folder(bundle.path), 1, 4) / "index.karec"
    path.write_bytes(path.read_bytes()[:-1] + b"\x99")
    with pytest.raises(IndexFormatError, match=str(path)):
        work(bundle, "1/2")
    assert (1, LAST) not in numbers_of(bundle)
    shutil.rmtree(path.parent)
    assert work(bundle, "0/2")


@pytest.mark.parametrize("source", [None, 6])
def test_missing_or_exchanged_index_of_a_shard_is_refused_with_its_worker(bundle, source):
    work(bundle, "0/2")
    library = library_folder(bundle.path)
    path = shard_folder(library, 1, 4) / "index.karec"
    path.unlink()
    if source is not None:
        shutil.copyfile(shard_folder(library, 1, source) / "index.karec", path)
    with pytest.raises(DataError, match=rf"{path.parent}: .*start the worker 0/2 again"):
        work(bundle, "1/2")


@pytest.mark.parametrize("changed", [{"model_version": 2}, {"space_id": 7}])
def test_shard_of_another_item_tower_is_refused_with_its_worker(bundle, changed):
    work(bundle, "0/2")
    path = shard_folder(library_folder(bundle.path), 1, 4) / "index.karec"
    index = ItemIndex.open(path, copy=True)
    (version,) = index.versions
    values = {"model_version": version.number, "space_id": version.space_id} | changed
    vectors, columns = index.embeddings(np.arange(len(index))), dict(index.columns)
    ItemIndex.build(index.ids, vectors, columns=columns, **values).save(path)
    with pytest.raises(DataError, match=rf"{path.parent}: .*another item tower.*start the worker 0/2 again"):
        work(bundle, "1/2")
    assert (1, LAST) not in numbers_of(bundle)


def test_command_runs_a_worker_and_refuses_it_after_another_publication(bundle, published, tmp_path, capsys):
    (tmp_path / "karec.toml").write_text('bundle = "bundles"\n[scenes.home]\n')
    command = ["refresh", str(tmp_path / "karec.toml"), "--share", "1", "--worker"]
    assert main([*command, "1/2", "--job", "monday"]) == 0
    assert "1, unfinished" in capsys.readouterr().out  # the only shard, of 16,384 works, is of worker 0
    assert main([*command, "0/2", "--job", "monday"]) == 0
    assert "1, 40 of 40 works (100%)" in capsys.readouterr().out
    publish_next_version(published[1], bundle.snapshot, bundle.path.parent, sample=10)
    assert main([*command, "1/2", "--job", "monday"]) == 2
    assert "'monday' started with the bundle v0000000001" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "1", "1/", "/2", "2/2", "-1/2", "0/0", "a/b", "1/2/3", "1.0/2", "٣/٤"])
def test_text_that_names_no_worker_is_refused(text):
    with pytest.raises(ValueError, match="expected s/S"):
        Worker.from_text(text)


@given(st.integers(1, 50), st.integers(0, 200))
def test_each_shard_has_one_worker(n_workers, n_shards):
    workers = [Worker.from_text(f"{number}/{n_workers}") for number in range(n_workers)]
    shards = [shard for worker in workers for shard in worker.shards(n_shards)]
    assert sorted(shards) == list(range(n_shards))
    assert all(worker.owns(shard) for worker in workers for shard in worker.shards(n_shards))
