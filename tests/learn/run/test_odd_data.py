"""Tests of unusual data: training works, or is refused by name before it starts."""

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
from karec.errors import DataError
from karec.evaluate.quality import read_run
from karec.lab.demo.serve import measure_pages, serve
from karec.learn.run.train import train

QUICK = SMALL.replace(
    ranker={"kind": "lr"}, towers={"epochs": 1}, evaluation={"baselines": (), "resamples": 5}
)


def replaced(dataset, exposures, *, works=None, users=None, relations=None):
    """The dataset with other exposures, works, users or relations, with counters that begin at 0."""
    old = dataset.snapshot
    tables = [
        without_counters(old.works) if works is None else works,
        without_counters(old.users) if users is None else users,
    ]
    lists = old.relations if relations is None else relations
    start = Snapshot(old.time_ms, *tables, lists, old.labels, meaning=old.meaning)
    return replace(dataset, snapshot=advance(start, exposures, start.time_ms), exposures=exposures)


def without_counters(table, rows=slice(None)):
    columns = {name: column[rows] for name, column in table.columns.items() if not name.startswith("count_")}
    return Table(table.ids[rows], columns)


def trained_and_served(dataset, folder, settings=QUICK):
    """Returns the quality, after pages of the test users were served without a failed step."""
    quality = train(dataset, settings, folder / "run").quality
    served = serve(dataset, set_up(dataset, folder / "run", read_run(folder / "run")["settings"], folder), 3)
    assert served.pages and all(len(feed) and not feed.degraded for feed in served.pages)
    return quality


def test_training_works_with_a_single_user(dataset, tmp_path):
    only = dataset.snapshot.users.ids[0]
    exposures = replace(dataset.exposures, user_id=np.full(len(dataset.exposures), only))
    one_user_data = replaced(
        dataset, exposures, users=without_counters(dataset.snapshot.users, slice(1)), relations={}
    )
    quality = trained_and_served(one_user_data, tmp_path)
    assert quality["models"]["towers"]["click"]["auc"] is not None


@pytest.mark.parametrize("days", ["validation", "test"])
def test_training_works_if_later_labels_are_of_one_class(dataset, tmp_path, days):
    time, cuts = dataset.exposures.time_ms, (dataset.train_until_ms, dataset.valid_until_ms)
    of_days = (time >= cuts[0]) & (time < cuts[1]) if days == "validation" else time >= cuts[1]
    like = np.where(of_days, 0, dataset.exposures.labels["like"]).astype(np.uint8)
    labels = {**dataset.exposures.labels, "like": like}
    models = train(replaced(dataset, replace(dataset.exposures, labels=labels)), QUICK, tmp_path).quality[
        "models"
    ]
    assert (models["towers"]["like"]["auc"] is None) == (days == "test")
    assert models["towers"]["click"]["auc"] is not None


def test_training_works_without_histories(dataset, tmp_path):
    trained_and_served(replaced(dataset, dataset.exposures, relations={}), tmp_path)


def test_training_works_if_all_items_are_new(dataset, tmp_path):
    """No item is shown twice, so none has an embedding of its own, and items of the test days are unknown."""
    n, works = len(dataset.exposures), dataset.snapshot.works
    rows = np.searchsorted(works.ids, dataset.exposures.work_id)
    new = Table(
        10_000 + np.arange(n),
        {name: column[rows] for name, column in without_counters(works).columns.items()},
    )
    exposures = replace(dataset.exposures, work_id=new.ids)
    trained_and_served(replaced(dataset, exposures, works=new, relations={}), tmp_path)


def test_training_works_with_a_single_item_without_lists(dataset, tmp_path):
    works = without_counters(dataset.snapshot.works, slice(1))
    exposures = replace(dataset.exposures, work_id=np.full(len(dataset.exposures), works.ids[0]))
    one_item_data = replaced(dataset, exposures, works=works, relations={})
    steps = []
    with pytest.raises(
        DataError,
        match=r"lists of 40 items, .* have a pool, of at most 1 items.*feature-distillation",
    ):
        train(one_item_data, QUICK, tmp_path / "refused", lambda *step: steps.append(step))
    assert not steps and not (tmp_path / "refused").exists()
    trained_and_served(one_item_data, tmp_path, QUICK.with_recipe("feature-distillation"))


@pytest.fixture(scope="module")
def shop(dataset):
    """A shop with the exposures of the small dataset: users and items have no column and no relation."""
    old = dataset.exposures
    labels = {"buy": old.labels["click"], "stars": old.labels["like"]}
    exposures = replace(old, labels=labels, play_ms=None, scene=np.zeros(len(old), np.int32))
    ids = (Table(table.ids, {}) for table in (dataset.snapshot.works, dataset.snapshot.users))
    meaning = Meaning(enjoyed=("buy",), liked=("stars",))
    start = Snapshot(dataset.snapshot.time_ms, *ids, {}, {"scene": ["shop"]}, meaning=meaning)
    snapshot = advance(start, exposures, start.time_ms)
    return Dataset(
        "shop", snapshot, exposures, dataset.train_until_ms, dataset.valid_until_ms, ("buy", "stars")
    )


def test_platform_without_column_roles_trains_and_serves(shop, tmp_path):
    settings = SMALL.replace(
        fusion={},
        ranker={"auxiliary": ("followed", "play_time")},
        distil={"list_works": 10},
        shadow={"works": 20},
    )
    train(shop, settings, tmp_path / "run")
    served = serve(shop, set_up(shop, tmp_path / "run", read_run(tmp_path / "run")["settings"], tmp_path), 5)
    items = measure_pages(shop, served)["page"]["items"]
    assert all(len(page) == 10 and not page.degraded for page in served.pages)
    assert {name for page in served.pages for item in page for name in item.sources} <= {"model", "popular"}
    assert all(item["creator"] is None and item["age_h"] is None for item in items)
    assert served.bundle.ranker.tasks == ("buy", "stars")
