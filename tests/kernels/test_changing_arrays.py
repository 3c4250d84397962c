"""A call whose arrays another thread writes to accesses no memory outside them. Its result is undefined.

Each case runs in a process of its own, which a wrong access ends by a signal. Every array that is written to
ends where the next page of memory must not be read.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

CHILD = """
import ctypes, mmap, sys, threading
import numpy as np
from karec import _native
from karec.diversity import NeighbourRule, arrange, dpp_select, mmr_select
from karec.errors import KarecError
from karec.index import ItemIndex
from karec.kernels.merge_rows import merge_rows

PAGE = mmap.PAGESIZE
held = []


def guarded(n, dtype):
    # n elements that end at a page which cannot be read
    size = -(-n * np.dtype(dtype).itemsize // PAGE) * PAGE
    memory = mmap.mmap(-1, size + PAGE)
    held.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(start + size), PAGE, 0) == 0
    return np.frombuffer(memory, dtype, n, size - n * np.dtype(dtype).itemsize)


rng = np.random.default_rng(0)
n = 1000
many = int(sys.argv[2])
vectors = rng.standard_normal((n, 8)).astype(np.float32)
index = ItemIndex.build(np.arange(n), vectors, columns={"creator": np.arange(n)})
query = np.ones(8, np.float32)
rows, scores = guarded(many, np.int32), guarded(many, np.float32)
groups = guarded(many, np.int64)
rows[:], scores[:] = rng.integers(0, n, many), rng.random(many)
groups[:] = rng.integers(0, 9, many)
vectors = rng.standard_normal((many, 8)).astype(np.float32)
few = 64


def last_row(value):
    rows[-3:] = value


def all_scores(value):
    scores[:] = value


def all_groups(value):
    groups[:] = value


rising = np.arange(many, dtype=np.float32)
wild = np.where(np.arange(many) % 3, np.float32(np.nan), -rng.random(many))
codes, others = np.arange(many) % 9, np.arange(many)[::-1].copy()
CASES = {  # call, write, what it writes in turn
    "embeddings": (lambda: index.embeddings(rows), last_row, (2**31 - 1, 5)),
    "gather": (lambda: index.gather("creator", rows), last_row, (2**31 - 1, 5)),
    "model_versions_of": (lambda: index.model_versions_of(rows), last_row, (2**31 - 1, 5)),
    "search": (lambda: index.search(query, rows=rows, k=10), last_row, (2**31 - 1, 5)),
    "scores": (lambda: index.scores(query, rows=rows), last_row, (-(2**31), 5)),
    "dpp of rows": (lambda: index.dpp_select(rows[-few:], scores[-few:], 5), last_row, (2**31 - 1, 5)),
    "dpp": (lambda: dpp_select(vectors, scores, few, weights=scores), all_scores, (rising, wild)),
    "dpp types": (
        lambda: dpp_select(vectors, rising, few, types=groups, max_per_type=2), all_groups, (codes, others)
    ),
    "mmr": (lambda: mmr_select(vectors, scores, few), all_scores, (rising, wild)),
    "merge of rows": (lambda: merge_rows([np.arange(many)], [scores], [rows], 2**20, [many], many), last_row,
                      (2**31 - 1, 5)),
    "quota": (lambda: _native.quota(scores, groups * 0, 3), all_scores, (rising, -rising)),
    "quota groups": (lambda: _native.quota(rising, groups, 3), all_groups, (codes, others)),
    "arrange": (
        lambda: arrange(few, [NeighbourRule(groups[-few:], groups[-few:], codes[:0])], few),
        all_groups,
        (codes, others),
    ),
}
call, write, values = CASES[sys.argv[1]]
over = threading.Event()


def keep_writing():
    while not over.is_set():
        for value in values:
            write(value)


writer = threading.Thread(target=keep_writing)
writer.start()
try:
    for _ in range(int(sys.argv[3])):
        try:
            call()
        except (ValueError, KarecError):
            pass
finally:
    over.set()
    writer.join()
"""
CASES = {  # elements, calls
    "embeddings": (200_000, 60),
    "gather": (200_000, 60),
    "model_versions_of": (200_000, 60),
    "search": (50_000, 300),
    "scores": (50_000, 100),
    "dpp of rows": (1000, 100),
    "dpp": (20_000, 10),
    "dpp types": (20_000, 10),
    "mmr": (20_000, 10),
    "merge of rows": (200_000, 60),
    "quota": (200_000, 20),
    "quota groups": (100_000, 10),
    "arrange": (20_000, 20),
}


@pytest.mark.parametrize("case", CASES)
def test_call_survives_writes_to_its_input(case: str) -> None:
    n, rounds = CASES[case]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, case, str(n), str(rounds)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"ended by {done.returncode}\n{done.stderr[-2000:]}"
