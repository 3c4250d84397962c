"""The retrieval study: held-out items, the choice of a peer's settings, and popularity."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from karec.errors import DataError
from karec.lab.studies.light_gcn import LAYERS, LightGcn
from karec.lab.studies.retrieval import TOPS, compare_tops, held_out
from karec.lab.studies.retrieval_peers import PEERS, Peer, choose, top_of_peer

NEVER = 2**62


def taken_pairs(dataset, is_wanted):
    """{(user row, work row)} of the main task's positives whose moment is ``is_wanted``."""
    exposures, snapshot = dataset.exposures, dataset.snapshot
    users, works = snapshot.users.lookup(exposures.user_id), snapshot.works.lookup(exposures.work_id)
    rows = np.flatnonzero((exposures.labels[dataset.tasks[0]] == 1) & is_wanted(exposures.time_ms))
    return set(zip(users[rows].tolist(), works[rows].tolist(), strict=True))


def history_pairs(dataset):
    history, works = dataset.snapshot.relations["history"], dataset.snapshot.works
    return {
        (row, int(work))
        for row in range(len(history))
        for work in works.lookup(history.row_values(row))
        if work >= 0
    }


def test_held_out_items_are_new_in_their_days(dataset):
    held = held_out(dataset, dataset.valid_until_ms, NEVER)
    known_pairs = history_pairs(dataset) | taken_pairs(dataset, lambda time: time < dataset.valid_until_ms)
    expected = taken_pairs(dataset, lambda time: time >= dataset.valid_until_ms) - known_pairs
    assert set(zip(held.users[held.user].tolist(), held.work.tolist(), strict=True)) == expected
    assert len(held.work) == len(expected)
    assert set(zip(*(at.tolist() for at in held.matrix.nonzero()), strict=True)) == known_pairs
    for row, user in enumerate(held.users):
        known_works = held.known_works[row]
        assert set(known_works[known_works >= 0].tolist()) == {
            work for of_user, work in known_pairs if of_user == user
        }


def test_held_out_rejects_days_without_new_items(dataset):
    with pytest.raises(DataError, match="nothing is held out"):
        held_out(dataset, NEVER - 1, NEVER)


def test_popularity_excludes_the_users_items(dataset):
    held = held_out(dataset, dataset.valid_until_ms, NEVER)
    top = top_of_peer(PEERS[0], held.matrix, {}, held.users, 10, 0)
    counts = np.asarray(held.matrix.sum(axis=0)).ravel()
    for row, user in enumerate(held.users):
        own = set(held.matrix[user].indices.tolist())
        expected = sorted(set(range(40)) - own, key=lambda work: (-counts[work], work))[:10]
        assert top[row].tolist() == expected


def test_search_tries_each_setting_once():
    peer = Peer("made up", lambda *_: None, {"a": 1, "b": 1}, {"a": (1, 2, 3), "b": (1, 2, 3)})
    best, tried = choose(peer, lambda settings: -abs(settings["a"] - settings["b"]) + 2 * settings["b"])
    assert best == {"a": 3, "b": 3}
    assert len({tuple(settings.items()) for settings, _ in tried}) == len(tried)


@pytest.mark.parametrize("peer", PEERS[1:], ids=lambda peer: peer.name)
def test_peer_is_deterministic_and_excludes_known_items(dataset, peer):
    held = held_out(dataset, dataset.valid_until_ms, NEVER)
    top = top_of_peer(peer, held.matrix, dict(peer.start), held.users, 100, 0)  # of 40 works
    np.testing.assert_array_equal(top, top_of_peer(peer, held.matrix, dict(peer.start), held.users, 100, 0))
    for row, user in enumerate(held.users):
        answered = top[row][top[row] >= 0].tolist()
        assert len(answered) == len(set(answered)) and not set(answered) & set(
            held.matrix[user].indices.tolist()
        )


def test_model_is_compared_with_the_best_peer(dataset):
    held = held_out(dataset, dataset.valid_until_ms, NEVER)
    everything = np.tile(np.pad(np.arange(40), (0, TOPS[-1] - 40), constant_values=-1), (len(held.users), 1))
    nothing = np.full_like(everything, -1)
    table = compare_tops(
        {"one": nothing, "other": everything, "model": everything}, held, ["one", "other"], 50, 0
    )
    assert table["model"]["recall@100"]["best_peer"] == "other"
    assert table["model"]["recall@100"]["value"] == 1.0 and table["model"]["recall@100"]["over_ci"] == (
        0.0,
        0.0,
    )
    assert table["one"]["recall@100"]["over"] == -1.0


def test_light_gcn_vectors_are_the_mean_over_layers_of_the_graph():
    choices = np.array([[1, 1, 0], [0, 1, 1]], np.float32)
    model = LightGcn(csr_matrix(choices), dim=4, penalty=0.0, seed=0)
    adjacency = np.block([[np.zeros((2, 2)), choices], [choices.T, np.zeros((3, 3))]])
    degree = adjacency.sum(axis=1)
    layer = model.table.weight.detach().numpy()
    layers = [layer]
    for _ in range(LAYERS):
        layer = (adjacency / np.sqrt(np.outer(degree, degree))) @ layer
        layers.append(layer)
    np.testing.assert_allclose(model.vectors().detach().numpy(), np.mean(layers, axis=0), atol=1e-6)
