"""Models: trees of the ranker compared with ONNX Runtime and LightGBM, towers, and steps of training."""

from __future__ import annotations

import lightgbm
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import workloads

from karec.config import open_bundle
from karec.lab.simulate.world import make_world
from karec.learn._torch import torch, torch_threads
from karec.learn.distil.distillation import new_towers
from karec.learn.export.trees import export_trees
from karec.learn.fit.loop import fit, shuffle
from karec.learn.fit.prepare import prepare
from karec.learn.run.lightgbm import trees_to_onnx
from karec.learn.run.rankers import build_ranker, ranker_loss
from karec.learn.settings.settings import TrainSettings
from karec.models.onnx_model import OnnxModel
from karec.models.trees import load_trees

TREES, ROWS, FEATURES = 60, 1000, 20
SETTINGS = TrainSettings().replace(ranker={"kind": "mmoe"}, optimizer={"batch_size": 512})


def session_of(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options)


@pytest.mark.parametrize("leaves", [31, 127, 255])
def test_trees(compare, leaves, tmp_path):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(30_000, FEATURES)).astype(np.float32)
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + generator.normal(size=len(x)) > 0
    settings = {"objective": "binary", "num_leaves": leaves, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y.astype(int)), TREES)
    onnx.save_model(trees_to_onnx([booster], FEATURES), str(tmp_path / "trees.onnx"))
    export_trees(tmp_path / "trees.onnx")
    (trees,) = load_trees(tmp_path / "trees.onnx").trees
    session, rows = session_of(tmp_path / "trees.onnx"), x[:ROWS].copy()
    ways = {
        "ONNX Runtime": lambda: session.run(None, {"dense": rows})[0][:, 0],
        "LightGBM": lambda: booster.predict(rows, raw_score=True, num_threads=1),
    }
    run_karec = lambda: trees.ensemble.scores(rows)[0]  # noqa: E731
    assert np.array_equal(run_karec(), ways["ONNX Runtime"]())
    size = f"{ROWS} rows, {TREES} trees of {leaves} leaves"
    compare("models: trees", size, run_karec, ways, items=ROWS * TREES)


def test_ranker(compare, world):
    """Logits of 1,000 items of a user: row sums and the rest, and ONNX Runtime with the whole model."""
    bundle = open_bundle(world)
    encoder, snapshot = bundle.encoder, bundle.snapshot
    user = int(snapshot.users.ids[int(np.argmax(np.diff(snapshot.relations["history"].indptr)))])
    inputs = encoder.encode_user(snapshot, user, snapshot.time_ms, 0)
    rows = np.random.default_rng(0).choice(len(snapshot.works), ROWS, replace=len(snapshot.works) < ROWS)
    items = encoder.encode_items(snapshot, rows, snapshot.time_ms)
    inputs = {**inputs, **items, **encoder.encode_crosses(inputs, items)}
    ranker, plain = bundle.ranker, OnnxModel(bundle.ranker.path, plain=True)
    if not ranker.row_sums_bytes:
        pytest.skip(f"{ranker.path} has no row sums")
    difference = np.abs(ranker.run(inputs, "logits")[0] - plain.run(inputs, "logits")[0]).max()
    print(
        f"row sums of {ranker.row_sums_bytes:,} bytes; logits differ by at most {difference:.1e}", flush=True
    )
    peers = {"ONNX Runtime": lambda: plain.run(inputs, "logits")}
    compare("models: ranker", f"{ROWS} items", lambda: ranker.run(inputs, "logits"), peers, items=ROWS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Encoded days of a world in which a user has 8 rows an hour and scene, as in the demo."""
    dataset = make_world(*workloads.TRAINING_WORLD, seed=0).dataset
    return prepare(dataset, SETTINGS.resolve(dataset), tmp_path_factory.mktemp("prepared"))


@pytest.mark.parametrize("kind", ["ranker", "towers"])
def test_training(compare, prepared, kind):
    """Steps of 512 rows. The baseline reads random rows, each with its own copy of the user's inputs."""
    train, tasks = prepared.train_batches, prepared.encoder.tasks
    settings, weights = SETTINGS.replace(features={"history_length": 100}), torch.ones(len(tasks))
    is_ranker = kind == "ranker"
    model = build_ranker("mmoe", prepared, settings, ()) if is_ranker else new_towers(prepared, settings)
    first = max(len(train) - workloads.TRAINED_ROWS, 0)  # the newest rows have the longest histories
    n = len(train) - first

    def train_rows(read, groups):
        def order(generator):
            return shuffle(n, settings.optimizer.batch_size, generator, groups)

        def loss(rows, _):
            inputs = read(first + rows, model.inputs)
            logits = model.by_member(inputs) if is_ranker else model(inputs)[:, None, 1:]
            return ranker_loss(logits, train.labels[first + rows], tasks, weights)

        fit(model, n, loss, None, order=order, optimizer=settings.optimizer, epochs=1, seed=0, title=kind)

    def run_karec():
        train_rows(train.inputs_by_user, train.sides[first:])

    peers = {"user inputs per row": lambda: train_rows(train.inputs, None)}
    with torch_threads(1):
        compare(f"models: training {kind}", f"{n:,} rows", run_karec, peers, items=n)


@pytest.mark.parametrize("n", [1, 4096])
def test_towers(compare, world, n):
    """The user tower for one user, as in a request; the item tower for a batch, as in a refresh."""
    bundle = open_bundle(world)
    encoder, snapshot = bundle.encoder, bundle.snapshot
    if n == 1:
        user = int(snapshot.users.ids[int(np.argmax(np.diff(snapshot.relations["history"].indptr)))])
        inputs = encoder.encode_user(snapshot, user, snapshot.time_ms, 0)
        compare("models: user tower", "1 user", lambda: bundle.user_tower.run(inputs, "user_vector"), items=1)
        return
    rows = np.arange(n) % len(snapshot.works)
    inputs = encoder.encode_items(snapshot, rows, snapshot.time_ms)
    compare("models: item tower", f"{n} items", lambda: bundle.item_tower.run(inputs, "item_vector"), items=n)
