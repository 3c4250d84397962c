"""The DPP step: arguments of dpp_select, explanations, and items without a vector."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from thirty_works import candidates, move_to_another_version, selected, thirty_works

from karec.diversity import dpp_select, standardise_scores
from karec.index import ItemIndex
from karec.pipeline.types import Candidates, Request
from karec.steps.selectors.dpp import Dpp

REQUEST = Request(user_id=1, k=4)


@pytest.fixture
def index():
    return thirty_works()


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "k": st.integers(1, 40),
        "diversity": st.sampled_from([0.1, 0.5, 0.9]),
        "ridge": st.sampled_from([1e-3, 0.5]),
        "type_weight": st.sampled_from([0.0, 0.3, 1.0]),
        "window": st.integers(2, 5),
        "max_per_type": st.integers(2, 9),
        "min_per_type": st.integers(1, 2),
    },
)
FACTORS = st.sampled_from([0.25, 0.5, 2.0, 8.0])  # powers of two: their products are exact in float32
WEIGHTS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.dictionaries(st.sampled_from(["0", "1", "7"]), FACTORS),
        "creator_id": st.dictionaries(st.sampled_from(["0", "3", "6", "-8"]), FACTORS),
        "song_id": st.dictionaries(st.sampled_from(["1", "2"]), FACTORS),
    },
)


@given(
    st.integers(0, 2**32),
    OPTIONS,
    st.none() | WEIGHTS,
    st.sampled_from(["type", "creator_id"]),
    st.lists(st.integers(0, 40), max_size=4, unique=True),
    st.booleans(),
    st.booleans(),
)
def test_dpp_equals_dpp_select_with_every_setting(
    seed, settings, weights, types, shown, strangers, looked_up
):
    """Missing settings have the defaults of dpp_select. Factors of several columns are multiplied. An item
    without a row has no column value and a type of its own. Row arrays of the index are read in place."""
    index, rng = thirty_works(), np.random.default_rng(seed)
    rows = rng.permutation(30)[:25]
    if strangers:
        rows[[3, 4, 20]] = -1
    if looked_up:
        rows = index.lookup(rows)
    c = Candidates.from_ids(np.arange(25), rng.normal(size=25).astype(np.float32)).with_rows(rows)
    typed = bool({"max_per_type", "min_per_type"} & settings.keys()) or settings.get("type_weight", 0.0) > 0
    step = Dpp(index.schema, **settings, weights=weights, **({"types": types} if typed else {}))
    selection = selected(step, Request(1, k=7, shown=tuple(shown)), c, index)

    options = {name: value for name, value in settings.items() if name != "k"}
    if weights is not None:
        factors = np.ones(25)
        for column, table in weights.items():
            for value, factor in table.items():
                factors[(rows >= 0) & (index.columns[column][rows] == int(value))] *= factor
        options["weights"] = factors
    if typed:
        options["types"] = np.where(rows < 0, -1, index.columns[types][rows].astype(np.int64))
    known = [work for work in shown if work < 30]
    if known:
        options["shown"] = index.embeddings(np.array(known, np.int32))
    k = settings.get("k", 7)
    expected = dpp_select(index.embeddings(rows.astype(np.int32)), standardise_scores(c.scores), k, **options)
    assert selection.indices.tolist() == expected.indices.tolist()
    assert selection.notes == {"n_dpp": expected.n_dpp, "log_det": expected.log_det}
    assert selection.scores is None


@given(st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([0.25, 1.0, 4.0]), st.sampled_from([0.5, 3.0]))
def test_dpp_orders_equal_items_by_their_traffic_weights(by_type, by_creator, by_song):
    """The last factor without the others would put another item first."""
    index = ItemIndex.build(
        np.arange(4),
        np.eye(4),
        columns={"type": [0, 1, 1, 1], "creator_id": [0, 0, 5, 5], "song_id": [0, 0, 0, 9]},
    )
    weights = {"type": {"1": by_type}, "creator_id": {"5": by_creator}, "song_id": {"9": by_song}}
    factors = [1.0, by_type, by_type * by_creator, by_type * by_creator * by_song]
    output = selected(
        Dpp(index.schema, k=4, weights=weights), Request(1), candidates(range(4), np.ones(4)), index
    ).indices
    assert output.tolist() == sorted(range(4), key=lambda at: (-factors[at], at))


def test_dpp_without_diversity_equals_top_k(index):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    selection = selected(Dpp(index.schema, diversity=0.0), REQUEST, c, index)
    np.testing.assert_array_equal(selection.indices, np.argsort(-c.scores, kind="stable")[: REQUEST.k])


def test_dpp_selects_more_items_of_a_type_with_traffic_weight(index):
    c = candidates(range(30), np.zeros(30))
    favoured = selected(
        Dpp(index.schema, k=10, diversity=0.5, weights={"type": {"1": 5.0}}), REQUEST, c, index
    ).indices
    disfavoured = selected(
        Dpp(index.schema, k=10, diversity=0.5, weights={"type": {"1": 0.2}}), REQUEST, c, index
    ).indices
    assert (favoured % 2).sum() > (disfavoured % 2).sum()


def test_dpp_keeps_limits_of_types_of_any_column(index):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    creators = index.columns["creator_id"]
    most = selected(Dpp(index.schema, k=14, types="creator_id", max_per_type=2), REQUEST, c, index).indices
    assert np.bincount(creators[most]).tolist() == [2] * 7
    entry = selected(Dpp(index.schema, k=7, types="creator_id", min_per_type=1), REQUEST, c, index).indices
    assert np.bincount(creators[entry]).tolist() == [1] * 7
    short = selected(Dpp(index.schema, k=20, max_per_type=4), REQUEST, c, index).indices
    assert np.bincount(index.columns["type"][short]).tolist() == [4, 4]


def test_dpp_refuses_factors_whose_product_is_above_the_largest_float32(index):
    with pytest.raises(ValueError, match="weights: the factors of an item can multiply to 1e\\+40"):
        Dpp(index.schema, weights={"type": {"1": 1e20}, "creator_id": {"0": 0.5, "3": 1e20}})
    with pytest.raises(ValueError, match="weights"):
        Dpp(index.schema, weights={"type": {"1": 1e39}})
    weights = {"type": {"0": 1e19, "1": 1e19}, "creator_id": {str(creator): 1e19 for creator in range(7)}}
    c = candidates(range(30), np.zeros(30))
    assert len(selected(Dpp(index.schema, weights=weights), REQUEST, c, index).indices) == REQUEST.k


@pytest.mark.parametrize("code", [-1, -2, -(2**63), 2**63 - 1])
def test_dpp_gives_items_without_a_row_a_type_that_no_item_has(code):
    index = ItemIndex.build(np.arange(4), np.eye(4), columns={"type": [code, code, -1, -1]})
    c = Candidates.from_ids(np.arange(6), np.arange(6, dtype=np.float32)).with_rows(
        np.array([0, 1, 2, 3, -1, -1], np.int32)
    )
    chosen = selected(Dpp(index.schema, k=6, max_per_type=1), REQUEST, c, index).indices
    assert sorted(np.array([0, 0, code != -1, code != -1, 2, 2])[chosen].tolist()) == sorted(
        {0, code != -1, 2}
    )


def test_dpp_explains_its_choice_if_the_request_asks(index):
    c = candidates(range(2, 30), np.random.default_rng(1).normal(size=28))
    step = Dpp(index.schema, k=5, diversity=0.7)
    assert "explanation" not in selected(step, Request(user_id=1), c, index).notes
    selection = selected(step, Request(user_id=1, shown=(1, 777), explain=True), c, index)
    explanation = selection.notes["explanation"]
    assert explanation["top_k"] == c.ids[np.argsort(-c.scores, kind="stable")[:5]].tolist()
    assert [work["id"] for work in explanation["works"]] == c.ids[selection.indices].tolist()
    vectors = index.embeddings(np.r_[1, c.ids[selection.indices]].astype(np.int32)).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seen = [1]
    result = dpp_select(
        index.embeddings(c.rows), standardise_scores(c.scores), 5, diversity=0.7, shown=vectors[:1]
    )
    for place, work in enumerate(explanation["works"]):
        cosines = vectors[: place + 1] @ vectors[place + 1]
        assert work["closest"] == seen[int(np.argmax(cosines))]
        assert work["cosine"] == pytest.approx(cosines.max())
        assert work["relevance"] == pytest.approx(float(c.scores[selection.indices[place]]))
        assert work["gain"] == pytest.approx(result.gains[place], rel=1e-6)
        seen.append(work["id"])
    alone = selected(step, Request(user_id=1, explain=True), c, index).notes["explanation"]["works"][0]
    assert alone["closest"] is None and alone["cosine"] is None


NO_MOOD = r"the item index has no column 'mood'; it has \['creator_id', 'song_id', 'tone', 'type'\]$"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k must be positive, got 0"),
        ({"window": 0}, "window must be positive"),
        ({"diversity": 1.1}, r"diversity must lie in \[0, 1\]"),
        ({"type_weight": -0.1}, r"type_weight must lie in \[0, 1\]"),
        ({"ridge": float("inf")}, r"ridge must lie in \[0, 10\]"),
        ({"ridge": 11.0}, r"ridge must lie in \[0, 10\]"),
        ({"max_per_type": 0}, "max_per_type must be positive"),
        ({"min_per_type": -1}, "min_per_type must be ≥ 0"),
        ({"min_per_type": 3, "max_per_type": 2}, "min_per_type must be at most max_per_type, got 3 and 2"),
        ({"types": "mood", "max_per_type": 2}, f"types: {NO_MOOD}"),
        ({"types": "tone", "max_per_type": 2}, "types: column 'tone' has dtype float64, expected integers$"),
        (
            {"types": "song_id"},
            "types names 'song_id', but type_weight, max_per_type and min_per_type ask for no types$",
        ),
        ({"weights": {"mood": {"1": 2.0}}}, f"weights: {NO_MOOD}"),
        ({"weights": {"tone": {"1": 2.0}}}, "weights: column 'tone' has dtype float64, expected integers$"),
        (
            {"weights": {"type": {"video": 2.0}}},
            r"weights\.type: 'video' is not an integer; the keys are values of the column$",
        ),
        (
            {"weights": {"type": {str(2**63): 2.0}}},
            r"weights\.type: 9223372036854775808 is out of the range of int64$",
        ),
        ({"weights": {"type": {"1.5": 2.0}}}, r"weights\.type: '1.5' is not an integer"),
        (
            {"weights": {"type": {"1": -1.0}}},
            r"weights\.type: the factor of 1 must be finite and ≥ 0, got -1.0$",
        ),
        (
            {"weights": {"type": {"-1": float("inf")}}},
            r"weights\.type: the factor of -1 must be finite and ≥ 0, got inf$",
        ),
    ],
)
def test_dpp_rejects_wrong_settings_by_name(index, settings, message):
    with pytest.raises(ValueError, match="^" + message):
        Dpp(index.schema, **settings)


def test_dpp_reads_types_and_weights_of_any_integer_dtype():
    for dtype in (np.int8, np.uint16, np.int64, np.bool_):
        index = ItemIndex.build(np.arange(2), np.eye(2), columns={"kind": np.array([0, 1], dtype)})
        step = Dpp(index.schema, types="kind", max_per_type=1, weights={"kind": {"1": 3.0}})
        assert selected(step, REQUEST, candidates([0, 1], np.ones(2)), index).indices.tolist() == [1, 0], (
            dtype
        )


def test_dpp_with_type_weight_mixes_types(index):
    c = candidates(range(30), np.where(np.arange(30) % 2, 0.5, 0.0))
    alone = selected(Dpp(index.schema, k=10, diversity=0.4), REQUEST, c, index).indices
    mixed = selected(Dpp(index.schema, k=10, diversity=0.4, type_weight=0.9), REQUEST, c, index).indices
    assert abs((mixed % 2).mean() - 0.5) <= abs((alone % 2).mean() - 0.5)


def test_dpp_avoids_items_similar_to_shown_ones(index):
    twin = ItemIndex.build(
        np.arange(3), np.array([[1, 0], [1, 0.01], [0, 1]], np.float32), columns={"type": [0, 0, 0]}
    )
    c = candidates([1, 2], np.array([1.0, 0.9]))
    assert selected(Dpp(twin.schema, k=1, diversity=0.7), Request(1), c, twin).indices.tolist() == [0]
    assert selected(
        Dpp(twin.schema, k=1, diversity=0.7), Request(1, shown=(0,)), c, twin
    ).indices.tolist() == [1]


def test_dpp_explains_cosine_0_between_model_versions(index):
    move_to_another_version(index, np.arange(20, 30))
    rows = index.lookup(np.arange(30))
    c = candidates(range(30), np.random.default_rng(1).normal(size=30)).with_rows(rows)
    explanation = selected(Dpp(index.schema, k=8), Request(1, explain=True), c, index).notes["explanation"]
    across = [
        work["cosine"] for work in explanation["works"][1:] if (work["id"] < 20) != (work["closest"] < 20)
    ]
    assert all(cosine == 0 for cosine in across)


def test_dpp_places_items_without_a_vector_near_the_end():
    index = ItemIndex.build(np.arange(4), np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32))
    c = candidates([0, 1, 2, 3], np.array([1.0, 0.9, 0.8, 0.7]))
    assert selected(Dpp(index.schema, k=4), REQUEST, c, index).indices.tolist()[0] != 0
