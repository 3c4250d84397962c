"""The ceiling of a list evaluator, on a tiny world."""

from dataclasses import replace

import pytest

from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.satiation import KUAIRAND
from karec.lab.studies.list_ceiling import list_ceiling_table, measure_list_ceiling

pytestmark = pytest.mark.long


def test_list_ceiling_is_highest_for_true_values(tmp_path, tiny_models):
    world = make_world(600, 60, 2_000, seed=3, satiation=replace(KUAIRAND, scale=3.0))
    found = measure_list_ceiling(world, tmp_path, seed=3, n_requests=10, learn=tiny_models)
    lists = {name: change["value"] for name, change in found.items() if "greedy" not in name}
    assert lists["truth"] == max(lists.values()) > 0 > lists["score order"] - lists["truth"]
    assert found["truth, greedy"]["value"] > lists["truth"]
    assert [row[0] for row in list_ceiling_table([found, found]).rows] == list(found)


def test_list_evaluator_gains_nothing_in_a_world_without_satiation(tmp_path, tiny_models):
    world = make_world(600, 60, 2_000, seed=3, satiation=replace(KUAIRAND, scale=0.0))
    found = measure_list_ceiling(world, tmp_path, seed=3, n_requests=10, learn=tiny_models)
    for name in ("ranker", "ranker, greedy"):
        with_satiation = found[name.replace("ranker", "ranker, satiation")]
        assert with_satiation == pytest.approx(found[name], abs=1e-4)  # percent; pages of equal items tie
