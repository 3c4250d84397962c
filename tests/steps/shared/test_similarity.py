"""Similarity of two items: mapped vectors, and columns of equal values."""

from types import SimpleNamespace

import numpy as np
import pytest
from thirty_works import candidates, move_to_another_version, selected

from karec.bundle.vector_statistics import VectorStatistics
from karec.diversity import dpp_select, mmr_select, ssd_select, standardise_scores
from karec.index import ItemIndex
from karec.pipeline.types import Request
from karec.steps.selectors.dpp import Dpp
from karec.steps.selectors.mmr import Mmr
from karec.steps.selectors.ssd import Ssd
from karec.steps.shared.similarity import CandidateSimilarity, Similarity

REQUEST = Request(user_id=1, k=12, shown=(2, 777, 25))
VERSION = 1


@pytest.fixture
def index():
    rng = np.random.default_rng(8)
    columns = {"creator_id": rng.integers(0, 6, 30), "tag": rng.integers(-1, 4, 30), "share": rng.random(30)}
    vectors = (rng.standard_normal((30, 8)) + 3.0).astype(np.float32)
    return ItemIndex.build(np.arange(30), vectors, dtype="float32", columns=columns, model_version=VERSION)


@pytest.fixture
def bundle(index, tmp_path):
    index.save(tmp_path / "index.karec")
    return SimpleNamespace(vector_statistics=VectorStatistics.from_index(index, tmp_path / "index.karec"))


def mapped(vectors, whiten):
    """Returns W(f − μ), W = (Σ + ε·I) to the power −whiten/2."""
    f = np.asarray(vectors, np.float64)
    covariance = np.cov(f.T, bias=True)
    covariance += 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    variances, axes = np.linalg.eigh(covariance)
    return (f - f.mean(axis=0)) @ (axes * variances ** (-whiten / 2)) @ axes.T


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def all_works(index):
    return candidates(range(30), np.random.default_rng(1).normal(size=30)).with_rows(
        index.lookup(np.arange(30))
    )


@pytest.mark.parametrize("whiten", [0.0, 0.5, 1.0])
def test_similarity_centres_and_whitens_vectors(index, bundle, whiten):
    alike = CandidateSimilarity(index.schema, bundle, Similarity(centre=True, whiten=whiten))
    result = alike.compare(REQUEST.with_view(index.pinned()), all_works(index))
    expected = unit(mapped(index.embeddings(np.arange(30, dtype=np.int32)), whiten))
    np.testing.assert_allclose(unit(result.vectors), expected, atol=2e-5)
    np.testing.assert_allclose(unit(result.shown), expected[[2, 25]], atol=2e-5)


def test_similarity_gives_items_without_a_row_zero_vectors(index, bundle):
    c = candidates([4, 9, 1, 8]).with_rows(np.array([4, -1, 1, -1]))
    alike = CandidateSimilarity(index.schema, bundle, Similarity(centre=True, facets={"creator_id": 0.5}))
    result = alike.compare(REQUEST.with_view(index.pinned()), c)
    assert not result.vectors[[1, 3]].any() and result.vectors[[0, 2]].any(axis=1).all()
    assert len({*result.facets[0, [1, 3]]}) == 2 and (result.facets[0, [1, 3]] < 0).all()
    np.testing.assert_array_equal(result.facets[0, [0, 2]], index.columns["creator_id"][[4, 1]])
    np.testing.assert_array_equal(result.shown_facets[0], index.columns["creator_id"][[2, 25]])


def test_similarity_treats_missing_values_as_distinct(index, bundle):
    tags = index.columns["tag"]
    result = CandidateSimilarity(index.schema, bundle, Similarity(facets={"tag": 0.5})).compare(
        REQUEST.with_view(index.pinned()), all_works(index)
    )
    codes = np.concatenate([result.facets[0], result.shown_facets[0]])
    expected = np.concatenate([tags, tags[[2, 25]]])
    assert (expected < 0).sum() > 1
    same = (codes[:, None] == codes[None, :]) & ~np.eye(len(codes), dtype=bool)
    np.testing.assert_array_equal(
        same,
        (expected[:, None] == expected[None, :]) & (expected[:, None] >= 0) & ~np.eye(len(codes), dtype=bool),
    )


@pytest.mark.parametrize(("step", "select"), [(Dpp, dpp_select), (Mmr, mmr_select), (Ssd, ssd_select)])
def test_selectors_compare_facets_of_candidates_and_shown_items(index, step, select):
    facets = {"creator_id": 0.5, "tag": 0.2}
    c = all_works(index)
    chosen = selected(
        step(index.schema, diversity=0.7, similarity=Similarity(facets=facets)), REQUEST, c, index
    )
    codes = np.stack(
        [
            index.columns["creator_id"],
            np.where(index.columns["tag"] < 0, -1 - np.arange(30), index.columns["tag"]),
        ]
    )
    of_shown = codes[:, [2, 25]].copy()
    of_shown[of_shown < 0] = -100 - np.arange((of_shown < 0).sum())
    vectors = index.embeddings(c.rows)
    expected = select(
        vectors,
        standardise_scores(c.scores),
        12,
        diversity=0.7,
        facets=codes,
        facet_weights=[0.5, 0.2],
        shown=vectors[[2, 25]],
        shown_facets=of_shown,
    )
    np.testing.assert_array_equal(chosen.indices, expected.indices)


def test_similarity_maps_only_rows_of_the_bundles_version(index, bundle):
    move_to_another_version(index, np.arange(20, 30))
    alike = CandidateSimilarity(index.schema, bundle, Similarity(centre=True))
    result = alike.compare(REQUEST.with_view(index.pinned()), all_works(index))
    rows = index.lookup(np.arange(30))
    vectors = index.embeddings(rows)
    np.testing.assert_array_equal(result.vectors[20:, 8:], vectors[20:])
    np.testing.assert_allclose(
        result.vectors[:20, :8], vectors[:20] - bundle.vector_statistics.mean, atol=1e-6
    )
    assert not result.vectors[:20, 8:].any() and not result.vectors[20:, :8].any()


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (
            Similarity(facets={"creator": 0.1}),
            r"similarity\.facets\.creator: the item index has no column 'creator'",
        ),
        (
            Similarity(facets={"share": 0.1}),
            r"similarity\.facets\.share: column 'share' has dtype float64, expected int",
        ),
        (Similarity(facets={"tag": -0.1}), r"similarity\.facets\.tag must lie in \[0, 1\], got -0\.1"),
        (
            Similarity(facets={"tag": 0.5, "creator_id": 0.5}),
            r"weights, with type_weight, sum to 1\.1, expected at most 1",
        ),
        (Similarity(whiten=1.5), r"similarity\.whiten must lie in \[0, 1\], got 1\.5"),
        (Similarity("audio", centre=True), r"similarity\.vectors = 'audio': no vectors"),
    ],
)
def test_similarity_rejects_wrong_settings_by_key(index, similarity, message):
    options = {"type_weight": 0.1, "types": "tag"}
    with pytest.raises(ValueError, match=message):
        Dpp(index.schema, similarity=similarity, **options)


@pytest.mark.parametrize("step", [Mmr, Ssd])
def test_mmr_and_ssd_reject_wrong_facets(index, step):
    for facets, message in (
        ({"creator": 0.1}, r"similarity\.facets\.creator: the item index has no column 'creator'"),
        ({"tag": 0.6, "creator_id": 0.5}, r"similarity\.facets: the weights sum to 1\.1, expected at most 1"),
    ):
        with pytest.raises(ValueError, match=message):
            step(index.schema, similarity=Similarity(facets=facets))


def test_similarity_names_missing_data_of_the_bundle(index):
    for bundle in (None, SimpleNamespace(vector_statistics=None)):
        with pytest.raises(
            ValueError, match=r"similarity\.centre: the bundle has no statistics of its vectors; publish"
        ):
            Dpp(index.schema, similarity=Similarity(centre=True), bundle=bundle)
