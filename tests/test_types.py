"""Requests and candidates: frozen, checked at birth, and only ``take`` drops or reorders."""

import dataclasses

import numpy as np
import pytest

from karec.types import Candidates, Recommendation, Request, StepTrace, Trace


def some() -> Candidates:
    return Candidates(
        ids=np.array([7, 3, 9]),
        rows=np.array([0, -1, 2]),
        scores=np.array([0.1, 0.2, 0.3]),
        sources=np.array([1, 2, 3]),
        columns={"logits": np.arange(6.0).reshape(3, 2)},
    )


def test_columns_get_the_contract_dtypes():
    c = some()
    assert (c.ids.dtype, c.rows.dtype, c.scores.dtype, c.sources.dtype) == (np.int64, np.int32, np.float32, np.uint32)


def test_take_keeps_every_column_aligned():
    taken = some().take(np.array([2, 0]))
    np.testing.assert_array_equal(taken.ids, [9, 7])
    np.testing.assert_array_equal(taken.sources, [3, 1])
    np.testing.assert_array_equal(taken.columns["logits"], [[4, 5], [0, 1]])


@pytest.mark.parametrize("name", ["rows", "scores", "sources"])
def test_a_column_of_another_length_is_refused_with_both_shapes(name):
    columns = {field.name: getattr(some(), field.name) for field in dataclasses.fields(Candidates)}
    with pytest.raises(ValueError, match=rf"{name} has shape \(2,\), expected \(3,"):
        Candidates(**{**columns, name: np.zeros(2)})


def test_nothing_can_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        some().ids = np.zeros(3)
    with pytest.raises(TypeError):
        some().columns["x"] = np.zeros(3)


def test_unknown_rows_are_counted():
    assert some().n_unknown == 1
    assert Candidates.empty().n_unknown == 0


@pytest.mark.parametrize("k", [0, -1])
def test_a_request_wants_at_least_one_work(k):
    with pytest.raises(ValueError, match="k must be positive"):
        Request(user_id=1, k=k)


@pytest.mark.parametrize(
    "wrong", [{"user_id": "x"}, {"user_id": 1.5}, {"user_id": 2**70}, {"k": 2.5}, {"shown": (1.5,)}]
)
def test_a_request_is_made_of_whole_numbers(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        Request(**{"user_id": 1, **wrong})


def test_items_name_the_channels_that_found_them():
    feed = Recommendation(Request(1), some(), Trace(), channels=("profile", "social"))
    assert [item.recalled_by for item in feed] == [("profile",), ("social",), ("profile", "social")]
    assert [item.position for item in feed] == [0, 1, 2]


def test_the_trace_adds_up():
    trace = Trace(
        (
            StepTrace("recall", "popular", "source", 0, 50, 1.0),
            StepTrace("recall", "merge", "merger", 60, 40, 0.5),
            StepTrace("rank", "top_k", "selector", 40, 10, 2.0),
            StepTrace("request", "user_tower", "request_hydrator", 0, -1, 3.0),
        )
    )
    assert trace.stage_sizes() == {"recall": 40, "rank": 10}
    assert trace.stage_ms() == {"recall": 1.5, "rank": 2.0, "request": 3.0}
    assert [step.n_removed for step in trace.steps] == [0, 20, 30, 0]
    assert trace.total_ms == 6.5
