"""Cosines of a candidate with the items that a user watched and skipped, with and without an encoder."""

from dataclasses import replace

import numpy as np
import pytest

from karec.aggregates.advance import advance
from karec.errors import BundleError
from karec.features.cowatch import CROSSES, AlsFactors, CowatchVectors
from karec.features.encoder import Encoder
from karec.features.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def encoder(dataset):
    """An encoder of the small platform with random vectors. Its last item has none."""
    ids = np.asarray(dataset.snapshot.works.ids[:-1])
    vectors = np.concatenate([np.zeros((1, 4)), np.random.default_rng(2).normal(size=(len(ids), 4))])
    cowatch = CowatchVectors(Vocabulary(ids), vectors.astype(np.float32))
    return Encoder.fit(
        dataset.snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=3, cowatch=cowatch
    )


def columns(encoder):
    return [encoder.names["crosses"].index(name) for name in CROSSES]


def test_crosses_have_cosines_with_watched_and_skipped_items(dataset, encoder):
    then = advance(dataset.snapshot, dataset.exposures, dataset.train_until_ms)
    vector_of = dict(zip(encoder.cowatch.works.keys.tolist(), encoder.cowatch.vectors[1:], strict=True))

    def cosines(row, relation, work):
        newest = then.relations[relation].row_values(row)[: -encoder.history_length - 1 : -1].tolist()
        return [float(vector_of[one] @ vector_of[work]) for one in newest if one in vector_of]

    for row, user_id in enumerate(then.users.ids.tolist()):
        user = encoder.encode_user(then, user_id, then.time_ms, 0)
        items = encoder.encode_items(then, np.arange(-1, len(then.works)), then.time_ms)
        crosses = encoder.encode_crosses(user, items)["crosses"][:, columns(encoder)]
        assert not crosses[[0, -1]].any()  # the unknown work, and the one without a vector
        for result, work in zip(crosses[1:-1], then.works.ids[:-1].tolist(), strict=True):
            watched, passed = cosines(row, "history", work), cosines(row, "skipped", work)
            np.testing.assert_allclose(
                result, [max(watched), np.mean(watched), np.mean(passed)], rtol=1e-4, atol=1e-5
            )


def test_rows_read_the_last_moment_that_is_not_after_them(dataset, encoder, tmp_path):
    works, vectors = encoder.cowatch.works, encoder.cowatch.vectors
    past = np.stack([0.5 * vectors, 2 * vectors])
    past[0, 7:] = 0
    start = dataset.snapshot.time_ms
    times = start + np.array([10, 20, 30])
    factors, grams = np.stack([vectors] * 3), np.stack([np.eye(4)] * 3)
    cowatch = CowatchVectors(works, vectors, past, times, AlsFactors(factors, grams))
    replace(encoder, cowatch=cowatch).save(tmp_path / "encoder.npz")
    cowatch = Encoder.load(tmp_path / "encoder.npz").cowatch
    codes = np.array([[1, 9], [1, 9], [1, 9], [0, 9], [1, 9]])
    as_of = start + np.array([9, 10, 29, 29, 30])
    result = cowatch.all_vectors[cowatch.rows_before(codes, as_of)]
    expected = [[0, 0], [past[0, 1], 0], [past[1, 1], past[1, 9]], [0, past[1, 9]], [vectors[1], vectors[9]]]
    for vectors_of_row, expected_of_row in zip(result, expected, strict=True):
        for vector, target in zip(vectors_of_row, expected_of_row, strict=True):
            np.testing.assert_array_equal(vector, np.broadcast_to(target, 4))
    arrays = dict(np.load(tmp_path / "encoder.npz"))
    for name, value, message in (
        ("cowatch.past", past[:, 1:], r"expected float32 \(M, 40, 4\)"),
        ("cowatch.times_ms", times[::-1], "is not 3 ascending int64"),
        ("cowatch.times_ms", times[:2], "is not 3 ascending int64"),
        ("cowatch.als", factors[:2], r"expected float32 \(3, 40, F\)"),
        ("cowatch.grams", grams[:2], r"expected float64 \(3, 4, 4\)"),
    ):
        np.savez(tmp_path / "damaged.npz", **{**arrays, name: value})
        with pytest.raises(BundleError, match=message):
            Encoder.load(tmp_path / "damaged.npz")


def test_loaded_encoder_keeps_vectors_and_refuses_damaged_ones(dataset, encoder, tmp_path):
    encoder.save(tmp_path / "encoder.npz")
    loaded = Encoder.load(tmp_path / "encoder.npz")
    assert loaded.names["crosses"] == encoder.names["crosses"]
    seen = []
    for entry in (encoder, loaded):
        user = entry.encode_user(dataset.snapshot, 3, dataset.snapshot.time_ms, 0)
        items = entry.encode_items(dataset.snapshot, np.arange(-1, 20), dataset.snapshot.time_ms)
        seen.append(entry.encode_crosses(user, items)["crosses"])
    assert seen[0][:, columns(encoder)].any()
    np.testing.assert_array_equal(*seen)
    arrays = dict(np.load(tmp_path / "encoder.npz"))
    arrays["cowatch.vectors"] = arrays["cowatch.vectors"][:-1]
    np.savez(tmp_path / "damaged.npz", **arrays)
    with pytest.raises(
        BundleError,
        match=r"table .cowatch\.vectors. is float32 \(39, 4\), expected float32 "
        r"\(40, D\)",
    ):
        Encoder.load(tmp_path / "damaged.npz")


def test_encoder_for_serving_has_the_newest_moment_and_encodes_equally(dataset, encoder, tmp_path):
    vectors, snapshot = encoder.cowatch.vectors, dataset.snapshot
    past, times = np.stack([0.5 * vectors, 2 * vectors]), snapshot.time_ms - np.array([30, 20, 10])
    factors = np.concatenate([vectors[None], past])
    grams = np.stack([np.eye(4), 2 * np.eye(4), 3 * np.eye(4)])
    cowatch = CowatchVectors(encoder.cowatch.works, vectors, past, times, AlsFactors(factors, grams))
    whole = replace(encoder, cowatch=cowatch)
    served, file = whole.for_serving(), tmp_path / "served.npz"
    served.save(file)
    whole.save(tmp_path / "whole.npz")
    saved_bytes = (tmp_path / "whole.npz").stat().st_size - file.stat().st_size
    assert saved_bytes > past.nbytes + factors[1:].nbytes
    crosses, codes = [], np.arange(1, 6)
    for version in (whole, Encoder.load(file)):
        user = version.encode_user(snapshot, 3, snapshot.time_ms, 0)
        items = version.encode_items(snapshot, np.arange(-1, 20), snapshot.time_ms)
        crosses.append(version.encode_crosses(user, items)["crosses"])
        assert version.cowatch.als.user_vector(codes).tobytes() == cowatch.als.user_vector(codes).tobytes()
    assert crosses[0].any() and crosses[0].tobytes() == crosses[1].tobytes()
    assert served.for_serving().to_arrays().keys() == served.to_arrays().keys()
