"""Start of the replay process, its reports, and the error if it ends early."""

import json
import os
import selectors
import signal
import sys
from multiprocessing import spawn
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_bundle import publish_small_bundle

from karec.bundle import replay_process
from karec.bundle.replay_process import Caps, _Watched, replay_in_child

CAPS = Caps(seconds=2.5, bytes=1 << 20)
BUNDLE = Path("/bundles/v0000000001")
RECORDER = """#!{python}
import json, os, sys
names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "KAREC_OF_THE_PARENT")
facts = {{name: os.environ.get(name) for name in names}}
facts["input"], facts["output"] = os.readlink("/proc/self/fd/0"), os.readlink("/proc/self/fd/1")
facts["leads its session"] = os.getsid(0) == os.getpid()
with open({record!r}, "w") as file:
    json.dump(facts, file)
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def test_replay_child_has_no_streams_an_own_session_and_one_thread(tmp_path, monkeypatch):
    """The interpreter first records how it was started."""
    folder = publish_small_bundle(tmp_path / "small").path
    program, record = tmp_path / "python", tmp_path / "record.json"
    program.write_text(RECORDER.format(python=sys.executable, record=str(record)))
    program.chmod(0o755)
    monkeypatch.setattr(spawn, "_python_exe", os.fsencode(program))
    monkeypatch.setenv("KAREC_OF_THE_PARENT", "kept")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    replay_in_child(folder)
    assert json.loads(record.read_text()) == {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "KAREC_OF_THE_PARENT": "kept",
        "input": "/dev/null",
        "output": "/dev/null",
        "leads its session": True,
    }


# Reports


class Pipes:
    """Two pipes of a child process. This process has both ends of each."""

    def __init__(self):
        (self.reports, self.report_to), (self.errors, self.err_to) = os.pipe(), os.pipe()

    def tell(self, *events):
        os.write(self.report_to, b"".join(json.dumps(event).encode() + b"\n" for event in events))


@pytest.fixture
def pipes():
    made = Pipes()
    yield made
    for end in vars(made).values():
        os.close(end)


@pytest.mark.parametrize("last", [{"done": True}, {"refused": "why"}])
def test_replay_ends_at_the_last_report_if_pipes_stay_open(pipes, last):
    pipes.tell({"ready": True}, {"part": "ranker.onnx"}, last)
    watched = _Watched(CAPS)
    watched.follow(pipes.reports, pipes.errors)
    assert (watched.last, watched.part, watched.ready, watched.overdue) == (last, "ranker.onnx", True, False)


def test_replay_reads_reports_that_arrive_in_pieces(pipes):
    watched = _Watched(CAPS)
    for piece in (b'{"rea', b'dy": true}\n{"part": "ind', b'ex.karec"}\n{"do', b'ne": true}'):
        watched._hear(piece)
    assert (watched.ready, watched.part, watched.last) == (True, "index.karec", {"part": "index.karec"})
    watched._hear(b"\n")
    assert watched.last == {"done": True}


def test_replay_keeps_the_last_2000_bytes_of_errors(pipes):
    watched = _Watched(CAPS)
    watched.hear_errors(b"a" * 1500)
    watched.hear_errors(b"b" * 1500)
    assert watched.said == b"a" * 500 + b"b" * 1500


def test_replay_child_has_time_limits_for_start_and_each_report(pipes, monkeypatch):
    waits = []

    class Watching(selectors.DefaultSelector):
        def select(self, timeout=None):
            waits.append(timeout)
            if len(waits) == 3:
                return []  # as after that time
            if len(waits) == 2:
                pipes.tell({"part": "ranker.onnx"})
            else:
                os.write(pipes.err_to, b"noise")  # what is not a report gives no more time
            return super().select(timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", Watching)
    monkeypatch.setattr(replay_process, "time", SimpleNamespace(monotonic=lambda: 7.0))  # no time passes
    watched = _Watched(CAPS)
    watched.follow(pipes.reports, pipes.errors)
    assert watched.overdue and watched.said == b"noise"
    assert waits == [120.0, 120.0, 10 * (1 + CAPS.seconds)]


# Errors

READY, PART = {"ready": True}, {"part": "ranker.onnx"}
RUNNING = (READY, PART)
RANKER = BUNDLE / "ranker.onnx"


@pytest.mark.parametrize(
    ("events", "status", "said", "overdue", "message"),
    [
        ((*RUNNING, {"refused": "logits are NaN"}), 1, b"?", False, "logits are NaN"),
        (
            (),
            3,
            b"no\n  module \xff",
            False,
            f"{BUNDLE} cannot be replayed: the process for it ended with status 3: no module \ufffd",
        ),
        ((), -9, b"", True, f"{BUNDLE} cannot be replayed: the process for it did not start within 120 s"),
        (
            RUNNING,
            -signal.SIGXCPU,
            b"?",
            False,
            f"{RANKER} does not end in a replayed request: stopped after 2.5 s",
        ),
        (
            RUNNING,
            -9,
            b"",
            True,
            f"{RANKER} does not end in a replayed request: stopped after 35 s by the clock",
        ),
        (RUNNING, -signal.SIGSEGV, b"", False, f"{RANKER} ends the process in a replayed request by SIGSEGV"),
        (
            RUNNING,
            -signal.SIGABRT,
            b"x" * 600,
            False,
            f"{RANKER} ends the process in a replayed request by SIGABRT: {'x' * 500}",
        ),
        (RUNNING, 0, b"", False, f"{RANKER} ends the process in a replayed request with status 0"),
        ((READY,), 1, b"", False, f"{BUNDLE} ends the process in a replayed request with status 1"),
    ],
)
def test_replay_refusal_names_the_cause_of_the_childs_end(events, status, said, overdue, message):
    watched = _Watched(CAPS, overdue=overdue)
    watched._hear(b"".join(json.dumps(event).encode() + b"\n" for event in events))
    watched.hear_errors(said)
    assert watched.refusal(BUNDLE, status) == message
