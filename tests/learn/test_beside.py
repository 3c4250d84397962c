"""Work in a second process: what it gives is given here, and what goes wrong there is told here."""

import importlib
import os
import sys

import pytest

from karec import _beside
from karec._beside import Beside, InTurn, begun
from karec.errors import DataError, KarecError

WORKS = """
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
def works(tmp_path, monkeypatch):
    """A module that another process can import too."""
    (tmp_path / "works_beside.py").write_text(WORKS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("works_beside")
    del sys.modules["works_beside"]


def test_the_second_process_gives_its_result_and_its_progress(works):
    said = []
    with Beside(works.Sum((1, 2, 3)), lambda *what: said.append(what)) as work:
        found, process = work.result()
        assert (found, work.result()) == (6, (6, process)), "asked twice, the answer is the same"
    assert process != os.getpid() and said == [(1, 3, "adding"), (2, 3, "adding"), (3, 3, "adding")]
    assert work.peak_gib > 0


def test_it_gives_way_to_what_is_waited_for(works):
    with Beside(works.Endless()) as work:
        niceness = os.getpriority(os.PRIO_PROCESS, work._child.pid)
    assert niceness == min(os.nice(0) + _beside.NICE, 19)


def test_what_is_raised_there_is_raised_here(works):
    with Beside(works.Refused()) as work, pytest.raises(DataError, match="no numbers"):
        work.result()


def test_a_process_that_dies_is_told_of(works):
    def kill(*_):
        work._child.kill()

    with (
        Beside(works.Endless(), kill) as work,
        pytest.raises(KarecError, match="for Endless ended with status -9"),
    ):
        work.result()


HALF_A_MESSAGE = """
import os, pickle, sys
os.write(int(sys.argv[1]), pickle.dumps(("done", [0] * 1000))[:500])
sys.exit("no room")
"""


def test_a_process_that_dies_in_the_middle_of_a_message_is_told_of(works, monkeypatch):
    monkeypatch.setattr(_beside, "PROGRAM", HALF_A_MESSAGE)
    with Beside(works.Sum((1,))) as work, pytest.raises(KarecError, match="ended with status 1: no room"):
        work.result()


def test_who_leaves_early_ends_the_process(works):
    with pytest.raises(LookupError), Beside(works.Sum((1,))) as work:
        raise LookupError
    assert work._child.poll() is not None


@pytest.mark.parametrize(("frozen", "cores"), [(True, {0, 1}), (False, {0})])
def test_a_frozen_program_and_one_core_do_the_work_in_turn(works, monkeypatch, frozen, cores):
    monkeypatch.setattr("sys.frozen", frozen, raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores, raising=False)
    with begun(works.Sum((1, 2))) as work:
        assert isinstance(work, InTurn) and work.result() == (3, os.getpid())
