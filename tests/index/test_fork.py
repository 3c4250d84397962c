"""fork() in a process with threads: the child's index is read and written, and its free rows are used
again."""

from __future__ import annotations

import subprocess
import sys

CHILD = """
import os, signal, threading
import numpy as np
from karec.errors import Unavailable
from karec.index import ItemIndex

N = 500
ids, vectors = np.arange(N), np.ones((N, 4), np.float32)
index = ItemIndex.build(ids, vectors)
index.embeddings(index.lookup(ids))
over, holds, views = threading.Event(), threading.Event(), []


def keep_writing():
    while not over.is_set():
        index.upsert(ids, vectors)


def hold_a_view():
    views.append(index.pinned())
    with index.pinned():
        holds.set()
        over.wait()


threads = [threading.Thread(target=keep_writing), threading.Thread(target=hold_a_view)]
for thread in threads:
    thread.start()
holds.wait()
own = index.pinned()


def child():
    index.upsert(ids, 2 * vectors)
    assert (own.embeddings(own.lookup(ids)) == 1).all()
    own.close()
    before = index.n_rows
    for _ in range(10):
        index.upsert(ids, 2 * vectors)
    assert index.n_rows <= before + N, (before, index.n_rows)
    assert (index.embeddings(index.lookup(ids)) == 2).all()
    try:
        views[0].lookup(ids)
        raise AssertionError("the child reads a view that another thread took before the fork")
    except Unavailable as refusal:
        assert "another thread took this view before the process was forked" in str(refusal)


try:
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            try:
                child()
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
finally:
    over.set()
    for thread in threads:
        thread.join()
"""


def test_index_is_usable_in_a_forked_child_of_a_threaded_process() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", CHILD]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
