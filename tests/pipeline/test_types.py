"""Requests and candidates are frozen and checked when created. Only ``take`` drops or reorders."""

import dataclasses

import numpy as np
import pytest

from karec.pipeline.trace import Trace
from karec.pipeline.types import Candidates, Page, Request


def some() -> Candidates:
    return Candidates(
        ids=np.array([7, 3, 9]),
        rows=np.array([0, -1, 2]),
        scores=np.array([0.1, 0.2, 0.3]),
        sources=np.array([1, 2, 3]),
        columns={"logits": np.arange(6.0).reshape(3, 2)},
    )


def test_candidates_convert_columns_to_the_contract_dtypes():
    c = some()
    assert (c.ids.dtype, c.rows.dtype, c.scores.dtype, c.sources.dtype) == (
        np.int64,
        np.int32,
        np.float32,
        np.uint32,
    )


def test_take_keeps_every_column_aligned():
    taken = some().take(np.array([2, 0]))
    np.testing.assert_array_equal(taken.ids, [9, 7])
    np.testing.assert_array_equal(taken.sources, [3, 1])
    np.testing.assert_array_equal(taken.columns["logits"], [[4, 5], [0, 1]])


def test_candidates_refuse_ids_that_are_not_integers():
    with pytest.raises(ValueError, match=r"ids has shape \(2,\) and dtype float64, expected \(N,\) int64"):
        Candidates.from_ids(np.array([1.5, 2.0]))
    assert Candidates.from_ids(np.array([])).ids.dtype == np.int64


@pytest.mark.parametrize("name", ["rows", "scores", "sources"])
def test_candidates_refuse_a_column_of_another_length_with_both_shapes(name):
    columns = {field.name: getattr(some(), field.name) for field in dataclasses.fields(Candidates)}
    with pytest.raises(ValueError, match=rf"{name} has shape \(2,\), expected \(3,"):
        Candidates(**{**columns, name: np.zeros(2)})


def test_candidates_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        some().ids = np.zeros(3)
    with pytest.raises(TypeError):
        some().columns["x"] = np.zeros(3)


def test_not_finite_is_the_first_position_with_such_a_score():
    plain = Candidates.from_ids(np.arange(3))
    assert plain.not_finite is None
    for bad in (np.nan, np.inf, -np.inf):
        wrong = plain.with_scores(np.array([0.5, bad, bad]))
        assert wrong.not_finite == 1
        assert wrong.with_rows(np.zeros(3, np.int32)).not_finite == 1
        assert wrong.with_scores(np.zeros(3)).not_finite is None
    assert Candidates.from_ids(np.arange(2), np.array([np.nan, 1.0])).not_finite == 0


def test_take_with_a_mask_equals_take_with_its_indices():
    mask = np.array([True, False, True])
    for taken in (some().take(mask), some().take(np.flatnonzero(mask))):
        assert taken.ids.tolist() == [7, 9] and taken.rows.tolist() == [0, 2]
        np.testing.assert_array_equal(taken.columns["logits"], [[0, 1], [4, 5]])
    with pytest.raises(IndexError):
        some().take(mask[:2])


def test_with_rows_counts_unknown_items_again():
    counted = some()
    assert counted.n_unknown == 1
    assert counted.with_rows(np.array([-1, -1, 2])).n_unknown == 2


def test_n_unknown_counts_candidates_without_a_row():
    assert some().n_unknown == 1
    assert Candidates.empty().n_unknown == 0


@pytest.mark.parametrize("k", [0, -1])
def test_request_refuses_k_below_1(k):
    with pytest.raises(ValueError, match="expected at least 1"):
        Request(user_id=1, k=k)


@pytest.mark.parametrize(
    "wrong", [{"user_id": None}, {"user_id": 1.5}, {"user_id": 2**70}, {"k": 2.5}, {"shown": (1.5,)}]
)
def test_request_refuses_values_that_are_not_integers(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*, expected an integer"):
        Request(**{"user_id": 1, **wrong})


def test_page_items_name_their_sources():
    feed = Page(Request(1), some(), Trace(), source_names=("profile", "social"))
    assert [item.sources for item in feed] == [("profile",), ("social",), ("profile", "social")]
    assert [item.position for item in feed] == [0, 1, 2]


def test_repeated_id_is_computed_once():
    candidates = Candidates.from_ids(np.array([3, 1, 3]))
    assert candidates.repeated_id == 3 and "_repeated_id" in candidates.__dict__


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("where", {"column": "tag", "equal": 1}, "Where.from_dict"), ("shown", "SKU0006", "a sequence of ids")],
)
def test_request_refuses_values_of_another_type_with_advice(field, value, words):
    with pytest.raises(ValueError, match=words):
        Request(1, **{field: value})
