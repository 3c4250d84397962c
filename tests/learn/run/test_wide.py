"""Training, publishing and serving of wide towers."""

import dataclasses
import shutil
from functools import partial

import numpy as np
import pytest
from small_settings import LISTS, SMALL

from karec.bundle import Bundle
from karec.bundle.tower_files import CROSS_WEIGHTS
from karec.catalog.dataset import Dataset
from karec.config import load_cascade
from karec.config.project import set_up
from karec.errors import BundleError
from karec.evaluate import agreement
from karec.evaluate.agreement import RankedPools
from karec.evaluate.funnel import recalled_pools
from karec.evaluate.model_pages import TOWERS, model_pages
from karec.evaluate.pages import validation_requests
from karec.evaluate.quality import evaluate_run, read_run, tower_logits, trained_run
from karec.features.cross_tables import CrossWeights
from karec.features.user_vectors import user_query, user_tables
from karec.learn.run.train import train
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.pipeline.types import Request
from karec.refresh.publish_run import publish

WIDE = SMALL.replace(
    optimizer={"learning_rate": 0.02},
    distil=LISTS,
    evaluation={"baselines": ()},
    run={"final_fit": False},
)


@pytest.fixture(scope="module")
def config(dataset: Dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("wide")
    train(dataset, WIDE, out / "run")
    return set_up(dataset, out / "run", read_run(out / "run")["settings"], out)


def weights_of(config):
    (tables,) = Bundle.open(config.parent / "bundles").cross_tables.values()
    return tables.weights


def test_wide_towers_learn_weights_of_cross_features(config):
    assert np.abs(weights_of(config).weights).max(axis=(1, 2)).min() > 0.01


def test_inner_product_orders_by_vectors_and_cross_features(config):
    bundle = Bundle.open(config.parent / "bundles")
    cascade = load_cascade(config, "home", bundle)
    snapshot, encoder = bundle.snapshot, bundle.encoder
    user = int(snapshot.users.ids[1])
    request = Request(user, time_ms=snapshot.time_ms, view=bundle.index.pinned())
    (pool,) = recalled_pools(dataclasses.replace(cascade, naming=None), bundle.index, [request])
    inputs = encoder.encode_user(snapshot, user, snapshot.time_ms, 0)
    (vector,) = bundle.user_tower.run(inputs, "user_vector")
    items = encoder.encode_items(snapshot, np.arange(len(snapshot.works)), snapshot.time_ms)
    terms = weights_of(config).terms(encoder.encode_crosses(inputs, items)["crosses"]).sum(axis=1)
    products = bundle.index.embeddings(np.arange(len(terms), dtype=np.int32)) @ vector[0]
    expected = np.sort(products + terms)[::-1]
    assert not np.allclose(np.sort(products)[::-1], expected, atol=1e-3)
    found = np.sort(pool.prerank)[::-1]
    assert all(np.isclose(expected, score, atol=1e-5).any() for score in found) and len(found) > 5


def test_source_model_finds_the_best_by_vectors_and_cross_features(config):
    bundle = Bundle.open(config.parent / "bundles")
    cascade = load_cascade(config, "home", bundle)
    (source,) = [source for source in cascade.recall.sources if source.name == "model"]
    user = int(bundle.snapshot.users.ids[1])
    with bundle.index.pinned() as view:
        request, _ = cascade.hydrate(Request(user, time_ms=bundle.snapshot.time_ms).with_view(view))
        found = source.recall(request)
        tables = user_tables(request)
        assert tables is not None
        scores = view.scores(user_query(request), rows=np.arange(view.n_rows), tables=tables)
        best = np.argsort(-scores, kind="stable")[: source.quota]
        np.testing.assert_array_equal(found.ids, view.ids[best])
        np.testing.assert_array_equal(found.scores, scores[best])
        np.testing.assert_array_equal(found.rows, best)


def test_pages_of_towers_depend_on_the_cross_weights(config, dataset):
    requests = validation_requests(dataset)
    folder = config.parent / "run"
    settings = read_run(folder)["settings"]
    with_terms = model_pages(dataset, requests, folder, settings)[TOWERS]
    weights = folder / CROSS_WEIGHTS
    aside = weights.rename(folder / "aside")
    try:
        without = model_pages(dataset, requests, folder, settings)[TOWERS]
    finally:
        aside.rename(weights)
    assert (with_terms != without).any()


def test_tower_logits_have_the_terms_of_each_task(config, dataset):
    folder = config.parent / "run"
    run, test = trained_run(dataset, folder)
    towers = [OnnxModel(folder / f"{side}_tower.onnx") for side in ("user", "item")]
    weights = CrossWeights.load(folder / CROSS_WEIGHTS, test.encoder)
    plain, wide = (tower_logits(test, *towers, run["towers"], 1, one) for one in (None, weights))
    inputs = test.inputs(np.arange(len(test)))
    (slopes,) = towers[0].run(inputs, "slopes")
    for task, name in enumerate(dataset.tasks):
        terms = weights.terms(inputs["crosses"], 1 + task).sum(axis=1)
        expected = run["towers"]["scale"][name] * slopes[:, 1 + task] * terms
        np.testing.assert_allclose(wide[:, task] - plain[:, task], expected, atol=1e-4)


def test_quality_reports_the_agreement_of_both_parts(config, dataset, monkeypatch):
    monkeypatch.setattr(agreement, "TOPS", (2, 5))
    folder = config.parent / "run"
    measured = evaluate_run(dataset, folder)["agreement"]
    run, test = trained_run(dataset, folder)
    ranker, fusion = OnnxModel(folder / "ranker.onnx"), ObjectiveWeights(run["settings"]["fusion"])
    pools = RankedPools.from_ranker(test, ranker, fusion, seed=run["settings"]["seed"])
    assert measured["pools"] == len(np.unique(test.user_rows)) and measured["items"] == 40
    towers = [OnnxModel(folder / f"{side}_tower.onnx") for side in ("user", "item")]
    weights = CrossWeights.load(folder / CROSS_WEIGHTS, test.encoder)

    def scores(row, items, has_terms=True):
        inputs = test.pool(row, items)
        products = towers[1].run(inputs, "item_vector")[0] @ towers[0].run(inputs, "user_vector")[0][0]
        return products + has_terms * weights.terms(inputs["crosses"]).sum(axis=1)

    assert measured["top5"] == pytest.approx(pools.agreement(scores))
    assert measured["top5"] != pytest.approx(pools.agreement(partial(scores, has_terms=False)))


def test_publish_refuses_weights_that_are_not_finite(config, dataset, tmp_path):
    run = shutil.copytree(config.parent / "run", tmp_path / "run")
    weights = weights_of(config)
    dataclasses.replace(weights, weights=weights.weights * np.nan).save(run / CROSS_WEIGHTS)
    with pytest.raises(BundleError, match=r"cross_weights\.npz: weights"):
        publish(run, dataset.snapshot, tmp_path / "bundles")


def test_bundle_without_weights_orders_by_the_inner_product(config, dataset, tmp_path):
    run = shutil.copytree(config.parent / "run", tmp_path / "run")
    (run / CROSS_WEIGHTS).unlink()
    bundle = Bundle.open(publish(run, Bundle.open(config.parent / "bundles").snapshot, tmp_path / "bundles"))
    assert not bundle.cross_tables and not bundle.index.code_columns
    with bundle.index.pinned() as view:
        request = Request(1, time_ms=bundle.snapshot.time_ms).with_view(view)
        request, _ = load_cascade(config, "home", bundle).hydrate(request)
        assert user_tables(request) is None


def test_towers_without_lists_have_no_wide_part(dataset, tmp_path):
    train(dataset, WIDE.with_recipe("hard").replace(towers={"epochs": 1}), tmp_path / "run", evaluate=False)
    assert not (tmp_path / "run" / CROSS_WEIGHTS).exists()
