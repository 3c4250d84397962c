"""Three hours of the simulated day (bench/service/simulated_day.py) with random models."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from live_bundle import TEXT
from small_bundle import TASKS, write_models

from karec.aggregates.advance import advance
from karec.features.cowatch import CowatchVectors
from karec.features.encoder import Encoder
from karec.features.vocabulary import Vocabulary
from karec.lab.simulate.world import make_world
from karec.refresh.publish_run import publish

BENCH = Path(__file__).parents[2] / "bench" / "service" / "simulated_day.py"


@pytest.fixture
def soaking():
    spec = importlib.util.spec_from_file_location("soak", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def world():
    return make_world(400, 60, 2000)


@pytest.fixture
def demo(tmp_path, world):
    """The output of ``karec demo``: two runs of one encoder, a bundle, a karec.toml."""
    folder, dataset = tmp_path / "demo", world.dataset
    snapshot = advance(dataset.snapshot, dataset.exposures, dataset.valid_until_ms).drop_unpublished()
    watched = snapshot.works.ids[:2]
    cowatch = CowatchVectors(Vocabulary(watched), np.eye(3, 4, dtype=np.float32))
    encoder = Encoder.fit(snapshot, dataset.split()[0], TASKS, history_length=8, min_count=3, cowatch=cowatch)
    for version, name in ((1, "run"), (2, "run-2")):
        (folder / name).mkdir(parents=True)
        encoder.save(folder / name / "encoder.npz")
        write_models(folder / name, encoder, recall=False, version=version)
    publish(folder / "run", snapshot, folder / "bundles")
    text = TEXT.format(state="", more="")
    lines = [line for line in text.splitlines() if line not in ("[live]", 'state = ""', 'events = "events"')]
    lines = [line for line in lines if "follow" not in line]
    (folder / "karec.toml").write_text("\n".join(lines).replace("scenes.city", "scenes.other"))
    return folder


def test_soak_of_3_simulated_hours_makes_no_mistake(soaking, world, demo, tmp_path):
    soak = soaking.Soak(demo, world, tmp_path, soaking.act)
    with soak.live:
        soaking.run(soak, 3, 4)
    assert +soak.mistakes == {}
    assert soak.answered == 12 and {*soak.served} == {1, 2, 3} and soak.told
