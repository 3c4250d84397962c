"""Vectors of works from who watched them: what they say, what a candidate's cosines are, and that they are saved."""

from dataclasses import replace

import numpy as np
import pytest

from karec.cowatch import CROSSES, CowatchVectors
from karec.encoder import Encoder
from karec.errors import BundleError
from karec.kernels.encode import Vocabulary
from karec.learn.cowatch import DIMENSIONS, FEWEST, fit_cowatch
from karec.snapshot import Relation, Snapshot, Table

N_CIRCLES, PER_CIRCLE, USERS_PER_CIRCLE = 20, 12, 40


@pytest.fixture(scope="module")
def snapshot():
    """20 circles of users, each of whom watched seven of their circle's twelve works, some twice; one work of few."""
    generator = np.random.default_rng(3)
    n = N_CIRCLES * PER_CIRCLE + 1
    works = Table(
        np.arange(n) * 3 + 50,
        {name: np.arange(n) % 5 for name in ("creator_id", "song_id", "type", "tag")} | {"upload_ms": np.zeros(n, int)},
    )
    rows, values = [], []
    for user in range(N_CIRCLES * USERS_PER_CIRCLE):
        own = generator.choice(PER_CIRCLE, 7, replace=False) + user % N_CIRCLES * PER_CIRCLE
        watched = [*own, own[0], *([n - 1] if user < FEWEST - 1 else [])]
        rows += [user] * len(watched)
        values += works.ids[watched].tolist()
    users = Table(np.arange(N_CIRCLES * USERS_PER_CIRCLE), {})
    history = Relation.from_pairs(np.array(rows), np.array(values), len(users))
    return Snapshot(0, works, users, {"history": history}, {})


@pytest.fixture(scope="module")
def cowatch(snapshot):
    return fit_cowatch(snapshot, seed=1)


def test_works_of_one_circle_lie_together_and_those_of_others_apart(snapshot, cowatch):
    codes = cowatch.codes(snapshot.works.ids[:-1])
    cosines = cowatch.vectors[codes] @ cowatch.vectors[codes].T
    circle = np.arange(len(codes)) // PER_CIRCLE
    same = (circle[:, None] == circle) & ~np.eye(len(codes), dtype=bool)
    assert cosines[same].mean() > cosines[circle[:, None] != circle].max()


def test_vectors_are_the_leading_singular_ones(snapshot, cowatch):
    codes = cowatch.codes(snapshot.works.ids[:-1])
    history = snapshot.relations["history"]
    b = np.zeros((len(history), len(snapshot.works)))
    for user in range(len(history)):
        b[user, snapshot.works.lookup(history.of(user))] = 1
    b = b[:, :-1]
    a = b / np.sqrt(b.sum(axis=1, keepdims=True) * b.sum(axis=0))
    _, spread, v = np.linalg.svd(a, full_matrices=False)
    assert cowatch.vectors.shape == (len(codes) + 1, DIMENSIONS)
    exact = v[:DIMENSIONS].T * spread[:DIMENSIONS]
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    found = cowatch.vectors[codes].astype(np.float64)
    # The decomposition is drawn: after the circles all directions are of nearly one size, and any of them are as good.
    assert np.abs(found @ found.T - exact @ exact.T).mean() < 0.01


def test_a_work_that_few_had_watched_has_no_vector(snapshot, cowatch):
    few = snapshot.works.ids[-1:]
    assert cowatch.codes(few).tolist() == [0]
    assert cowatch.codes(np.array([-1, 10**12])).tolist() == [0, 0]
    assert not cowatch.vectors[0].any()


def test_the_same_seed_gives_the_same_vectors_and_leaves_other_draws_alone(snapshot, cowatch):
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = fit_cowatch(snapshot, seed=1)
    np.testing.assert_array_equal(again.vectors, cowatch.vectors)
    np.testing.assert_array_equal(torch.rand(3).numpy(), expected.numpy())


def test_where_hardly_anything_was_watched_there_are_none(snapshot):
    history = snapshot.relations["history"]
    short = Relation(np.minimum(history.indptr, 30), history.values[:30])
    assert fit_cowatch(replace(snapshot, relations={"history": short})) is None
    assert fit_cowatch(replace(snapshot, relations={})) is None


def cosines_by_hand(vectors, listed, work):
    found = [float(vectors[slot] @ vectors[work]) for slot in listed if slot > 0]
    return (max(found), sum(found) / len(found)) if found else (0.0, 0.0)


def test_crosses_are_the_cosines_with_what_was_watched_and_passed_over():
    generator = np.random.default_rng(0)
    vectors = np.concatenate([np.zeros((1, 3)), generator.normal(size=(6, 3))]).astype(np.float32)
    cowatch = CowatchVectors(Vocabulary(np.arange(6)), vectors)
    history = np.array([[3, 0, 5, 1], [0, 0, 0, 0], [2, 2, 0, 0]])
    skipped = np.array([[0, 4, 0, 0], [6, 1, 0, 0], [0, 0, 0, 0]])
    works = np.array([2, 5, 0])
    crosses = cowatch.crosses(history, skipped, works)
    assert crosses.shape == (3, len(CROSSES))
    for row, work in enumerate(works):
        best, mean = cosines_by_hand(vectors, history[row], work)
        _, of_skipped = cosines_by_hand(vectors, skipped[row], work)
        np.testing.assert_allclose(crosses[row], [best, mean, of_skipped], rtol=1e-5, atol=1e-6)
    one = cowatch.crosses(history[:1], skipped[:1], works)
    np.testing.assert_array_equal(one, cowatch.crosses(history[[0, 0, 0]], skipped[[0, 0, 0]], works))


def test_a_saved_encoder_keeps_them_and_a_damaged_one_is_refused(dataset, tmp_path):
    generator = np.random.default_rng(2)
    ids = dataset.snapshot.works.ids[:-1]
    vectors = np.concatenate([np.zeros((1, 4)), generator.normal(size=(len(ids), 4))]).astype(np.float32)
    cowatch = CowatchVectors(Vocabulary(np.asarray(ids)), vectors)
    encoder = Encoder.fit(
        dataset.snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=3, cowatch=cowatch
    )
    encoder.save(tmp_path / "encoder.npz")
    loaded = Encoder.load(tmp_path / "encoder.npz")
    assert encoder.names["crosses"][-3:] == CROSSES == loaded.names["crosses"][-3:]
    seen = []
    for each in (encoder, loaded):
        user = each.encode_user(dataset.snapshot, 3, dataset.snapshot.time_ms, 0)
        items = each.encode_items(dataset.snapshot, np.arange(-1, 20), dataset.snapshot.time_ms)
        seen.append(each.encode_crosses(user, items)["crosses"])
    assert seen[0][:, -3:].any()
    assert not seen[0][0, -3:].any()  # the unknown work
    np.testing.assert_array_equal(*seen)
    arrays = dict(np.load(tmp_path / "encoder.npz"))
    arrays["cowatch.vectors"] = arrays["cowatch.vectors"][:-1]
    np.savez(tmp_path / "damaged.npz", **arrays)
    with pytest.raises(BundleError, match=r"cowatch\.vectors has shape \(39, 4\), expected \(40, D\)"):
        Encoder.load(tmp_path / "damaged.npz")
