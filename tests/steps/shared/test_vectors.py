"""Vectors of candidates and of shown items, in one space."""

from types import SimpleNamespace

import numpy as np
import pytest
from thirty_works import candidates, move_to_another_version, selected, thirty_works

from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.diversity import dpp_select, mmr_select, ssd_select, standardise_scores
from karec.pipeline.types import Request
from karec.steps.selectors.dpp import Dpp
from karec.steps.selectors.mmr import Mmr
from karec.steps.selectors.ssd import Ssd
from karec.steps.shared.similarity import PLAIN, CandidateSimilarity, Similarity

AUDIO = Similarity(vectors="audio")
REQUEST = Request(user_id=1, k=12, shown=(2, 777, 25))


def test_similarity_keeps_vectors_of_one_version():
    index = thirty_works()
    c = candidates([4, 9, 1]).with_rows(np.array([4, -1, 1]))
    result = CandidateSimilarity(index.schema, None, PLAIN).compare(REQUEST.with_view(index.pinned()), c)
    np.testing.assert_array_equal(result.vectors, index.embeddings(c.rows))
    np.testing.assert_array_equal(result.shown, index.embeddings(np.array([2, 25])))
    assert not result.vectors[1].any() and result.shown_ids.tolist() == [2, 25]


@pytest.mark.parametrize(("step", "select"), [(Dpp, dpp_select), (Mmr, mmr_select), (Ssd, ssd_select)])
def test_similarity_gives_cosine_0_between_two_versions(step, select):
    """Towers of two versions map into unrelated spaces, so the cosine counts as 0."""
    index = thirty_works()
    move_to_another_version(index, np.arange(20, 30))
    c = candidates(range(30), np.random.default_rng(1).normal(size=30)).with_rows(index.lookup(np.arange(30)))
    apart = np.zeros((30, 16), np.float32)
    apart[:20, :8], apart[20:, 8:] = index.embeddings(c.rows[:20]), index.embeddings(c.rows[20:])
    expected = select(apart, standardise_scores(c.scores), 12, diversity=0.7, shown=apart[[2, 25]])
    np.testing.assert_array_equal(
        selected(step(index.schema, diversity=0.7), REQUEST, c, index).indices, expected.indices
    )


def with_own_vectors(**columns):
    """A substitute for a bundle: the snapshot of the items 0 … 24 with these columns."""
    return SimpleNamespace(
        snapshot=Snapshot(1, Table(np.arange(25), columns), Table(np.arange(2), {}), {}, {})
    )


def audio():
    """Three numbers for each item. Item 7 has no vector."""
    numbers = np.random.default_rng(3).normal(size=(25, 3)).astype(np.float32)
    numbers[7] = 0
    return {"audio": numbers}, numbers


@pytest.mark.parametrize(("step", "select"), [(Dpp, dpp_select), (Mmr, mmr_select), (Ssd, ssd_select)])
def test_similarity_reads_own_vectors(step, select):
    """Items without a vector, or unknown to the snapshot, have a zero vector."""
    columns, numbers = audio()
    index = thirty_works()
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    expected = np.zeros((30, 3), np.float32)
    expected[:25] = numbers
    required = select(expected, standardise_scores(c.scores), 12, diversity=0.7, shown=expected[[2, 25]])
    chosen = selected(
        step(index.schema, diversity=0.7, similarity=AUDIO, bundle=with_own_vectors(**columns)),
        REQUEST,
        c,
        index,
    )
    np.testing.assert_array_equal(chosen.indices, required.indices)
    by_item = selected(step(index.schema, diversity=0.7), REQUEST, c, index)
    assert by_item.indices.tolist() != chosen.indices.tolist()


@pytest.mark.parametrize("step", [Dpp, Mmr, Ssd])
def test_similarity_names_available_vectors_if_missing(step):
    columns, _ = audio()
    with pytest.raises(
        ValueError, match=r"vectors = 'adio': no vectors 'adio' of works; works have \['audio'\]"
    ):
        step(thirty_works(), similarity=Similarity("adio"), bundle=with_own_vectors(**columns))
    with pytest.raises(ValueError, match=r"works have none: set roles\.vector in data\.toml, or take 'item'"):
        step(thirty_works(), similarity=AUDIO, bundle=with_own_vectors())
