"""The study of pre-ranking's cut, on a tiny world."""

import pytest

from karec.lab.simulate.arms import Arm, Arms
from karec.lab.simulate.world import make_world
from karec.lab.studies.prerank_cause import cut_table, measure_cut, parts_tables

pytestmark = pytest.mark.long


def test_prerank_cause_compares_arms_on_the_same_pools(tmp_path, tiny_models):
    arms = Arms(
        (Arm("plain", learn={"towers": {"wide": False}}), Arm("wide")),
        scene={"recall": {"model": False}, "limits": {"recall": 400, "scored": 100, "prerank": 50}},
        learn=tiny_models,
    )
    world = make_world(600, 60, 2_000, seed=3)
    losses = measure_cut(world, arms, tmp_path, tmp_path, seed=3, n_requests=10, parts=True)
    plain, wide = losses["plain"], losses["wide"]
    assert (plain["requests"], plain["pool"]) == (wide["requests"], wide["pool"]) and plain["pool"] > 50
    assert plain["inner_product"] != wide["inner_product"]
    assert 0 <= wide["prerank"]["top10"] <= 1
    rows = cut_table(losses, 3).rows
    assert [row[:2] for row in rows] == [
        ("plain", "score"),
        ("plain", "stage"),
        ("wide", "score"),
        ("wide", "stage"),
    ]
    _, effects, slopes, shares = parts_tables(losses, 3)
    assert "followed creator" in effects.head and len(slopes.rows) == 2 * 4 and len(shares.rows) == 2 * 3
    assert wide["parts"]["effects"]["followed creator"] != plain["parts"]["effects"]["followed creator"]
