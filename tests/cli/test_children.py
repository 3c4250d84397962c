"""A child process of `karec schedule` starts at its time, reports failures, and ends with its parent."""

import os
import select
import signal
import subprocess
import sys

import pytest

from karec.cli.children import LONG_RUN_S, MAX_LOG_BYTES, Child, back_off


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
    """A command that does not end by itself: it reads a pipe without a writer."""
    os.mkfifo(tmp_path / "pipe")
    return "screen", str(tmp_path / "pipe"), "--out", str(tmp_path / "out")


def wait_and_poll(child, now):
    """Returns the child after its process has ended and was polled."""
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.poll(now)
    return child


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_back_off_doubles_up_to_64_seconds():
    assert [back_off(n) for n in range(1, 10)] == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_failed_child_reports_its_last_line_and_waits_longer_each_time(child, tmp_path):
    one = child("recommend", next_s=100.0)
    assert not one.poll(99.0) and one.pid is None
    for deaths, (begins, wait) in enumerate(((100.0, 1), (101.0, 2)), 1):
        assert one.poll(begins) and one.pid is not None
        wait_and_poll(one, begins)
        assert (one.pid, one.deaths, one.next_s) == (None, deaths, begins + wait)
        assert one.last.startswith("ended with 2: karec recommend: Missing argument"), one.last
    assert one.log.read_text().count("karec recommend: Missing argument") == 2


def test_back_off_begins_at_1_second_after_a_long_run(child):
    one = child("recommend")
    for now in (10.0, 11.0):
        one.poll(now)
        wait_and_poll(one, now)
    one.poll(13.0)
    wait_and_poll(one, 13.0 + LONG_RUN_S)
    assert one.next_s == 13.0 + LONG_RUN_S + 1


def test_expected_status_is_no_failure_and_the_next_start_is_on_schedule(child):
    one = child("recommend", good={2: "trained"}, every_s=3600.0)
    one.poll(50.0)
    wait_and_poll(one, 60.0)
    assert (one.last, one.deaths, one.next_s) == ("trained", 0, 3650.0)
    one.poll(3650.0)
    wait_and_poll(one, 9000.0)
    assert one.next_s == 9000.0, "a training that takes longer than the hours between begins at once"


def test_resumed_child_keeps_its_schedule_unless_it_was_interrupted(child, waits):
    one = child("recommend", good={2: "trained"}, every_s=3600.0)
    one.poll(50.0)
    wait_and_poll(one, 60.0)
    other, third = (child("recommend", every_s=3600.0) for _ in range(2))
    other.resume(one.to_dict())
    third.resume(other.to_dict())
    assert third.next_s == other.next_s == 3650.0 and third.last == "trained"
    sooner = child("recommend", every_s=100.0)
    sooner.resume(one.to_dict())
    assert sooner.next_s == 150.0, "the hours between are those of now"
    cut = child(*waits, every_s=3600.0)
    cut.poll(50.0)
    cut.stop()
    other.resume(cut.to_dict())
    assert other.next_s <= 50.0


@pytest.mark.parametrize(("every_s", "wait"), [(0.0, 64.0), (3600.0, 3600.0)])
def test_clock_that_is_set_back_delays_a_start_by_at_most_one_pause(child, waits, every_s, wait):
    one = child(*waits, every_s=every_s, next_s=1_000_000.0)
    assert not one.poll(500.0)
    assert not one.poll(499.0 + wait) and one.poll(500.0 + wait)


def test_resumed_child_with_a_start_in_the_future_waits_one_period(child, waits):
    one = child(*waits, every_s=3600.0)
    one.resume({"began_s": 999_000.0, "next_s": 1_000_000.0, "last": "published"})
    assert not one.poll(400.0)
    assert not one.poll(3999.0) and one.poll(4000.0)


def test_killed_child_reports_its_signal(child, waits):
    one = child(*waits)
    one.poll(0.0)
    os.kill(one.pid, signal.SIGKILL)
    wait_and_poll(one, 0.0)
    assert one.last == "killed by SIGKILL"


def test_stop_ends_the_process(child, waits):
    one = child(*waits)
    one.poll(0.0)
    pid = one.pid
    assert not one.poll(1.0) and is_there(pid)
    one.stop()
    assert one.pid is None and not is_there(pid)
    one.stop()


def test_long_log_is_copied_and_emptied(child, waits):
    one = child(*waits)
    one.log.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    one.poll(0.0)
    one.poll(1.0)
    assert one.log.with_suffix(".log.1").stat().st_size == MAX_LOG_BYTES + 1 and one.log.stat().st_size == 0


def test_removed_log_is_no_failure_and_hides_none(child, waits):
    one = child(*waits)
    one.poll(0.0)
    one.log.unlink()
    assert not one.poll(1.0) and one.pid is not None
    one.stop()
    other = child("recommend")
    other.poll(0.0)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    other.log.unlink()
    assert other.poll(0.0)
    assert (other.last, other.deaths, other.next_s) == ("ended with 2: no output", 1, 1.0)


def test_children_of_a_killed_parent_end(waits, tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from karec.cli.children import Child\n"
        "one = Child('one', sys.argv[2:], Path(sys.argv[1]), Path(sys.argv[1]))\n"
        "one.poll(0.0); print(one.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), *waits], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    descriptor = os.pidfd_open(pid)
    parent.kill()
    parent.communicate()
    assert select.select([descriptor], [], [], 60)[0], "the child is still there"
