"""Contract of an index view: it reads one generation while the index is written."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from karec.index import IndexView, ItemIndex

DIM = 5
EVERY = np.arange(-2, 14)
WRITES = st.lists(
    st.tuples(
        st.sampled_from(["upsert", "refresh", "remove", "block", "unblock", "adjust", "hold"]),
        st.lists(st.integers(0, 11), min_size=1, max_size=6, unique=True),
        st.integers(3, 5),
    ),
    max_size=12,
)


def answers(view: IndexView) -> list[Any]:
    """Returns all results of a view as plain arrays."""
    queries = {version: np.arange(1, DIM + 1, dtype=np.float32) * version for version in (3, 4, 5)}
    result = view.search(queries, ids=EVERY, k=9)
    rows = view.lookup(EVERY)
    all_rows = view.search(queries, 9, mask=np.arange(view.n_rows) % 3 != 0)
    picked = view.dpp_select(result.rows, result.scores, 3, diversity=0.9) if len(result.rows) else None
    return [
        *(len(view), view.n_rows, view.generation, view.model_versions, rows, view.embeddings(rows)),
        *(view.gather("creator_id", rows), view.model_versions_of(rows)),
        *(
            result.scores,
            result.ids,
            result.rows,
            result.n_unknown,
            result.n_blocked,
            result.generation,
            result.rows.generation,
        ),
        *(view.scores(queries, rows=rows), all_rows.ids, all_rows.scores),
        None if picked is None else (picked.indices.tolist(), picked.gains.tolist()),
    ]


def assert_equal(now: list[Any], before: list[Any]) -> None:
    for one, other in zip(now, before, strict=True):
        if isinstance(one, np.ndarray):
            assert one.tobytes() == other.tobytes()
        else:
            assert one == other


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["float16", "float32", "int8"]), writes=WRITES)
def test_view_returns_the_same_results_after_any_writes(seed: int, dtype: str, writes: list[Any]) -> None:
    rng = np.random.default_rng(seed)
    columns = {"creator_id": np.arange(8)}
    index = ItemIndex.build(np.arange(8), rng.normal(size=(8, DIM)), dtype, columns, 3)  # type: ignore[arg-type]
    held = [(view := index.pinned(), answers(view))]
    for write, ids, version in writes:
        if write == "upsert":
            index.upsert(
                ids, rng.normal(size=(len(ids), DIM)), {"creator_id": rng.integers(0, 99, len(ids))}, version
            )
        elif write == "refresh":
            known = [i for i in ids if index.lookup([i])[0] >= 0]
            index.upsert(known, rng.normal(size=(len(known), DIM)), model_version=version)
        elif write == "adjust":
            index.adjust(ids, scale=rng.normal(), offset=rng.normal())
        elif write == "hold":
            held.append((view := index.pinned(), answers(view)))
        else:
            getattr(index, write)(ids)
        for view, before in held:
            assert_equal(answers(view), before)
    rows = held[0][0].lookup(EVERY)
    if index.generation > 1:
        with pytest.raises(
            ValueError, match=f"rows are of generation 1, this reads generation {index.generation}"
        ):
            index.embeddings(rows)


def test_view_reads_one_generation_step_by_step_during_writes() -> None:
    """Each write gives items 0 … 49 one value in every dimension and in the column, so rows of two
    generations differ."""
    n = 50
    index = ItemIndex.build(
        np.arange(200), np.ones((200, DIM)), "float32", {"creator_id": np.ones(200, int)}, 0
    )
    users = dict.fromkeys(range(3), np.ones(DIM, np.float32))
    ended = threading.Event()
    wrong: list[object] = []
    n_read = 0

    def read() -> None:
        nonlocal n_read
        try:
            while not (ended.is_set() and n_read > 30):
                with index.pinned() as view:
                    result = view.search(users, ids=np.arange(n), k=n)
                    vectors = view.embeddings(result.rows)
                    creators = view.gather("creator_id", result.rows)
                    picked = view.dpp_select(result.rows, result.scores, 5)
                    same = {view.generation, result.generation, result.rows.generation}
                if len(same) > 1 or len(set(creators.tolist())) > 1 or (vectors != creators[:, None]).any():
                    wrong.append((same, creators, vectors))
                if sorted(result.ids.tolist()) != list(range(n)) or len(picked.indices) != 5:
                    wrong.append(result.ids)
                n_read += 1
        except Exception as error:
            wrong.append(error)
            raise

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for value in range(1, 120):
        other = [100 + value % 100]
        index.remove(other)
        index.block([150])
        index.upsert(np.arange(n), np.full((n, DIM), value), {"creator_id": np.full(n, value)}, value % 3)
        index.unblock([150])
        index.upsert(other, np.zeros((1, DIM)), {"creator_id": [-1]}, value % 3)
    ended.set()
    for reader in readers:
        reader.join()
    assert not wrong and n_read > 30
