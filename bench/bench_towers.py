"""The towers as they serve and refresh: one user on one thread, the catalogue on two, in float32 and int8.

Trained for one epoch on few exposures: what a tower costs does not depend on how good it is. The user is one
with a whole history; 100,000 works are encoded in batches of 8,192, as a refresh does. `extra_info` holds
works a second.
"""

import numpy as np
import pytest
import workloads

from karec.features.encoder import Encoder
from karec.lab.simulate.world import make_world
from karec.learn.export.quantised import quantise
from karec.learn.run.train import train_all
from karec.learn.settings.sections import EvaluationSettings, RankerSettings, TowerSettings
from karec.learn.settings.train import TrainSettings
from karec.models.onnx_model import OnnxModel
from karec.platform.folds.advance import advance
from karec.refresh.item_vectors import BATCH

PRECISIONS = ("float32", "int8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run folder, encoder, snapshot): the towers of a world of 100,000 works, in both precisions."""
    folder = tmp_path_factory.mktemp("towers")
    dataset = make_world(*workloads.TOWERS_WORLD, seed=0).dataset
    once = TrainSettings(
        ranker=RankerSettings(epochs=1),
        towers=TowerSettings(epochs=1),
        evaluation=EvaluationSettings(baselines=(), resamples=2),
    )
    train_all(dataset, once, folder)
    for name in ("user_tower", "item_tower"):
        (folder / f"{name}.onnx").rename(folder / f"{name}.float32.onnx")
        quantise(folder / f"{name}.float32.onnx", folder / f"{name}.int8.onnx")
    snapshot = advance(dataset.snapshot, dataset.exposures, dataset.valid_until_ms)
    return folder, Encoder.load(folder / "encoder.npz"), snapshot


@pytest.mark.parametrize("precision", PRECISIONS)
def test_user_tower_of_one(benchmark, trained, precision):
    folder, encoder, snapshot = trained
    tower = OnnxModel(folder / f"user_tower.{precision}.onnx", threads=1)
    lengths = np.diff(snapshot.relations["history"].indptr)
    user = int(snapshot.users.ids[int(np.argmax(lengths))])
    features = encoder.encode_user(snapshot, user, snapshot.time_ms, 0)
    benchmark(lambda: tower.run(features, "user_vector"))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("encoded", [True, False], ids=["tower alone", "encoder and tower"])
def test_item_tower_over_the_catalogue(benchmark, trained, precision, encoded):
    folder, encoder, snapshot = trained
    tower = OnnxModel(folder / f"item_tower.{precision}.onnx", threads=2)
    n_works = len(snapshot.works)
    batches = [np.arange(begin, min(begin + BATCH, n_works)) for begin in range(0, n_works, BATCH)]
    items = [encoder.encode_items(snapshot, rows, snapshot.time_ms) for rows in batches]

    def over_all():
        for at, rows in enumerate(batches):
            tower.run(
                items[at] if encoded else encoder.encode_items(snapshot, rows, snapshot.time_ms),
                "item_vector",
            )

    benchmark.pedantic(over_all, rounds=7, warmup_rounds=1)
    if benchmark.stats is not None:  # None where nothing is measured: --benchmark-disable
        benchmark.extra_info["works a second"] = round(n_works / benchmark.stats.stats.median)
