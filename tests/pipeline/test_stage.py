"""Checks of each role's output: shapes, dtypes, order and failures."""

import re
import time

import numpy as np
import pytest

from karec.config.registry import step_classes
from karec.errors import ContractError, Unavailable
from karec.index import ItemIndex
from karec.pipeline.checks import hydrate_request, merge, recall
from karec.pipeline.stage import Stage
from karec.pipeline.step import Filter, Hydrator, Merger, QueryHydrator, Scorer, Selector, Source, Step
from karec.pipeline.types import Candidates, Request, Selection, StepOutput

REQUEST = Request(user_id=1, k=2)


class Returns:
    """A step that returns its constructor argument, or raises it."""

    def __init__(self, answer, name="step", on_failure="fail"):
        self.answer, self.name, self.on_failure = answer, name, on_failure

    def give(self, *_):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Hydrates(Returns, Hydrator):
    hydrate = Returns.give


class Keeps(Returns, Filter):
    reason = "odd"
    keep = Returns.give


class Scores(Returns, Scorer):
    score = Returns.give


class Selects(Returns, Selector):
    select = Returns.give


class SelectsOne(Selects):
    k = 1


class GivesAge(Hydrates):
    gives = ("column.age",)


class KeepsAge(Keeps):
    gives = ("column.age",)


class ScoresAge(Scores):
    gives = ("scores", "column.age")


class SelectsScores(Selects):
    gives = ("scores",)


class GivesRows(Hydrates):
    gives = ("rows",)


class GivesFeatures(Returns, QueryHydrator):
    hydrate_request = Returns.give


class GivesMood(GivesFeatures):
    gives = ("request.mood",)


class Finds(Returns, Source):
    quota = 4
    recall = Returns.give


class Merges(Returns, Merger):
    limit = 4
    merge = Returns.give


class Verified(Merges):
    is_verified = True


class DerivedFromVerified(Verified):
    """``is_verified`` is not inherited."""


class NotVerified(Verified):
    is_verified = False


def candidates() -> Candidates:
    return Candidates.from_ids(np.array([10, 11, 12, 13]), np.array([4.0, 3.0, 2.0, 1.0]))


def run(*steps: Step):
    return Stage("stage", steps).run(REQUEST, candidates())


def test_hydrators_add_columns_and_rows():
    outcome = run(Hydrates({"age": np.arange(4.0), "rows": np.array([0, 1, -1, 3])}))
    np.testing.assert_array_equal(outcome.candidates.columns["age"], np.arange(4.0))
    np.testing.assert_array_equal(outcome.candidates.rows, [0, 1, -1, 3])
    assert outcome.steps[0].n_unknown == 1
    assert "rows" not in outcome.candidates.columns


def test_filter_drops_candidates_and_traces_its_reason():
    outcome = run(Keeps(np.array([True, False, True, False]), name="even"))
    np.testing.assert_array_equal(outcome.candidates.ids, [10, 12])
    (step,) = outcome.steps
    assert (step.step, step.role, step.n_in, step.n_out, step.n_removed, step.reason) == (
        "even",
        "filter",
        4,
        2,
        2,
        "odd",
    )


def test_selector_sets_order_scores_and_notes():
    outcome = run(Selects(Selection(np.array([3, 0]), np.array([9.0, 8.0]), {"n_dpp": 2})))
    np.testing.assert_array_equal(outcome.candidates.ids, [13, 10])
    np.testing.assert_array_equal(outcome.candidates.scores, [9, 8])
    assert outcome.steps[0].notes == {"n_dpp": 2}


def test_stage_keeps_the_candidates_before_its_first_selector():
    outcome = run(
        Scores(np.full(4, 0.5)), Selects(Selection(np.array([1]))), Selects(Selection(np.array([0])))
    )
    np.testing.assert_array_equal(outcome.scored.ids, [10, 11, 12, 13])
    np.testing.assert_array_equal(outcome.scored.scores, [0.5] * 4)
    np.testing.assert_array_equal(outcome.candidates.ids, [11])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Hydrates({"x": np.zeros(3)}), r"column 'x' has shape \(3,\) for 4"),
        (Hydrates({"x": 1.0}), r"column 'x' has shape \(\)"),
        (Hydrates(None), r"returned NoneType, expected \{column: array\}"),
        (Hydrates({"rows": np.zeros(4)}), r"rows have dtype float64 and shape \(4,\), expected int32 \(4,\)"),
        (Hydrates({"rows": np.zeros(4, bool)}), "rows have dtype bool"),
        (Hydrates({"rows": np.zeros((4, 1), int)}), r"rows have dtype int64 and shape \(4, 1\)"),
        (Hydrates({"rows": np.array([0, -2, 1, 2])}), "the row at position 1 is -2, expected −1 …"),
        (Hydrates({"rows": np.array([0, 1, 2, 2**32])}), "the row at position 3 is 4294967296"),
        (
            GivesAge({"old": np.zeros(4)}),
            r"declares that it gives 'column.age' and did not .* \['column.old'\]",
        ),
        (GivesRows({}), "declares that it gives 'rows' and did not"),
        (KeepsAge(np.ones(4, bool)), "declares that it gives 'column.age' and did not"),
        (ScoresAge(np.ones(4)), "declares that it gives 'column.age' and did not"),
        (SelectsScores(Selection(np.array([0]))), "declares that it gives 'scores' and did not"),
        (Keeps(np.ones(4)), "dtype float64"),
        (Keeps(np.ones(3, bool)), r"shape \(3,\)"),
        (Scores(np.zeros(5)), r"shape \(5,\), expected \(4,\)"),
        (Scores(np.array([0, 1, np.nan, 3])), "position 2 is nan"),
        (Scores(np.array([np.inf, 1, 2, 3])), "position 0 is inf"),
        (Scores(np.array([0, 1, 1e300, 3])), "position 2 is 1e.300; scores must be finite float32"),
        (Scores(np.zeros(4, bool)), "scores have dtype bool"),
        (Scores(np.zeros(4, complex)), "scores have dtype complex128"),
        (Selects(None), "returned NoneType, expected Selection"),
        (SelectsOne(Selection(np.array([0, 1]))), "selected 2 items, its k is 1"),
        (Selects(Selection(np.array([0, 1, 2]))), "selected 3 items, its k is 2"),
        (Selects(Selection(np.array([0]), np.array([1e300]))), "position 0 is 1e.300"),
        (Selects(Selection(np.array([0]), np.array([True]))), "scores have dtype bool"),
        (Selects(Selection(np.array([0, 4]))), "outside 0 … 3"),
        (Selects(Selection(np.array([-1]))), "outside"),
        (Selects(Selection(np.array([1, 1]))), "appears twice"),
        (Selects(Selection(np.array([0.0]))), "dtype float64"),
        (Selects(Selection(np.array([0]), np.array([np.nan]))), "position 0 is nan"),
    ],
)
def test_stage_names_the_step_that_breaks_its_contract(step, message):
    step.on_failure = "skip"
    with pytest.raises(ContractError, match=f"'step'.*{message}"):
        run(step)


def test_stage_rejects_rows_outside_the_view_of_the_request():
    index = ItemIndex.build(np.arange(3), np.eye(3), model_version=1)
    with index.pinned() as view:
        seeing = REQUEST.with_view(view)
        fits = Stage("stage", (Hydrates({"rows": np.array([0, 2, -1, 1], np.int32)}),))
        assert fits.run(seeing, candidates()).candidates.rows.tolist() == [0, 2, -1, 1]
        past = Stage("stage", (Hydrates({"rows": np.array([0, 2, -1, 3], np.int32)}),))
        with pytest.raises(ContractError, match="the row at position 3 is 3, expected −1 … 2"):
            past.run(seeing, candidates())


NAN_SCORE = Candidates.from_ids(np.array([7, 8]), np.array([1.0, np.nan]))
SENTINEL = Candidates.from_ids(np.array([7, -1]), np.array([1.0, -np.inf]))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (np.array([1, 2]), "returned ndarray, expected Candidates"),
        (None, "returned NoneType, expected Candidates"),
        (Candidates.from_ids(np.arange(5)), "returned 5 items, its quota is 4"),
        (Candidates.from_ids(np.array([3, 9, 3])), "the id 3 appears twice"),
        (NAN_SCORE, "the score at position 1 is nan"),
        (SENTINEL, "the score at position 1 is -inf"),
    ],
)
def test_recall_names_a_source_that_breaks_its_contract(found, message):
    with pytest.raises(ContractError, match=f"source 'step': {message}"):
        recall(Finds(found, on_failure="skip"), REQUEST)


def test_recall_rejects_a_score_beyond_float32():
    found = Candidates.from_ids(np.array([7]), np.array([1e300]))
    with pytest.raises(ContractError, match="the score at position 0 is inf"):
        recall(Finds(found), REQUEST)


def bits(ids, sources):
    return Candidates(ids, np.full(len(ids), -1), np.zeros(len(ids)), np.array(sources))


PARTS = [
    Candidates.from_ids(np.array([1, 2, 3])),
    Candidates.from_ids(np.array([3, 4])),
    Candidates.from_ids(np.array([9, 5, 6, 7])),
]


@pytest.mark.parametrize(
    ("merged", "message"),
    [
        ([1, 2], "returned list, expected Candidates"),
        (bits([1, 2, 3, 4, 9], [1, 1, 3, 2, 4]), "returned 5 items, its limit is 4"),
        (bits([1, 1], [1, 1]), "the id 1 appears twice"),
        (bits([1, 8], [1, 1]), "the item 8 at position 1 comes from no source"),
        (bits([1, 3], [1, 1]), "the item 3 has sources 0b1, expected 0b11"),
        (bits([1, 4], [3, 2]), "the item 1 has sources 0b11, expected 0b1"),
        (bits([1, 4], [1, 0]), "the item 4 has sources 0b0, expected 0b10"),
        (SENTINEL, "the score at position 1 is -inf"),
    ],
)
def test_merge_names_a_merger_that_breaks_its_contract(merged, message):
    for kind in (Merges, DerivedFromVerified, NotVerified):
        with pytest.raises(ContractError, match=f"merger 'step': {message}"):
            merge(kind(merged, on_failure="skip"), REQUEST, PARTS)


def test_merge_accepts_items_with_the_bits_of_all_their_sources():
    merged, _ = merge(Merges(bits([9, 3, 1], [4, 3, 1])), REQUEST, PARTS)
    assert merged.ids.tolist() == [9, 3, 1]


def test_merge_checks_size_and_scores_of_a_verified_merger():
    for merged in (bits([1, 2, 3, 4, 9], [1, 1, 3, 2, 4]), SENTINEL):
        with pytest.raises(ContractError, match=r"limit is 4|is -inf"):
            merge(Verified(merged), REQUEST, PARTS)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([1, 2], "returned list, expected {name: array}"),
        ({"age": 3}, "the feature 'age' is int, expected a name and a NumPy array"),
        ({"age": [3.0]}, "the feature 'age' is list"),
        ({3: np.zeros(1)}, "the feature 3 is ndarray, expected a name"),
    ],
)
def test_hydrate_request_names_a_hydrator_that_breaks_its_contract(features, message):
    with pytest.raises(ContractError, match=f"query_hydrator 'step': {message}"):
        hydrate_request(GivesFeatures(features, on_failure="skip"), REQUEST)


def test_hydrate_request_rejects_missing_declared_features():
    with pytest.raises(
        ContractError, match=r"declares that it gives 'request.mood' and did not .* \['request.age'\]"
    ):
        hydrate_request(GivesMood({"age": np.zeros(1)}), REQUEST)
    assert hydrate_request(GivesMood({"mood": np.zeros(1)}), REQUEST)[0].keys() == {"mood"}


@pytest.mark.parametrize("scores", [np.zeros(2, bool), np.zeros(2, complex), np.array(["1", "2"])])
def test_candidates_refuse_scores_that_are_not_real_numbers(scores):
    with pytest.raises(ValueError, match=r"scores has dtype .*, expected float32"):
        Candidates.from_ids(np.array([7, 8]), scores)


def test_step_of_any_role_may_return_notes():
    noted = StepOutput({"age": np.zeros(4)}, {"seen": 3})
    assert hydrate_request(GivesFeatures(noted), REQUEST) == (noted.value, {"seen": 3})
    assert recall(Finds(StepOutput(PARTS[0], {"seen": 1})), REQUEST) == (PARTS[0], {"seen": 1})
    outcome = run(
        Hydrates(noted),
        Scores(StepOutput(np.ones(4), {"seen": 4})),
        Keeps(StepOutput(np.ones(4, bool), {"seen": 5})),
    )
    assert [step.notes for step in outcome.steps] == [{"seen": 3}, {"seen": 4}, {"seen": 5}]
    np.testing.assert_array_equal(outcome.candidates.scores, 1)


def test_unavailable_step_fails_the_request_by_default():
    with pytest.raises(Unavailable, match="no answer"):
        run(Scores(Unavailable("no answer")))


@pytest.mark.parametrize("failure", [Unavailable("no answer"), OSError("disk")])
def test_failed_step_is_skipped_and_traced_if_on_failure_is_skip(failure):
    outcome = run(Scores(failure, on_failure="skip"))
    np.testing.assert_array_equal(outcome.candidates.scores, candidates().scores)
    assert str(failure) in outcome.steps[0].failure


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), ValueError("x"), ZeroDivisionError()])
def test_programming_error_is_raised_if_on_failure_is_skip(error):
    with pytest.raises(type(error)):
        run(Scores(error, on_failure="skip"))


def test_stage_refuses_an_object_without_a_stage_role():
    with pytest.raises(ContractError, match="has no role of a stage"):
        Stage("stage", (object(),))


def test_empty_stage_changes_no_candidates():
    assert run().candidates.ids.tolist() == [10, 11, 12, 13]


def test_needs_and_gives_of_all_steps_follow_the_documented_spelling():
    spelled = re.compile(r"request\.\w+|column\.\w+|rows|scores")
    for use, step in step_classes().items():
        assert all(spelled.fullmatch(word) for word in (*step.needs, *step.gives)), use


class TakesTime(Scorer):
    """Takes 2 ms. ``scored``: the measured time in milliseconds."""

    name, on_failure = "slow", "fail"

    def score(self, request, candidates):
        begin = now = time.perf_counter_ns()
        while now - begin < 2_000_000:
            now = time.perf_counter_ns()
        self.scored = (now - begin) / 1e6
        return np.zeros(len(candidates), np.float32)


def test_step_trace_time_is_in_milliseconds():
    step = TakesTime()
    begin = time.perf_counter_ns()
    outcome = Stage("rank", (step,)).run(REQUEST, Candidates.from_ids(np.array([1, 2])))
    around = (time.perf_counter_ns() - begin) / 1e6
    assert step.scored <= outcome.steps[0].ms <= around


class KeepsOthers(Filter):
    """Drops the items ``ids``, and counts its calls."""

    reason = "late"

    def __init__(self, *ids):
        self.name, self.ids, self.n_calls = "late", ids, 0

    def keep(self, request, candidates):
        self.n_calls += 1
        return ~np.isin(candidates.ids, self.ids)


class SelectsFirst(Selector):
    def __init__(self, name="first"):
        self.name = name

    def select(self, request, candidates):
        return Selection(np.arange(min(request.k, len(candidates))))


@pytest.mark.parametrize(
    ("dropped", "expected", "n_calls"),
    [((), [1, 2], 1), ((2,), [1, 3], 2), ((1, 2, 3), [4, 5], 3), ((1, 2, 3, 4, 5), [], 3)],
)
def test_candidates_refill_the_page_after_a_late_filter(dropped, expected, n_calls):
    late = KeepsOthers(*dropped)
    stage = Stage("rerank", (SelectsFirst(), late, SelectsFirst("again")))
    outcome = stage.run(REQUEST, Candidates.from_ids(np.arange(1, 6)), min_items=REQUEST.k)
    assert outcome.candidates.ids.tolist() == expected and late.n_calls == n_calls
    earlier = [trace.step for trace in outcome.steps[:-3]]
    assert earlier == ["late"] * (n_calls - 1) and sum(
        trace.n_removed for trace in outcome.steps if trace.step == "late"
    ) == len(dropped)


def test_stage_without_a_least_number_of_items_runs_once():
    late = KeepsOthers(1)
    outcome = Stage("prerank", (SelectsFirst(), late)).run(REQUEST, Candidates.from_ids(np.arange(1, 6)))
    assert outcome.candidates.ids.tolist() == [2] and late.n_calls == 1


def test_filter_before_the_first_selector_needs_no_second_round():
    late = KeepsOthers(1, 2, 3, 4)
    stage = Stage("rerank", (late, SelectsFirst()))
    outcome = stage.run(REQUEST, Candidates.from_ids(np.arange(1, 6)), min_items=REQUEST.k)
    assert outcome.candidates.ids.tolist() == [5] and late.n_calls == 1
