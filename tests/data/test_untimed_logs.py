"""Logs without times are split by user. Each report names the invented times."""

import random
from collections import Counter

import numpy as np
import pytest
from own_files import write_log

from karec.data.log_settings import Split
from karec.data.split import TRAINING_DAYS, invent_days
from karec.errors import DataError

TOML = """\
[events]
path = "log.csv"
columns = { user = "who", item = "what" }
[split]
by = "user"
history = 0.1
validation = 0.2
test = 0.2
"""
HEAD = ("who", "what")


def listens(seed=0):
    """30 users with 20 of 40 items each, in a random order."""
    generator = random.Random(seed)
    rows = [(f"u{user}", f"i{item}") for user in range(30) for item in generator.sample(range(40), 20)]
    return generator.sample(rows, len(rows))


def write(folder, rows, toml=TOML):
    folder.mkdir(exist_ok=True)
    write_log(folder, rows, head=HEAD)
    (folder / "data.toml").write_text(toml)
    return folder


def positives(part):
    return part.take(part.labels["positive"] == 1)


def test_each_user_has_the_fractions_of_the_split(read, tmp_path):
    result = read(write(tmp_path, listens()))
    parts = [positives(part) for part in result.dataset.split()]
    for part, expected in zip(parts, (10, 4, 4), strict=True):
        assert set(Counter(part.user_id.tolist()).values()) == {expected}
        assert len(Counter(part.user_id.tolist())) == 30
    pairs = [set(zip(part.user_id.tolist(), part.work_id.tolist(), strict=True)) for part in parts]
    assert not pairs[0] & pairs[1] and not pairs[0] & pairs[2] and not pairs[1] & pairs[2]


def test_split_by_user_ignores_the_order_of_rows(read, tmp_path, same):
    one = read(write(tmp_path / "a", listens()))
    other = read(write(tmp_path / "b", listens()[::-1]))
    same(one, other)


def test_report_names_invented_times(read, tmp_path):
    result = read(write(tmp_path, listens()))
    assert result.dataset.timeless and result.dataset.drawn == 0.5
    assert any("no times" in note and "20% the test" in note for note in result.dataset.notes)
    assert result.report.notes == result.dataset.notes
    assert result.report.times == {}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 101])
def test_invented_days_follow_the_fractions(n):
    days = invent_days(np.zeros(n, np.int64), Split(history=0.2, validation=0.1, test=0.2, by="user"))
    share = (np.arange(n) + 0.5) / n
    expected = [(share < 0.2).sum(), ((share >= 0.7) & (share < 0.8)).sum(), (share >= 0.8).sum()]
    assert [
        (days == 0).sum(),
        (days == TRAINING_DAYS + 1).sum(),
        (days == TRAINING_DAYS + 2).sum(),
    ] == expected


def test_users_with_one_positive_cannot_be_split(refused, tmp_path):
    write(tmp_path, [(f"u{at}", f"i{at % 5}") for at in range(50)])
    assert "no user has enough" in refused(tmp_path, DataError)
