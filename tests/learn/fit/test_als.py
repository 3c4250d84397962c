"""The settings of ALS factors are those that order later events best."""

import numpy as np
import pytest

from karec.evaluate.als import factorize
from karec.features.cowatch import ALWAYS_MS
from karec.learn.fit.als import EARLIER, MIN_WATCHERS, SETTINGS, als_rank, choose_als, enjoyed_pairs


def events_of_groups(seed, n_users=60, n_items=48, n_groups=6, each=14):
    """Users enjoy items of their group, some of another group, at random times."""
    generator = np.random.default_rng(seed)
    users = np.repeat(np.arange(n_users), each)
    items = generator.integers(0, n_items // n_groups, len(users)) * n_groups + users % n_groups
    is_other = generator.random(len(users)) < 0.3
    items[is_other] = generator.integers(0, n_items, is_other.sum())
    return users, 1000 + items, generator.permutation(len(users)).astype(np.int64)


def ndcg_of(setting, users, items, time_ms, rank):
    """Mean NDCG@20 of the later events, user by user."""
    is_early = time_ms < np.quantile(time_ms, EARLIER)
    enjoyed = enjoyed_pairs(users[is_early], items[is_early])
    x, y = factorize(enjoyed.pairs, als_rank(rank, setting), setting.weight, setting.penalty, seed=3)
    values = []
    for row, user in enumerate(enjoyed.users):
        before = set(items[is_early & (users == user)])
        held = set(items[~is_early & (users == user)]) & set(enjoyed.items) - before
        order = [item for item in enjoyed.items[np.argsort(-(y @ x[row]))] if item not in before][:20]
        gain = sum(1 / np.log2(place + 2) for place, item in enumerate(order) if item in held)
        if held:
            values.append(gain / sum(1 / np.log2(place + 2) for place in range(len(held))))
    return np.mean(values)


@pytest.mark.parametrize("seed", range(4))
def test_choose_als_takes_the_setting_with_the_best_later_events(seed):
    users, items, time_ms = events_of_groups(seed)
    chosen = choose_als(users, items, time_ms, 16, 3)
    values = {setting: ndcg_of(setting, users, items, time_ms, 16) for setting in SETTINGS}
    assert len(set(values.values())) > 1 and chosen == max(values, key=values.get)


def test_choose_als_takes_the_first_setting_if_nothing_can_be_measured():
    users, items, time_ms = events_of_groups(0)
    assert choose_als(users, items, np.full_like(time_ms, ALWAYS_MS), 16, 3) == SETTINGS[0]
    assert choose_als(users, items, np.zeros_like(time_ms), 16, 3) == SETTINGS[0]
    assert choose_als(np.arange(9), np.arange(9), np.arange(9), 16, 3) == SETTINGS[0]


def test_enjoyed_pairs_has_items_of_enough_users_once():
    users = np.array([*range(MIN_WATCHERS), 0, *range(MIN_WATCHERS - 1), 90])
    items = np.array([*[7] * MIN_WATCHERS, 7, *[8] * (MIN_WATCHERS - 1), 7])
    enjoyed = enjoyed_pairs(users, items)
    assert enjoyed.items.tolist() == [7] and enjoyed.users.tolist() == [*range(MIN_WATCHERS), 90]
    assert enjoyed.pairs.toarray().tolist() == [[1.0]] * (MIN_WATCHERS + 1)
