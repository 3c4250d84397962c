"""Training, publishing and serving of items with own vectors."""

from dataclasses import replace

import numpy as np
import pytest
from small_settings import LISTS, SMALL

from karec.bundle import Bundle
from karec.catalog.table import Table
from karec.config import load_cascade, open_hot_swap
from karec.config.host_stage import hosted_stages
from karec.config.project import set_up
from karec.errors import BundleError
from karec.evaluate.quality import read_run
from karec.features.encoder import CONTENT
from karec.features.online_inputs import encode_online_items
from karec.learn.run.train import train

WIDTH, HOUR = 6, 3_600_000


@pytest.fixture(scope="module")
def config(dataset, tmp_path_factory):
    """The karec.toml of models of items with vectors, with an online store."""
    out, snapshot = tmp_path_factory.mktemp("content"), dataset.snapshot
    audio = np.random.default_rng(0).normal(size=(len(snapshot.works), WIDTH)).astype(np.float32)
    works = Table(snapshot.works.ids, {**snapshot.works.columns, "audio": audio})
    data = replace(dataset, snapshot=replace(snapshot, works=works))
    settings = SMALL.replace(features={"refresh_hours": 0}, distil=LISTS, evaluation={"baselines": ()})
    train(data, settings, out / "run")
    return set_up(data, out / "run", read_run(out / "run")["settings"], out)


def test_ranker_and_item_tower_read_the_vectors(config):
    bundle = Bundle.open(config.parent / "bundles")
    assert CONTENT in bundle.ranker.inputs
    columns = bundle.snapshot.works.columns
    assert columns["audio"].shape == (len(bundle.snapshot.works), WIDTH)
    cascade = load_cascade(config, "home", bundle)
    (stage,) = [stage for stage in cascade.stages if stage.name == "rank"]
    assert stage.name not in hosted_stages(config, "home"), "C++ hosts cannot encode vectors"


def test_uploaded_items_have_their_vectors_and_invalid_ones_are_missing(config):
    valid = [[1, 2.5, 0, -1, 3, 0.5], np.arange(WIDTH, dtype=np.float32)]
    invalid = [[1.0, 2.0], [1.0, float("nan"), 0, 0, 0, 0], [1e300] * WIDTH, "loud", None]
    now_ms = Bundle.open(config.parent / "bundles").snapshot.time_ms + HOUR
    uploads = [
        {"event": "upload", "item_id": 9000 + at, "creator_id": 5001, "columns": {"audio": vector}}
        for at, vector in enumerate([*valid, *invalid])
    ]
    with open_hot_swap(config, None) as live:
        assert live.record(uploads, now_ms=now_ms).events == len(uploads)
        cascade = live.cascades["home"]
        view = cascade.online.view(1, None)[0]
        works = cascade.bundle.snapshot.works
        ids = np.array([*(upload["item_id"] for upload in uploads), works.ids[4]])
        inputs = encode_online_items(
            cascade.bundle.encoder, cascade.bundle.snapshot, view.items, view.counter_names, ids, now_ms
        )
    expected = np.zeros((len(ids), WIDTH), np.float32)
    expected[:2], expected[-1] = valid, works["audio"][4]
    np.testing.assert_array_equal(inputs[CONTENT], expected)


def test_bundle_with_vectors_of_another_width_is_refused(config, dataset, tmp_path):
    from karec.refresh.publish_run import publish

    with pytest.raises((BundleError, ValueError), match="audio"):
        publish(config.parent / "run", dataset.snapshot, tmp_path / "bundles")
