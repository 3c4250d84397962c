"""One user vector for each model version of the index, and the steps that search with it."""

import numpy as np
import pytest
from small_tower import write_user_tower

from karec.errors import ContractError, Unavailable
from karec.features.user_vectors import user_query
from karec.index import ItemIndex
from karec.pipeline.checks import hydrate_request
from karec.pipeline.types import Request
from karec.steps.query.user_tower import UserTower

DIM = 5
NUMBERS = np.array([[0.25, -1.5]], np.float32)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    return {version: write_user_tower(folder / f"{version}.onnx", version, DIM) for version in (6, 7)}


def index_of(*versions):
    """Returns an index with three items of each version."""
    rng = np.random.default_rng(0)
    first, *rest = versions
    index = ItemIndex.build(np.arange(3), rng.standard_normal((3, DIM)), model_version=first)
    for at, version in enumerate(rest, 1):
        index.upsert(np.arange(3 * at, 3 * at + 3), rng.standard_normal((3, DIM)), model_version=version)
    return index


def make_request(index):
    features = {"user_ids": np.zeros((1, 1), np.int64), "user_numbers": NUMBERS}
    return Request(1, view=index.pinned()).with_features(features)


def by_hand(version):
    vector = NUMBERS @ np.random.default_rng(version).standard_normal((2, DIM)).astype(np.float32)
    return vector[0] / np.linalg.norm(vector)


@pytest.mark.parametrize("versions", [(6,), (7,), (6, 7)])
def test_user_tower_uses_the_tower_of_each_version(towers, versions):
    features, notes = hydrate_request(UserTower(towers), make_request(index_of(*versions)))
    assert features["user_vector_versions"].tolist() == list(versions)
    assert features["user_vector_versions"].dtype == np.int64
    np.testing.assert_allclose(features["user_vector"], [by_hand(v) for v in versions], rtol=1e-5)
    assert notes == {}


def test_user_tower_returns_the_towers_bits_for_one_version(towers):
    (features, _), (plain,) = (
        hydrate_request(UserTower(towers), make_request(index_of(7))),
        towers[7].run({"user_numbers": NUMBERS}, "user_vector"),
    )
    assert features["user_vector"].tobytes() == plain.tobytes() and features["user_vector"].shape == (1, DIM)


def test_user_tower_skips_versions_without_a_tower(towers):
    features, _ = hydrate_request(UserTower(towers), make_request(index_of(6, 8, 9)))
    assert features["user_vector_versions"].tolist() == [6] and len(features["user_vector"]) == 1


def test_user_tower_is_unavailable_without_a_tower_of_any_version(towers):
    with pytest.raises(
        Unavailable, match=r"vectors of model versions \[8\], there are user towers of \[6, 7\]"
    ):
        UserTower(towers).hydrate_request(make_request(index_of(8)))


def test_user_query_of_an_empty_index_finds_nothing(towers):
    index = index_of(7)
    index.remove(np.arange(3))
    features, _ = hydrate_request(UserTower(towers), make_request(index))
    query = user_query(make_request(index).with_features(features))
    assert len(index.search(query, 3, rows=np.zeros(0, np.int32)).ids) == 0


def test_user_tower_needs_the_inputs_of_its_towers(towers):
    assert UserTower(towers).needs == ("request.user_numbers",)
    with pytest.raises(ContractError, match="put the step user_features before it"):
        UserTower(towers).hydrate_request(Request(1))


def test_user_query_is_one_vector_for_an_index_of_one_version(towers):
    request = make_request(index_of(7))
    vectors = np.arange(10, dtype=np.float32).reshape(2, 5)
    request = request.with_features({"user_vector": vectors, "user_vector_versions": np.array([6, 7])})
    query = user_query(request)
    assert query.tobytes() == vectors[1].tobytes()


def test_user_query_is_by_version_for_an_index_of_several_versions():
    for versions in ((6, 7), (8,)):
        vectors = np.ones((2, DIM), np.float32)
        request = make_request(index_of(*versions))
        query = user_query(
            request.with_features({"user_vector": vectors, "user_vector_versions": np.array([6, 7])})
        )
        assert query.keys() == {6, 7}


def test_user_vector_without_version_needs_an_index_of_one_version():
    vector = np.ones((1, DIM), np.float32)
    query = user_query(make_request(index_of(8)).with_features({"user_vector": vector}))
    assert query.tobytes() == vector[0].tobytes()
    with pytest.raises(
        ContractError, match=r"of model versions \[6, 7\], and the request has 1 user vectors without"
    ):
        user_query(make_request(index_of(6, 7)).with_features({"user_vector": vector}))


def test_user_query_names_the_step_of_a_missing_user_vector():
    with pytest.raises(Unavailable, match=r"has no user_vector: the step that gives it failed"):
        user_query(make_request(index_of(7)))
