"""A second process returns results, progress and errors of a task."""

import importlib
import os
import sys

import pytest

from karec.errors import DataError, KarecError
from karec.learn import second_process
from karec.learn.second_process import DeferredTask, SecondProcess, start_task

TASKS = """
import os
import threading
from dataclasses import dataclass
from karec.errors import DataError

@dataclass(frozen=True)
class Sum:
    numbers: tuple[int, ...]

    def run(self, progress):
        for done in range(len(self.numbers)):
            progress(done + 1, len(self.numbers), "adding")
        return sum(self.numbers), os.getpid()


@dataclass(frozen=True)
class Endless:
    def run(self, progress):
        progress(1, 2, "waiting")
        threading.Event().wait()


@dataclass(frozen=True)
class Refused:
    def run(self, progress):
        raise DataError("no numbers")
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A module that another process can import too."""
    (tmp_path / "second_process_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("second_process_tasks")
    del sys.modules["second_process_tasks"]


def test_second_process_returns_result_and_progress(tasks):
    reports = []
    with SecondProcess(tasks.Sum((1, 2, 3)), lambda *what: reports.append(what)) as task:
        value, process = task.result()
        assert (value, task.result()) == (6, (6, process))
    assert process != os.getpid() and reports == [(1, 3, "adding"), (2, 3, "adding"), (3, 3, "adding")]


def test_second_process_has_lower_priority(tasks):
    with SecondProcess(tasks.Endless()) as task:
        niceness = os.getpriority(os.PRIO_PROCESS, task._child.pid)
    assert niceness == min(os.nice(0) + second_process.NICENESS, 19)


def test_result_raises_error_of_the_task(tasks):
    with SecondProcess(tasks.Refused()) as task, pytest.raises(DataError, match="no numbers"):
        task.result()


def test_result_raises_if_the_process_was_killed(tasks):
    def kill(*_):
        task._child.kill()

    with (
        SecondProcess(tasks.Endless(), kill) as task,
        pytest.raises(KarecError, match="for Endless ended with status -9"),
    ):
        task.result()


def test_context_ends_the_process_on_error(tasks):
    with pytest.raises(LookupError), SecondProcess(tasks.Sum((1,))) as task:
        raise LookupError
    assert task._child.exitcode is not None


@pytest.mark.parametrize(("frozen", "cores"), [(True, {0, 1}), (False, {0})])
def test_start_task_defers_task_if_frozen_or_on_one_core(tasks, monkeypatch, frozen, cores):
    monkeypatch.setattr("sys.frozen", frozen, raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores, raising=False)
    with start_task(tasks.Sum((1, 2))) as task:
        assert isinstance(task, DeferredTask) and task.result() == (3, os.getpid())
