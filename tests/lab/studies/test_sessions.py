"""The study of sessions: users that are held out whole, and measures of their pages on a log of groups."""

import dataclasses

import numpy as np
import pytest

from karec.cli import main
from karec.data.load import load
from karec.errors import DataError
from karec.lab.studies.sessions import EVENTS, _sessions, compare_sessions, hold_out
from karec.learn.settings.settings import TrainSettings

DATA = """
[events]
path = "log.csv"
columns = { user = "customer", item = "sku", time = "at" }
"""
SETTINGS = """
[run]
threads = 1
final_fit = false
[ranker]
epochs = 1
[towers]
epochs = 3
[evaluation]
baselines = []
"""
DAYS, GROUPS, PER_GROUP, USERS = 20, 10, 20, 150


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
    (folder / "data.toml").write_text(DATA)
    (folder / "settings.toml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def dataset(folder, tmp_path_factory):
    return load(folder, tmp_path_factory.mktemp("ids")).dataset


def test_users_are_held_out_whole(dataset):
    rest, *parts = hold_out(dataset, seed=0)
    n_users = len(dataset.snapshot.users)
    assert [len(part) for part in parts] == [n_users // 10, n_users // 5]
    users = np.concatenate([dataset.exposures.user_id[rows] for part in parts for rows in part])
    assert len(np.unique(users)) == n_users // 10 + n_users // 5 == n_users - len(rest.snapshot.users)
    assert not np.isin(rest.snapshot.users.ids, users).any()
    assert not np.isin(rest.exposures.user_id, users).any()
    for row, user in enumerate(rest.snapshot.users.ids.tolist()):
        old = dataset.snapshot.users.row(user)
        for name, relation in rest.snapshot.relations.items():
            expected = dataset.snapshot.relations[name].row_values(old)
            assert relation.row_values(row).tolist() == expected.tolist()


def test_session_has_the_first_items_and_the_truth_the_later_ones(dataset):
    rows = hold_out(dataset, seed=0)[2]
    requests, events = _sessions(dataset, rows)
    works, log = dataset.snapshot.works, dataset.exposures
    is_enjoyed = dataset.snapshot.meaning.is_enjoyed(log.labels)
    for place, session in enumerate(events):
        is_own = is_enjoyed & (log.user_id == log.user_id[rows[place][0]])
        bought = list(dict.fromkeys(log.work_id[is_own].tolist()))
        assert [row["item_id"] for row in session] == bought[:EVENTS]
        held = works.ids[requests.held_item[requests.held_user == place]]
        assert sorted(held.tolist()) == sorted(bought[EVENTS:])
        owned = works.ids[np.flatnonzero(requests.owned[[place]].toarray())]
        assert sorted(owned.tolist()) == sorted(bought[:EVENTS])


def test_events_lead_to_items_of_the_group(folder, dataset, tmp_path, capsys):
    settings = folder / "settings.toml"
    arguments = ["lab", "sessions", str(folder), "--settings", str(settings), "--out", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    rows = compare_sessions(dataset, TrainSettings.from_toml(settings), tmp_path).rows
    recall = {row[0]: float(row[1].split()[0]) for row in rows}
    for name, value, gain, *_ in rows:
        assert name in printed and value in printed
        assert float(gain.split()[0]) == pytest.approx(recall["page"] - recall[name], abs=1.1e-4)
    assert min(recall["item-kNN"], recall["ALS fold-in"]) > 2 * recall["popularity"]
    assert recall["page"] > 2 * recall["page without events"]


def test_log_of_too_few_users_is_refused(dataset):
    rows = dataset.exposures.take(np.arange(50))
    with pytest.raises(DataError, match="expected 10"):
        hold_out(dataclasses.replace(dataset, exposures=rows), seed=0)
