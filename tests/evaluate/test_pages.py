"""Tests of pages on held-out days: requests, held-out items, measures, groups and the comparison of rows."""

from dataclasses import replace

import numpy as np
import pytest
from small_dataset import make_dataset

from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.evaluate.pages import (
    K,
    PageRequests,
    best_ahead,
    compare_rows,
    page_table,
    simple_pages,
    validation_requests,
)
from karec.evaluate.past_log import PastLog
from karec.evaluate.simple_methods import METHODS, fit_popularity

GROUPS, PER_GROUP, USERS = 12, 30, 240
DAY_MS = 86_400_000


def make_group_log(n_known=8, n_held=4, n_cold=10):
    """Returns a log of purchases only: users of a group buy items of their group, which no column names.

    ``n_cold`` more users buy on the test day for the first time.
    """
    generator = np.random.default_rng(0)
    user, item, time = [], [], []
    for row in range(USERS + n_cold):
        items = row % GROUPS + GROUPS * generator.permutation(PER_GROUP)[: n_known + 2 * n_held]
        days = np.repeat([1, 5, 6], [n_known, n_held, n_held]) * DAY_MS
        if row >= USERS:
            items, days = items[:n_held], days[-n_held:]
        user += [row + 1] * len(items)
        item += items.tolist()
        time += (days + generator.integers(0, DAY_MS, len(items))).tolist()
    order = np.argsort(time)
    user, item, time = (np.array(values)[order] for values in (user, item, time))
    n_items = GROUPS * PER_GROUP
    snapshot = Snapshot(
        DAY_MS,
        Table(np.arange(n_items), {"color": generator.integers(0, 4, n_items).astype(np.int32)}),
        Table(np.arange(USERS + n_cold) + 1, {}),
        {"history": Relation.from_pairs(np.empty(0, int), np.empty(0, int), USERS + n_cold)},
        {"scene": ["home"]},
        meaning=Meaning(("buy",), consumed=("buy",)),
    )
    exposures = Impressions(
        user, item, time, np.zeros(len(user), np.int32), {"buy": np.ones(len(user), np.uint8)}
    )
    return Dataset("groups", snapshot, exposures, 5 * DAY_MS, 6 * DAY_MS, ("buy",), drawn=0.5)


@pytest.fixture(scope="module")
def group_log():
    return make_group_log()


@pytest.fixture(scope="module")
def requests(group_log):
    return PageRequests.from_dataset(group_log, group_log.valid_until_ms)


def test_held_items_are_enjoyed_later_and_not_owned():
    dataset = make_dataset()
    start_ms = dataset.valid_until_ms
    requests = PageRequests.from_dataset(dataset, start_ms)
    snapshot, log = dataset.snapshot, dataset.exposures
    expected = set()
    for user, item, moment, is_positive in zip(
        log.user_id, log.work_id, log.time_ms, snapshot.meaning.is_enjoyed(log.labels), strict=True
    ):
        row, work = snapshot.users.row(int(user)), snapshot.works.row(int(item))
        if moment >= start_ms and is_positive and snapshot.published_ms[work] <= start_ms:
            expected.add((row, work))
    held = set(zip(requests.users[requests.held_user].tolist(), requests.held_item.tolist(), strict=True))
    assert held == expected and requests.owned.nnz == 0
    firsts = [
        log.time_ms[(log.user_id == u) & (log.time_ms >= start_ms)][0]
        for u in snapshot.users.ids[requests.users]
    ]
    np.testing.assert_array_equal(requests.time_ms, firsts)


def test_owned_items_are_neither_held_nor_on_pages(group_log, requests):
    before = group_log.exposures.take(group_log.exposures.time_ms < group_log.valid_until_ms)
    owned = set(zip((before.user_id - 1).tolist(), before.work_id.tolist(), strict=True))
    held = zip(requests.users[requests.held_user].tolist(), requests.held_item.tolist(), strict=True)
    assert not owned & set(held) and len(owned) == 12 * USERS
    pages = requests.make_pages(fit_popularity(PastLog.from_dataset(group_log, requests.start_ms)))
    shown = {(int(u), int(i)) for u, page in zip(requests.users, pages, strict=True) for i in page}
    assert not shown & owned
    assert requests.measure(pages)["owned"].max() == 0.0


def test_item_bought_again_is_not_held_out(group_log):
    exposures = group_log.exposures
    first, last = (np.flatnonzero(exposures.user_id == 1)[at] for at in (0, -1))
    exposures.work_id[last], item = exposures.work_id[first], exposures.work_id[last]
    requests = PageRequests.from_dataset(group_log, group_log.valid_until_ms)
    exposures.work_id[last] = item
    assert (requests.held_user == 0).sum() == 3


def test_measures_follow_their_definitions(requests):
    pages = np.full((len(requests), K), -1)
    held = requests.held_item[requests.held_user == 0]
    pages[0, 1] = held[0]
    pages[1, :2] = requests.owned[1].tocoo().coords[0][0], 0
    measures = requests.measure(pages)
    ideal = (1 / np.log2(np.arange(4) + 2)).sum()
    assert measures["recall"][0] == 0.25 and measures["hit_rate"][0] == 1.0
    assert measures["ndcg"][0] == pytest.approx(1 / np.log2(3) / ideal)
    assert measures["owned"][1] == 0.5 and measures["recall"][2] == 0.0


def test_item_knn_wins_on_groups_that_no_column_names(group_log, requests):
    pages, facts = simple_pages(group_log, requests)
    assert pages.keys() == METHODS.keys() and facts["item-kNN"]["tried"] == 4
    pages["whole page"] = pages["popularity"]
    compared = compare_rows(requests, pages, "whole page")
    gaps = compared["ndcg"]
    assert gaps["popularity"] == {"value": 0.0, "ci": (0.0, 0.0)}
    winners = {"item-kNN", "EASE^R", "ALS"}
    measure, best = best_ahead(compared)
    assert measure == "ndcg" and best in winners and all(gaps[row]["ci"][0] > 0.05 for row in winners)
    assert all(gaps[row]["ci"][1] < 0.05 for row in ("attribute rates", "recent popularity"))
    level = {"popularity": gaps["popularity"]}
    assert best_ahead({"ndcg": level, "recall": level}) is None
    assert best_ahead({"ndcg": level, "recall": compared["recall"]})[0] == "recall"


def test_table_has_rows_of_warm_and_cold_users(group_log, requests):
    log = PastLog.from_dataset(group_log, requests.start_ms)
    pages = {"popularity": requests.make_pages(fit_popularity(log))}
    groups = page_table(requests, pages, resamples=40)["popularity"]
    assert list(groups) == ["all", "warm", "cold"] and (~requests.is_warm).sum() == 10
    for measures in groups.values():
        for measure in measures.values():
            assert measure["ci"][0] - 1e-9 <= measure["value"] <= measure["ci"][1] + 1e-9
    coverage = len(np.unique(pages["popularity"])) / (GROUPS * PER_GROUP)
    assert groups["all"]["coverage"]["value"] == coverage


def test_group_of_new_items_has_only_items_that_no_user_enjoyed(group_log):
    exposures = group_log.exposures
    known = exposures.work_id != 5
    dataset = replace(group_log, exposures=exposures.take(known | (exposures.time_ms >= 6 * DAY_MS)))
    requests = PageRequests.from_dataset(dataset, dataset.valid_until_ms)
    held, places = requests.groups()["new items"]
    assert set(held.held_item.tolist()) == {5} and len(places) == (requests.held_item == 5).sum() > 0
    pages = np.full((len(requests), K), -1)
    pages[places[0], 0] = 5
    measures = page_table(requests, {"page": pages})["page"]
    assert measures["new items"]["recall"]["value"] == pytest.approx(1 / len(places))
    assert measures["all"]["recall"]["value"] < measures["new items"]["recall"]["value"]


def test_settings_are_chosen_without_the_test_days(group_log, requests):
    later = group_log.exposures.time_ms >= group_log.valid_until_ms
    changed = make_group_log()
    changed.exposures.work_id[later] = 0
    for dataset in (group_log, changed):
        earlier = validation_requests(dataset)
        assert earlier.start_ms == dataset.train_until_ms and len(earlier) == USERS
    _, facts = simple_pages(group_log, requests)
    _, changed_facts = simple_pages(changed, requests)
    assert all(facts[row]["parameters"] == changed_facts[row]["parameters"] for row in facts)


def test_methods_keep_their_first_settings_without_validation_users(group_log, requests):
    exposures = group_log.exposures
    is_valid = (exposures.time_ms >= group_log.train_until_ms) & (exposures.time_ms < requests.start_ms)
    dataset = replace(group_log, exposures=exposures.take(~is_valid))
    earlier = validation_requests(dataset)
    assert len(earlier) == 0 and earlier.groups() == {}
    pages, facts = simple_pages(dataset, requests)
    log = PastLog.from_dataset(dataset, earlier.start_ms)
    assert all(facts[row]["parameters"] == METHODS[row].grid(log)[0] for row in facts)
    assert pages["ALS"].shape == (len(requests), K)
