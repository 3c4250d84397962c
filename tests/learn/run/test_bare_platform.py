"""Tests a platform without column roles and with its own label names."""

from dataclasses import replace

import numpy as np
import pytest
from small_settings import SMALL

from karec.aggregates.advance import advance
from karec.catalog.dataset import Dataset
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.config.project import set_up
from karec.evaluate.quality import read_run
from karec.lab.demo.serve import measure_pages, serve
from karec.learn.run.train import train

MEANING = Meaning(enjoyed=("buy",), liked=("stars",))


@pytest.fixture(scope="module")
def bare(dataset):
    """The small dataset's exposures as those of a shop: users and items have no column and no relation."""
    old = dataset.exposures
    labels = {"buy": old.labels["click"], "stars": old.labels["like"]}
    exposures = replace(old, labels=labels, play_ms=None, scene=np.zeros(len(old), np.int32))
    ids = (Table(table.ids, {}) for table in (dataset.snapshot.works, dataset.snapshot.users))
    start = Snapshot(dataset.snapshot.time_ms, *ids, {}, {"scene": ["shop"]}, meaning=MEANING)
    snapshot = advance(start, exposures, start.time_ms)
    return Dataset(
        "shop", snapshot, exposures, dataset.train_until_ms, dataset.valid_until_ms, ("buy", "stars")
    )


def test_platform_without_roles_trains_and_serves(bare, tmp_path):
    settings = SMALL.replace(
        fusion={}, ranker={"auxiliary": ("followed", "play_time")}, towers={"matching": True}
    )
    settings = settings.replace(distil={"list_works": 10}, shadow={"works": 20})
    train(bare, settings, tmp_path / "run")
    served = serve(bare, set_up(bare, tmp_path / "run", read_run(tmp_path / "run")["settings"], tmp_path), 5)
    report = measure_pages(bare, served)
    assert all(len(feed) == 10 and not feed.degraded for feed in served.pages)
    assert {name for feed in served.pages for item in feed for name in item.sources} <= {
        "model",
        "popular",
    }
    assert "creators reached" not in report["reach"]["cascade"]
    assert 0 < report["reach"]["cascade"]["works reached"]["value"] <= 40
    assert served.bundle.ranker.tasks == ("buy", "stars")
