"""Own vectors of items in ranker, serving form, towers and logistic regression."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from karec.catalog.table import Table
from karec.errors import DataError
from karec.features.encoder import CONTENT, Encoder
from karec.learn.distil.tower_logits import item_vectors
from karec.learn.fit.batches import Batches
from karec.learn.nets.calibration import Calibrated
from karec.learn.nets.logistic_regression import LogisticRegression
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.nets.served_ranker import ServedRanker
from karec.learn.nets.towers import Towers
from karec.samples.examples import build_examples

WITHOUT_VECTOR = 3  # row of a work


@pytest.fixture(scope="module")
def examples(dataset):
    """Examples of works with two columns of vectors, one of them missing for a work."""
    snapshot, generator = dataset.snapshot, np.random.default_rng(5)
    audio, text = (generator.normal(2, 3, (len(snapshot.works), n)).astype(np.float32) for n in (5, 2))
    audio[WITHOUT_VECTOR], text[WITHOUT_VECTOR] = 0, 0
    works = Table(snapshot.works.ids, {**snapshot.works.columns, "text": text, "audio": audio})
    snapshot = replace(snapshot, works=works)
    encoder = Encoder.fit(snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=3)
    return build_examples(encoder, snapshot, dataset.exposures)


@pytest.fixture(scope="module")
def batches(examples):
    return Batches.from_examples(examples, ("user_id", *MmoeRanker.inputs, *Towers.inputs))


def make_model(model, examples, batches):
    """Returns a model with weights far from zero, so that a difference would show."""
    torch.manual_seed(0)
    result = model(examples.encoder, batches.edges(4))
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return result.eval()


def run(module, inputs):
    with torch.no_grad():
        return module({name: torch.from_numpy(inputs[name]) for name in module.inputs}).numpy()


def test_vectors_that_are_all_missing_are_refused(examples):
    works = examples.snapshot.works
    columns = {**works.columns, **{name: np.zeros_like(works[name]) for name in ("audio", "text")}}
    snapshot = replace(examples.snapshot, works=Table(works.ids, columns))
    without = build_examples(examples.encoder, snapshot, examples.exposures)
    with pytest.raises(DataError, match=r"vectors of all shown items are missing.*roles\.vector"):
        Batches.from_examples(without, ("user_id", *Towers.inputs)).edges(4)


def test_item_content_is_both_vectors_in_the_order_of_names(examples, batches):
    works = examples.snapshot.works
    rows = np.array([5, 0, -1, WITHOUT_VECTOR])
    content = examples.encoder.encode_items(examples.snapshot, rows, examples.snapshot.time_ms)[CONTENT]
    expected = np.concatenate([works["audio"], works["text"]], axis=1)[rows]
    expected[2] = 0
    np.testing.assert_array_equal(content, expected)
    assert not content[3].any()
    assert examples.encoder.inputs[CONTENT] == ("float32", (7,))
    np.testing.assert_array_equal(batches.item_content(torch.from_numpy(rows)).numpy(), expected)
    of_rows = batches.inputs(torch.arange(20), (CONTENT,))[CONTENT].numpy()
    np.testing.assert_array_equal(of_rows, examples.own_items(np.arange(20))[CONTENT])


def test_vectors_of_further_items_follow_those_of_the_snapshot(examples):
    snapshot, works = examples.snapshot, examples.snapshot.works
    further = replace(snapshot, works=works.take(np.array([7, 2])))
    rows = np.array([len(works) + 1, -1, 4, len(works)])
    content = examples.encoder.encode_items(snapshot, rows, snapshot.time_ms, more=further)[CONTENT]
    expected = np.concatenate([works["audio"], works["text"]], axis=1)[[2, 0, 4, 7]]
    expected[1] = 0
    np.testing.assert_array_equal(content, expected)


def test_stored_encoder_reads_the_same_vectors(examples, tmp_path):
    examples.encoder.save(tmp_path / "encoder.npz")
    stored = Encoder.load(tmp_path / "encoder.npz")
    rows, time_ms = np.arange(10), examples.snapshot.time_ms
    old, new = (
        encoder.encode_items(examples.snapshot, rows, time_ms) for encoder in (examples.encoder, stored)
    )
    np.testing.assert_array_equal(old[CONTENT], new[CONTENT])


def test_encoder_refuses_vectors_of_another_width(examples):
    works = examples.snapshot.works
    narrow = replace(
        examples.snapshot, works=Table(works.ids, {**works.columns, "audio": works["audio"][:, :4]})
    )
    with pytest.raises(ValueError, match=r"'audio' has shape \(40, 4\), expected vectors of 5 numbers"):
        examples.encoder.encode_items(narrow, np.arange(3), narrow.time_ms)


@pytest.mark.parametrize("model", [MmoeRanker, LogisticRegression, Towers])
def test_model_output_depends_on_the_vectors_of_the_item(examples, batches, model):
    built = make_model(model, examples, batches)
    inputs = examples.inputs(np.arange(50))
    logits = run(built, inputs)
    other = run(built, {**inputs, CONTENT: inputs[CONTENT][::-1].copy()})
    is_same = (inputs[CONTENT] == inputs[CONTENT][::-1]).all(axis=1)
    assert (np.abs(logits - other).max(axis=1) > 1e-4).tolist() == (~is_same).tolist()


def test_item_without_a_vector_has_the_logits_of_an_average_vector(examples, batches):
    """A missing vector adds nothing: its projection equals that of the mean."""
    ranker = make_model(MmoeRanker, examples, batches)
    mean = batches.edges(4)[CONTENT][:, 0]
    inputs = examples.inputs(np.arange(20))
    missing, average = (
        run(ranker, {**inputs, CONTENT: np.tile(vector, (20, 1))})
        for vector in (np.zeros(7, np.float32), mean.numpy())
    )
    np.testing.assert_allclose(missing, average, atol=1e-5)


def test_served_ranker_with_vectors_equals_the_trained_ranker(examples, batches):
    ranker = make_model(MmoeRanker, examples, batches)
    scale, bias = np.ones(3, np.float32), np.zeros(3, np.float32)
    calibrated = Calibrated(ranker, scale, bias).eval()
    inputs = examples.inputs(np.arange(0, 600, 3))
    np.testing.assert_allclose(
        run(ServedRanker(calibrated, ranker), inputs), run(ranker, inputs), atol=2e-5, rtol=2e-5
    )


def test_vectors_of_list_items_equal_those_of_examples(examples, batches):
    towers = make_model(Towers, examples, batches)
    rows = np.arange(6)
    items = examples.own_items(rows)
    with torch.no_grad():
        vectors = item_vectors(
            towers,
            batches,
            torch.from_numpy(examples.item_rows[rows].reshape(2, 3)),
            torch.from_numpy(items["item_numbers"].reshape(2, 3, -1)),
        )
        expected = towers.item({name: torch.from_numpy(items[name]) for name in towers.item.inputs})
    torch.testing.assert_close(vectors.reshape(6, -1), expected)
