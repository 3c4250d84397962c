"""Explanation of a DPP: the reason and the numbers of each item's place."""

import numpy as np

from karec.diversity import DiversityResult
from karec.pipeline.types import Candidates
from karec.steps.selectors.dpp import explanation
from karec.steps.shared.similarity import ComparedItems


def explained(vectors, order, scores=None, shown=(), facets=None, codes=(), shown_codes=()):
    vectors = np.asarray(vectors, np.float32)
    n = len(vectors)
    scores = np.arange(n, 0, -1, dtype=np.float32) if scores is None else np.asarray(scores, np.float32)
    result = DiversityResult(np.array(order), np.linspace(1, 0.5, len(order)), 0.0, len(order))
    shown_ids = np.arange(900, 900 + len(shown))
    shown_vectors = np.asarray(shown, np.float32).reshape(len(shown), vectors.shape[1])
    facets = facets or {}
    codes = np.asarray(codes, np.int64).reshape(len(facets), n)
    shown_codes = np.asarray(shown_codes, np.int64).reshape(len(facets), len(shown))
    compared = ComparedItems(vectors, shown_vectors, shown_ids, codes, shown_codes)
    return explanation(Candidates.from_ids(np.arange(10, 10 + n), scores), result, compared, facets)


def test_explanation_names_the_most_similar_earlier_item():
    output = explained([[0.5, 0.0], [0.0, 3.0], [0.1, 0.1]], [0, 1, 2], shown=[[0.0, 0.25]])
    assert [work["id"] for work in output["works"]] == [10, 11, 12]
    assert [work["closest"] for work in output["works"]] == [900, 900, 900]
    np.testing.assert_allclose(
        [work["cosine"] for work in output["works"]], [0.0, 1.0, np.sqrt(0.5)], rtol=1e-12
    )
    assert [work["gain"] for work in output["works"]] == [1.0, 0.75, 0.5]
    assert [work["relevance"] for work in output["works"]] == [3.0, 2.0, 1.0]


def test_explanation_has_no_closest_item_for_the_first():
    output = explained([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], [0, 1, 2])
    assert [work["closest"] for work in output["works"]] == [None, 10, 11]
    assert [work["cosine"] for work in output["works"]] == [None, 0.0, 1.0]


def test_explanation_names_the_facets_of_equal_value():
    output = explained(
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
        [0, 1, 2],
        shown=[[1.0, 0.0]],
        facets={"creator_id": 0.6, "tag": 0.2},
        codes=[[7, 5, 5], [1, 1, 2]],
        shown_codes=[[7], [3]],
    )
    assert [work["closest"] for work in output["works"]] == [900, 10, 11]
    np.testing.assert_allclose([work["similarity"] for work in output["works"]], [0.8, 0.2, 0.6])
    assert [work["cosine"] for work in output["works"]] == [1.0, 0.0, 0.0]
    assert [work["same"] for work in output["works"]] == [["creator_id"], ["tag"], ["creator_id"]]


def test_explanation_breaks_ties_of_relevance_by_position():
    n = 300
    output = explained(np.ones((n, 2)), [n - 1] * 200, scores=np.where(np.arange(n) % 3 == 0, 2.0, 1.0))
    first = [*range(10, 10 + n, 3)]
    assert output["top_k"] == [*first, *(i for i in range(10, 10 + n) if i not in first)][:200]
