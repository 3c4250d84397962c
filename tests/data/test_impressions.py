"""Impressions and labels of logs of each shape equal those of plain Python."""

import random
from collections import Counter

import numpy as np
import pytest
from own_files import START_S, write_log

from karec.data.log_settings import Negatives
from karec.data.positives import draw_negatives

HEAD = ("customer", "sku", "at", "event", "visit")
ACTIONS = """\
[events]
path = "log.csv"
view = "view"
window_minutes = 30
columns = { user = "customer", item = "sku", time = "at", event = "event"%s }
[labels]
click = { event = "click" }
buy = { event = "buy", task = false }
[split]
history = 0.0
"""
WINDOW_MS = 30 * 60_000


def exposures_of(result):
    """Returns {(user, item, ms): {label: 0 or 1}} of a dataset without history."""
    rows = result.dataset.exposures
    users, items = result.ids["users"].names(rows.user_id), result.ids["items"].names(rows.work_id)
    actual = {
        (str(u), str(i), int(t)): {name: int(label[at]) for name, label in rows.labels.items()}
        for at, (u, i, t) in enumerate(zip(users, items, rows.time_ms, strict=True))
    }
    assert len(actual) == len(rows)
    return actual


def action_rows(n, seed):
    """Returns views and actions: within the window, after it, without a view, and at the time of the view."""
    generator = random.Random(seed)
    rows = []
    for at in range(n):
        user, item, visit = (
            f"c{generator.randrange(5)}",
            f"i{generator.randrange(4)}",
            f"v{generator.randrange(40)}",
        )
        s = START_S + at * 300 + generator.randrange(200)
        event = generator.choice(("view", "view", "click", "buy", "search"))
        rows.append((user, item, s, event, visit))
        if generator.random() < 0.3:
            rows.append((user, item, s + generator.choice((0, 20, 1800, 1801)), "click", visit))
    return rows


def by_window(rows):
    views = sorted((s * 1000, u, i) for u, i, s, event, _ in rows if event == "view")
    actual = {(u, i, t): {"click": 0, "buy": 0} for t, u, i in views}
    alone = {}
    for u, i, s, event, _ in rows:
        if event not in ("click", "buy"):
            continue
        t = s * 1000
        last = max(
            (v for v, of_user, of_item in views if (of_user, of_item) == (u, i) and v <= t), default=None
        )
        if last is not None and t - last <= WINDOW_MS:
            actual[u, i, last][event] = 1
        else:
            alone.setdefault((u, i, t // WINDOW_MS), []).append((t, event))
    return _with_alone(actual, alone)


def by_request(rows):
    first = {}
    for u, i, s, event, visit in rows:
        if event == "view":
            first[u, i, visit] = min(first.get((u, i, visit), 2**60), s * 1000)
    actual = {(u, i, s * 1000): {"click": 0, "buy": 0} for u, i, s, event, _ in rows if event == "view"}
    alone = {}
    for u, i, s, event, visit in rows:
        if event not in ("click", "buy"):
            continue
        if (u, i, visit) in first:
            actual[u, i, first[u, i, visit]][event] = 1
        else:
            alone.setdefault((u, i, s * 1000 // WINDOW_MS), []).append((s * 1000, event))
    return _with_alone(actual, alone)


def _with_alone(actual, alone):
    for (u, i, _), actions in alone.items():
        key = (u, i, min(t for t, _ in actions))
        labels = actual.setdefault(key, {"click": 0, "buy": 0})
        for _, event in actions:
            labels[event] = 1
    return actual


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("joined", "column"), [(by_window, ""), (by_request, ', request = "visit"')])
def test_actions_are_labels_of_their_view(read, tmp_path, seed, joined, column):
    rows = action_rows(400, seed)
    write_log(tmp_path, random.Random(seed).sample(rows, len(rows)), head=HEAD)
    (tmp_path / "data.toml").write_text(ACTIONS % column)
    result = read(tmp_path)
    assert exposures_of(result) == joined(rows)
    others = sum(row[3] == "search" for row in rows)
    left_out = result.report.tables[0].left_out
    assert left_out["event 'search', which is neither a label nor the view"].count == others


def test_view_can_be_a_label(read, tmp_path):
    rows = action_rows(300, 9)
    write_log(tmp_path, rows, head=HEAD)
    toml = (ACTIONS % "").replace("[split]", 'seen = { event = "view", task = false }\n[split]')
    (tmp_path / "data.toml").write_text(toml)
    views = {(u, i, s * 1000) for u, i, s, event, _ in rows if event == "view"}
    actual = exposures_of(read(tmp_path))
    assert {key for key, labels in actual.items() if labels["seen"]} == views


IMPRESSIONS = """\
[events]
path = "log.csv"
columns = { user = "customer", item = "sku", time = "at", play_ms = "played" }
[labels]
click = { column = "clicked" }
most = { column = "played", at_least_share_of = "length", share = 0.7 }
long = { column = "played", at_least = 3000, task = false }
good = { column = "said", equals = "good", task = false }
[meaning]
enjoyed = ["most"]
[split]
history = 0.0
"""


def test_labels_of_impressions_follow_their_conditions(read, tmp_path):
    generator = random.Random(5)
    rows, expected = [], {}
    for at in range(300):
        key = (f"c{at % 7}", f"i{at % 11}", START_S + at * 100)
        clicked = generator.choice((0, 1, 1.0, ""))
        played, length = (
            generator.choice((0, 700, 2999, 3000, 5000, "")),
            generator.choice((0, 1000, 4000, "")),
        )
        verdict = generator.choice(("good", "bad", ""))
        rows.append((*key, clicked, played, length, verdict))
        most = int(played != "" and length not in ("", 0) and played >= 0.7 * length)
        expected[key[0], key[1], key[2] * 1000] = {
            "click": int(clicked == 1),
            "most": most,
            "long": int(played != "" and played >= 3000),
            "good": int(verdict == "good"),
        }
    write_log(tmp_path, rows, head=("customer", "sku", "at", "clicked", "played", "length", "said"))
    (tmp_path / "data.toml").write_text(IMPRESSIONS)
    result = read(tmp_path)
    assert exposures_of(result) == expected
    assert sorted(result.dataset.exposures.play_ms.tolist()) == sorted(row[4] or 0 for row in rows)
    assert result.dataset.tasks == ("click", "most")


POSITIVES = """\
[events]
path = "log.csv"
columns = { user = "customer", item = "sku", time = "at" }
[negatives]
per_positive = 3
popularity = 0.75
[split]
history = 0.0
"""


def test_negatives_are_items_that_the_user_has_not_taken(read, same, tmp_path):
    generator = random.Random(1)
    rows = [
        (f"c{generator.randrange(20)}", f"i{int(40 * generator.random() ** 2)}", START_S + at * 60)
        for at in range(800)
    ]
    write_log(tmp_path, rows, head=HEAD[:3])
    (tmp_path / "data.toml").write_text(POSITIVES)
    result = read(tmp_path)
    actual = result.dataset.exposures
    positive = actual.labels["positive"] == 1
    users, items = result.ids["users"].names(actual.user_id), result.ids["items"].names(actual.work_id)
    taken = {(u, i) for u, i, _ in rows}
    pairs = list(zip(users, items, strict=True))
    assert {(str(u), str(i)) for u, i in np.array(pairs)[positive]} == taken
    before_test = actual.time_ms < result.dataset.train_until_ms
    taken_in_training = {(str(u), str(i)) for u, i in np.array(pairs)[positive & before_test]}
    assert not {(str(u), str(i)) for u, i in np.array(pairs)[~positive]} & taken_in_training
    assert positive.sum() == len(rows) and 2 * len(rows) < (~positive).sum() <= 3 * len(rows)
    moments = Counter(actual.time_ms[positive].tolist())
    assert set(actual.time_ms[~positive].tolist()) <= moments.keys()
    same(result, read(tmp_path))
    _, note = result.dataset.notes
    assert "3 negatives for each were drawn" in note and "power 0.75" in note
    assert result.report.notes == result.dataset.notes and result.report.shape == "positives"


def test_negatives_are_drawn_by_a_power_of_popularity():
    """Counts are within 5 standard deviations of the expected ones."""
    generator = np.random.default_rng(0)
    user = generator.integers(0, 50, 3000)
    item = (30 * generator.random(3000) ** 3).astype(np.int64)
    user[item < 3] = 0  # user 0 took items 0 … 2 alone, of all users
    for power in (0.0, 0.5, 1.0):
        places, drawn = draw_negatives(
            user, item, np.zeros(len(user), int), 40, Negatives(per_positive=20, popularity=power)
        )
        chance = (np.bincount(item, minlength=40) + 1.0) ** power
        taken = np.zeros((50, 40), bool)
        taken[user, item] = True
        expected = np.zeros(40)
        for u, n in Counter(user[places].tolist()).items():
            free = np.where(taken[u], 0.0, chance)
            expected += n * free / free.sum()
        result = np.bincount(drawn, minlength=40)
        assert not taken[user[places], drawn].any()
        assert (np.abs(result - expected) <= 5 * np.sqrt(expected) + 1).all()
        assert (np.bincount(places, minlength=len(user)) <= 20).all()


def test_negatives_do_not_show_later_parts():
    """User 0 takes items 0 … 9 in training and 10 … 19 in the test. Others take all items."""
    user = np.concatenate([np.zeros(20, np.int64), np.repeat(np.arange(1, 9), 20)])
    item = np.tile(np.arange(20), 9)
    part = np.where(item < 10, 0, 2)
    places, drawn = draw_negatives(user, item, part, 20, Negatives(per_positive=50, popularity=0.0))
    of_user = drawn[(user[places] == 0) & (part[places] == 0)]
    assert set(of_user.tolist()) == set(range(10, 20))
    assert not len(drawn[part[places] == 2])


def test_label_needs_a_minimum_value_of_the_event(read, tmp_path):
    rows = []
    for at in range(200):
        user, item, s = f"c{at % 5}", f"i{at % 7}", START_S + at * 3000
        rows.append((user, item, s, "view", ""))
        rows.append((user, item, s + 10, "rate", ("", 2, 4, 5)[at % 4]))
    write_log(tmp_path, rows, head=("customer", "sku", "at", "event", "stars"))
    toml = ACTIONS.replace('event = "event"%s', 'event = "event", value = "stars"').split("[labels]")[0]
    toml += '[labels]\nloved = { event = "rate", at_least = 4 }\n[split]\nhistory = 0.0\n'
    (tmp_path / "data.toml").write_text(toml)
    actual = exposures_of(read(tmp_path))
    assert [actual[u, i, s * 1000]["loved"] for u, i, s, event, _ in rows if event == "view"] == [
        0,
        0,
        1,
        1,
    ] * 50


POSITIONS = """\
[events]
path = "log.csv"
view = "view"
columns = { user = "customer", item = "sku", time = "at", event = "event", position = "slot" }
[labels]
click = { event = "click" }
[split]
history = 0.0
"""


@pytest.fixture
def log_with_positions(tmp_path):
    """Returns write(positions of views): a shop whose clicks have position 0, with a row for each item."""

    def write(positions):
        rows = []
        for at, position in enumerate(positions):
            rows.append((f"c{at % 3}", f"i{at}", START_S + at * 60, "view", position))
            if at % 2:
                rows.append((f"c{at % 3}", f"i{at}", START_S + at * 60 + 1, "click", 0))
        write_log(tmp_path, rows, head=(*HEAD[:4], "slot"))
        (tmp_path / "data.toml").write_text(POSITIONS)
        return tmp_path

    return write


@pytest.mark.parametrize("first", [0, 1])
def test_position_of_the_view_counts_from_1(log_with_positions, read, first):
    places = [first + at % 7 for at in range(40)]
    exposures = read(log_with_positions([*places[:39], None])).dataset.exposures
    assert exposures.position.dtype == np.int16
    expected = [1 + at % 7 for at in range(39)] + [0]
    assert exposures.position.tolist() == expected
    assert exposures.take(slice(3, 5)).position.tolist() == expected[3:5]


def test_position_of_an_action_without_a_view_is_unknown(tmp_path, read, log_with_positions):
    folder = log_with_positions([1 + at % 7 for at in range(40)])
    with (folder / "log.csv").open("a", newline="") as file:
        file.write(f"c0,i1,{START_S + 90_000},click,4\r\n")
    assert read(folder).dataset.exposures.position.tolist()[-1] == 0


@pytest.mark.parametrize("cell", ["-1", "2.5", "first", "40000"])
def test_position_that_is_not_a_small_whole_number_is_a_mistake(log_with_positions, refused, cell):
    message = refused(log_with_positions([*([1, 2, 3] * 12), cell]))
    assert "log.csv:56" in message and "'slot'" in message


def test_drawn_negatives_do_not_count_as_shown(read, tmp_path):
    rows = [(f"c{at % 5}", f"i{at * 7 % 30}", START_S + at * 60) for at in range(200)]
    write_log(tmp_path, rows, head=HEAD[:3])
    write_log(tmp_path, [(f"i{at}",) for at in range(40)], head=("sku",), name="goods")
    write_log(tmp_path, [(f"c{at}",) for at in range(8)], head=("customer",), name="users")
    tables = '[items]\npath = "goods.csv"\nid = "sku"\n[users]\npath = "users.csv"\nid = "customer"\n'
    (tmp_path / "data.toml").write_text(POSITIVES + tables)
    report = read(tmp_path).report
    assert (report.items_without_impression, report.users_without_impression) == (10, 3)
