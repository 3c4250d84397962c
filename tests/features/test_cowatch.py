"""Cosines of a candidate with the items that a user watched and skipped, with and without an encoder."""

import numpy as np
import pytest

from karec.aggregates.advance import advance
from karec.errors import BundleError
from karec.features.cowatch import CROSSES, CowatchVectors
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
