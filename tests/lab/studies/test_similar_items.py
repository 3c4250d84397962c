"""The study of similar items: the queries, and their measures on a log of groups."""

import dataclasses

import numpy as np
import pytest

from karec.cli import main
from karec.data.load import load
from karec.errors import DataError
from karec.lab.studies.similar_items import OURS, _queries, compare_similar_items

TOML = """
[events]
path = "log.csv"
columns = { user = "customer", item = "sku", time = "at" }
"""
DAYS, GROUPS, PER_GROUP, USERS = 20, 10, 20, 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A log of purchases: each group of users buys items of its own."""
    folder, generator = tmp_path_factory.mktemp("groups"), np.random.default_rng(3)
    rows = []
    for user in range(USERS):
        items = user % GROUPS + GROUPS * generator.permutation(PER_GROUP)[:14]
        seconds = 1_700_000_000 + generator.integers(0, DAYS * 86_400, len(items))
        rows += zip(seconds.tolist(), [user] * len(items), items.tolist(), strict=True)
    lines = [f"c-{user},sku-{item},{at}" for at, user, item in sorted(rows)]
    (folder / "log.csv").write_text("\n".join(["customer,sku,at", *lines]) + "\n")
    (folder / "data.toml").write_text(TOML)
    return folder


@pytest.fixture(scope="module")
def dataset(folder, tmp_path_factory):
    return load(folder, tmp_path_factory.mktemp("ids")).dataset


def test_query_is_the_first_later_item_and_the_truth_the_others(dataset):
    users, query, held_user, held_item = _queries(dataset, seed=0)
    exposures, snapshot = dataset.exposures, dataset.snapshot
    later = exposures.take(exposures.time_ms >= dataset.train_until_ms)
    later = later.take(snapshot.meaning.is_enjoyed(later.labels))
    for place, user in enumerate(users.tolist()):
        own = later.take(snapshot.users.lookup(later.user_id) == user)
        first, *others = dict.fromkeys(snapshot.works.lookup(own.work_id).tolist())
        assert query[place] == first and sorted(held_item[held_user == place]) == sorted(others)
    assert len(users) > 50


def test_items_of_a_group_are_found(dataset):
    measured = compare_similar_items(dataset)
    assert measured[OURS]["recall"] > 2 * measured["popularity"]["recall"]
    assert measured[OURS]["gain"] == 0.0 and measured["popularity"]["gain_ci"][0] > 0


def test_command_prints_each_method(folder, capsys):
    assert main(["lab", "similar", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("ALS factors", "item-kNN", "co-watch cosine", "popularity"))


def test_log_without_users_of_two_later_items_is_refused(dataset):
    rows = dataset.exposures.take(dataset.exposures.time_ms < dataset.train_until_ms)
    with pytest.raises(DataError, match="two items"):
        compare_similar_items(dataclasses.replace(dataset, exposures=rows))
