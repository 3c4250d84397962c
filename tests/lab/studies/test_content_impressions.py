"""Hours of uploads to their first impressions: the table, and a tiny world."""

import numpy as np
import pytest

from karec.lab.simulate.population import Sizes
from karec.lab.studies.content_impressions import PlayedUploads, play_uploads, uploads_table
from karec.models.onnx_model import OnnxModel


def test_uploads_table_has_paired_changes_of_the_best_quarter_and_of_all():
    hours = np.array([[24.0, 24.0, 24.0, 24.0], [24.0, 24.0, 24.0, 8.0]])
    counts = np.array([[0, 0, 0, 50], [0, 0, 0, 150]])
    world = PlayedUploads(np.array([1.0, 2.0, 3.0, 4.0]), hours, counts, np.array([[40.0], [41.0]]))
    rows = uploads_table([world, world]).rows
    assert rows[0] == (
        "best quarter, 2 uploads",
        "hours to 100 impressions",
        "24.0",
        "8.0",
        "-16.0 [-16.0, -16.0]",
    )
    assert rows[1][2:] == ("0.0", "100.0", "+100.0 [100.0, 100.0]")
    assert rows[3][:4] == ("all, 8 uploads", "hours to 100 impressions", "24.0", "20.0")
    assert rows[-1][2:] == ("40.0", "41.0", "+1.0 [1.0, 1.0]")


@pytest.mark.long
def test_study_plays_uploads_with_and_without_vectors(tmp_path):
    sizes = Sizes(works=400, users=120, exposures=4_000, days=2, seed=0)
    played = play_uploads(sizes, 12, tmp_path)
    assert played.hours.shape == played.impressions.shape == (2, len(played.appeal))
    assert (played.hours > 0).all() and (played.hours <= 24).all() and played.impressions.sum() > 0
    with_vectors, without = (
        OnnxModel(tmp_path / f"{arm}-vectors" / "run" / "item_tower.onnx").inputs
        for arm in ("with", "without")
    )
    assert "item_content" in with_vectors and "item_content" not in without
