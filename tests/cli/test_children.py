"""A child process of `karec live` begins at its time, is named when it dies, and never outlives its
parent."""

import os
import select
import signal
import subprocess
import sys

import pytest

from karec.cli.children import LONG_S, MOST_BYTES, Child, back_off


@pytest.fixture
def child(tmp_path):
    made = []

    def make(*command, **options):
        made.append(Child("one", command, tmp_path, tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def waits(tmp_path):
    """A command that does not end by itself: it opens a pipe that nobody writes into."""
    os.mkfifo(tmp_path / "pipe")
    return "screen", str(tmp_path / "pipe"), "--out", str(tmp_path / "out")


def ended(child, now):
    """The child, once its process has ended and it was looked at."""
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.look(now)
    return child


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_waits_after_failures_double_up_to_64_seconds():
    assert [back_off(n) for n in range(1, 10)] == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_a_death_is_told_with_the_status_and_the_last_line_and_the_child_waits_longer_each_time(
    child, tmp_path
):
    one = child("recommend", next_s=100.0)
    assert not one.look(99.0) and one.pid is None
    for deaths, (begins, wait) in enumerate(((100.0, 1), (101.0, 2)), 1):
        assert one.look(begins) and one.pid is not None
        ended(one, begins)
        assert (one.pid, one.deaths, one.next_s) == (None, deaths, begins + wait)
        assert one.last.startswith("ended with 2: karec recommend: error: the following"), one.last
    assert one.log.read_text().count("karec recommend: error") == 2


def test_a_child_that_lived_long_begins_its_waits_anew(child):
    one = child("recommend")
    for now in (10.0, 11.0):
        one.look(now)
        ended(one, now)
    one.look(13.0)
    ended(one, 13.0 + LONG_S)
    assert one.next_s == 13.0 + LONG_S + 1


def test_a_good_end_is_no_death_and_the_next_begin_counts_from_the_last(child):
    one = child("recommend", good={2: "trained"}, every_s=3600.0)
    one.look(50.0)
    ended(one, 60.0)
    assert (one.last, one.deaths, one.next_s) == ("trained", 0, 3650.0)
    one.look(3650.0)
    ended(one, 9000.0)
    assert one.next_s == 9000.0, "a training that takes longer than the hours between begins at once"


def test_another_process_waits_for_the_same_begin_unless_the_child_was_cut_off(child, waits):
    one = child("recommend", good={2: "trained"}, every_s=3600.0)
    one.look(50.0)
    ended(one, 60.0)
    other, third = (child("recommend", every_s=3600.0) for _ in range(2))
    other.go_on(one.told())
    third.go_on(other.told())
    assert third.next_s == other.next_s == 3650.0 and third.last == "trained"
    sooner = child("recommend", every_s=100.0)
    sooner.go_on(one.told())
    assert sooner.next_s == 150.0, "the hours between are those of now"
    cut = child(*waits, every_s=3600.0)
    cut.look(50.0)
    cut.stop()
    other.go_on(cut.told())
    assert other.next_s <= 50.0


@pytest.mark.parametrize(("every_s", "wait"), [(0.0, 64.0), (3600.0, 3600.0)])
def test_a_clock_that_is_set_back_delays_a_begin_by_one_wait_at_most(child, waits, every_s, wait):
    one = child(*waits, every_s=every_s, next_s=1_000_000.0)
    assert not one.look(500.0)
    assert not one.look(499.0 + wait) and one.look(500.0 + wait)


def test_another_process_that_finds_a_begin_in_the_future_waits_one_time_between_begins(child, waits):
    one = child(*waits, every_s=3600.0)
    one.go_on({"began_s": 999_000.0, "next_s": 1_000_000.0, "last": "published"})
    assert not one.look(400.0)
    assert not one.look(3999.0) and one.look(4000.0)


def test_a_killed_child_is_named_by_the_signal(child, waits):
    one = child(*waits)
    one.look(0.0)
    os.kill(one.pid, signal.SIGKILL)
    ended(one, 0.0)
    assert one.last == "killed by SIGKILL"


def test_stop_ends_the_process(child, waits):
    one = child(*waits)
    one.look(0.0)
    pid = one.pid
    assert not one.look(1.0) and is_there(pid)
    one.stop()
    assert one.pid is None and not is_there(pid)
    one.stop()


def test_a_log_that_is_too_long_goes_aside(child, waits):
    one = child(*waits)
    one.log.write_bytes(b"x" * (MOST_BYTES + 1))
    one.look(0.0)
    one.look(1.0)
    assert one.log.with_suffix(".log.1").stat().st_size == MOST_BYTES + 1 and one.log.stat().st_size == 0


def test_a_log_that_somebody_moved_away_is_no_death_and_hides_none(child, waits):
    one = child(*waits)
    one.look(0.0)
    one.log.unlink()
    assert not one.look(1.0) and one.pid is not None
    one.stop()
    other = child("recommend")
    other.look(0.0)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    other.log.unlink()
    assert other.look(0.0)
    assert (other.last, other.deaths, other.next_s) == ("ended with 2: without a word", 1, 1.0)


def test_children_of_a_killed_parent_end(waits, tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from karec.cli.children import Child\n"
        "one = Child('one', sys.argv[2:], Path(sys.argv[1]), Path(sys.argv[1]))\n"
        "one.look(0.0); print(one.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), *waits], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    descriptor = os.pidfd_open(pid)
    parent.kill()
    parent.communicate()
    assert select.select([descriptor], [], [], 60)[0], "the child is still there"
