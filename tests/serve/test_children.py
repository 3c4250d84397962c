"""A child process of `karec schedule` starts at its time, reports failures, and ends with its parent."""

import os
import select
import signal
import subprocess
import sys

import pytest

from karec.serve.children import LONG_RUN_S, MAX_LOG_BYTES, Child, back_off


@pytest.fixture
def child(tmp_path):
    children = []

    def make(*command, **options):
        children.append(Child("one", command, tmp_path, tmp_path, **options))
        return children[-1]

    yield make
    for child in children:
        child.stop()


@pytest.fixture
def endless(tmp_path):
    """A command that does not end by itself: it reads a pipe without a writer."""
    os.mkfifo(tmp_path / "pipe")
    return "screen", str(tmp_path / "pipe"), "--out", str(tmp_path / "out")


def wait_and_poll(child, now):
    """Returns the child after its process has ended and was polled."""
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.poll(now)
    return child


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_back_off_doubles_up_to_64_seconds():
    assert [back_off(n) for n in range(1, 10)] == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_failed_child_reports_its_last_line_and_waits_twice_as_long(child, tmp_path):
    process = child("recommend", next_s=100.0)
    assert not process.poll(99.0) and process.pid is None
    for deaths, (begins, wait) in enumerate(((100.0, 1), (101.0, 2)), 1):
        assert process.poll(begins) and process.pid is not None
        wait_and_poll(process, begins)
        assert (process.pid, process.deaths, process.next_s) == (None, deaths, begins + wait)
        assert process.last.startswith("ended with 2: karec recommend: Missing argument"), process.last
    assert process.log.read_text().count("karec recommend: Missing argument") == 2


def test_back_off_begins_at_1_second_after_a_long_run(child):
    process = child("recommend")
    for now in (10.0, 11.0):
        process.poll(now)
        wait_and_poll(process, now)
    process.poll(13.0)
    wait_and_poll(process, 13.0 + LONG_RUN_S)
    assert process.next_s == 13.0 + LONG_RUN_S + 1


def test_expected_status_is_no_failure_and_keeps_the_schedule(child):
    process = child("recommend", good={2: "trained"}, every_s=3600.0)
    process.poll(50.0)
    wait_and_poll(process, 60.0)
    assert (process.last, process.deaths, process.next_s) == ("trained", 0, 3650.0)
    process.poll(3650.0)
    wait_and_poll(process, 9000.0)
    assert process.next_s == 9000.0, "a training that takes longer than the hours between begins at once"


def test_resumed_child_keeps_its_schedule_unless_it_was_interrupted(child, endless):
    process = child("recommend", good={2: "trained"}, every_s=3600.0)
    process.poll(50.0)
    wait_and_poll(process, 60.0)
    other, third = (child("recommend", every_s=3600.0) for _ in range(2))
    other.resume(process.to_dict())
    third.resume(other.to_dict())
    assert third.next_s == other.next_s == 3650.0 and third.last == "trained"
    sooner = child("recommend", every_s=100.0)
    sooner.resume(process.to_dict())
    assert sooner.next_s == 150.0, "the hours between are those of now"
    cut = child(*endless, every_s=3600.0)
    cut.poll(50.0)
    cut.stop()
    other.resume(cut.to_dict())
    assert other.next_s <= 50.0


@pytest.mark.parametrize(("every_s", "wait"), [(0.0, 64.0), (3600.0, 3600.0)])
def test_clock_set_back_delays_a_start_by_at_most_one_pause(child, endless, every_s, wait):
    process = child(*endless, every_s=every_s, next_s=1_000_000.0)
    assert not process.poll(500.0)
    assert not process.poll(499.0 + wait) and process.poll(500.0 + wait)


def test_resumed_child_with_a_future_start_waits_one_period(child, endless):
    process = child(*endless, every_s=3600.0)
    process.resume({"began_s": 999_000.0, "next_s": 1_000_000.0, "last": "published"})
    assert not process.poll(400.0)
    assert not process.poll(3999.0) and process.poll(4000.0)


def test_killed_child_reports_its_signal(child, endless):
    process = child(*endless)
    process.poll(0.0)
    os.kill(process.pid, signal.SIGKILL)
    wait_and_poll(process, 0.0)
    assert process.last == "killed by SIGKILL"


def test_stop_ends_the_process(child, endless):
    process = child(*endless)
    process.poll(0.0)
    pid = process.pid
    assert not process.poll(1.0) and is_alive(pid)
    process.stop()
    assert process.pid is None and not is_alive(pid)
    process.stop()


def test_long_log_is_copied_and_emptied(child, endless):
    process = child(*endless)
    process.log.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    process.poll(0.0)
    process.poll(1.0)
    assert (
        process.log.with_suffix(".log.1").stat().st_size == MAX_LOG_BYTES + 1
        and process.log.stat().st_size == 0
    )


def test_removed_log_neither_causes_nor_hides_a_failure(child, endless):
    process = child(*endless)
    process.poll(0.0)
    process.log.unlink()
    assert not process.poll(1.0) and process.pid is not None
    process.stop()
    other = child("recommend")
    other.poll(0.0)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    other.log.unlink()
    assert other.poll(0.0)
    assert (other.last, other.deaths, other.next_s) == ("ended with 2: no output", 1, 1.0)


def test_children_of_a_killed_parent_end(endless, tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from karec.serve.children import Child\n"
        "process = Child('one', sys.argv[2:], Path(sys.argv[1]), Path(sys.argv[1]))\n"
        "process.poll(0.0); print(process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), *endless], stdout=subprocess.PIPE
    )
    pid = int(parent.stdout.readline())
    descriptor = os.pidfd_open(pid)
    parent.kill()
    parent.communicate()
    assert select.select([descriptor], [], [], 60)[0], "the child still runs"
