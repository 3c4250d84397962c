"""The study of content vectors, on a tiny world."""

import numpy as np
import pytest
from small_settings import LISTS, SMALL

from karec.features.encoder import CONTENT, Encoder
from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.content import content_vectors
from karec.lab.studies.content import content_table, measure_content
from karec.models.onnx_model import OnnxModel

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def world():
    return make_world(600, 60, 2_000, seed=3)


def test_content_study_compares_pages_of_new_works_of_both_trainings(world, tmp_path):
    settings = SMALL.replace(
        fusion={"click": 1.0}, ranker={"auxiliary": ()}, towers={"epochs": 1}, distil=LISTS
    )
    report = measure_content(world, settings, tmp_path, width=12, seeds=[0], n_users=10)
    assert report["works"] > 10 and report["users"] == 10
    for values in report["models"].values():
        assert 0 < values["without vectors"] < 1 and 0 < values["with vectors"] < 1
        assert values["gain"] == pytest.approx(values["with vectors"] - values["without vectors"])
    reads_content = [
        CONTENT in OnnxModel(tmp_path / f"seed-0-{arm}-vectors" / "ranker.onnx").inputs
        for arm in ("without", "with")
    ]
    assert reads_content == [False, True]
    assert Encoder.load(tmp_path / "seed-0-with-vectors" / "encoder.npz").inputs[CONTENT] == (
        "float32",
        (12,),
    )
    assert len(content_table(report).rows) == 2


def test_content_vectors_are_those_of_the_seed_and_similar_for_one_song(world):
    vectors = content_vectors(world.truth, 64, seed=0)
    np.testing.assert_array_equal(vectors, content_vectors(world.truth, 64, seed=0))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    song = world.truth.works.song
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, np.nan)
    same = song[:, None] == song[None]
    assert np.nanmean(similarity[same]) > np.nanmean(similarity[~same]) + 0.1
