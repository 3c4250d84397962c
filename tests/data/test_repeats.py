"""Repeats in the log decide which labels mean that an item is consumed."""

import numpy as np
import pytest
from own_files import START_S, write_log
from own_logs import listens

from karec.data.contract import read_contract
from karec.data.draft import write_contract
from karec.data.repeats import measure_repeats

DAY_S = 86_400
HEAD = ("customer", "sku", "at", "event")
TOML = """\
[events]
path = "log.csv"
view = "view"
columns = { user = "customer", item = "sku", time = "at", event = "event" }
[labels]
click = { event = "click" }
purchase = { event = "purchase" }
"""


def draw_events(n_users, n_days, *, repeats, n_items=30, seed=0):
    """Returns (user, item, seconds): an event a day; ``repeats`` "never", or by popularity ("often")."""
    generator = np.random.default_rng(seed)
    chance = 1 / np.arange(1, n_items + 1)
    events = []
    for user in range(n_users):
        for day, item in enumerate(
            generator.choice(n_items, n_days, replace=repeats == "often", p=chance / chance.sum())
        ):
            events.append((user, int(item), START_S + day * DAY_S + int(generator.integers(DAY_S // 2))))
    return events


def rate_of(events):
    user, item, seconds = np.array(events).T
    return measure_repeats(user, item, seconds * 1000)


def test_measure_repeats_equals_a_loop_over_pairs():
    generator = np.random.default_rng(1)
    events = [
        (int(u), int(i), START_S + 60 * int(m))
        for u, i, m in zip(
            generator.integers(6, size=300),
            generator.integers(9, size=300),
            generator.integers(9_000, size=300),
            strict=True,
        )
    ]
    repeats, expected = 0, 0.0
    for user, item, at in events:
        earlier = {i for u, i, t in events if u == user and t + DAY_S <= at}
        repeats += item in earlier
        expected += sum(sum(i == other for _, other, _ in events) for i in earlier) / len(events)
    assert rate_of(events).ratio == pytest.approx(repeats / expected)


@pytest.mark.parametrize("repeats", ["never", "often"])
def test_repeats_of_a_long_log_are_decided(repeats):
    rate = rate_of(draw_events(200, 12, repeats=repeats))
    assert rate.is_wanted == (repeats == "often")
    assert rate.upper < 0.5 or rate.is_wanted


def test_repeats_of_a_short_log_are_undecided():
    rate = rate_of(draw_events(3, 4, repeats="often"))
    assert rate.lower <= 0.5 <= rate.upper and not rate.is_wanted
    assert not measure_repeats(np.array([]), np.array([]), np.array([])).is_wanted


def test_repeats_of_one_user_decide_nothing():
    of_many = draw_events(100, 5, repeats="never")
    of_one = [(1000, at % 2, START_S + at * DAY_S) for at in range(250)]
    assert not rate_of(of_many + of_one).is_wanted


def test_repeats_within_a_day_count_as_one_visit():
    events = draw_events(100, 8, repeats="never")
    again = [(user, item, seconds + 3600) for user, item, seconds in events]
    assert rate_of(events + again).ratio == 0


def write_purchases(folder, repeats):
    rows = []
    for at, (user, item, seconds) in enumerate(draw_events(80, 10, repeats=repeats)):
        rows.append((f"c{user}", f"i{item}", seconds, "view"))
        rows += [(f"c{user}", f"i{(item + 7) % 30}", seconds + 1, "view")]
        rows += [
            (f"c{user}", f"i{item}", seconds + 2, event) for event in ("click", "purchase")[: 1 + at % 3]
        ]
    write_log(folder, rows, head=HEAD)


@pytest.mark.parametrize(("repeats", "consumed"), [("never", ("purchase",)), ("often", ())])
def test_init_and_load_decide_alike_which_labels_are_consumed(tmp_path, read, repeats, consumed):
    write_purchases(tmp_path, repeats)
    (tmp_path / "data.toml").write_text(TOML)
    dataset = read(tmp_path).dataset
    assert dataset.snapshot.meaning.consumed == consumed
    assert any("label purchase" in note for note in dataset.notes)
    (tmp_path / "data.toml").write_text(write_contract([tmp_path / "log.csv"], tmp_path))
    dataset = read(tmp_path).dataset
    assert dataset.snapshot.meaning.consumed == consumed
    assert not any("label purchase" in note for note in dataset.notes)


def test_clicks_are_never_consumed(tmp_path, read):
    path = listens(tmp_path) / "listens.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},action", *(f"{row},click" for row in rows)]))
    (tmp_path / "data.toml").write_text(write_contract([tmp_path], tmp_path))
    assert read(tmp_path).dataset.snapshot.meaning.consumed == ()


def test_positives_without_times_are_consumed(tmp_path, read):
    pairs = dict.fromkeys((f"c{u}", f"i{i}") for u, i, _ in draw_events(20, 12, repeats="never"))
    write_log(tmp_path, list(pairs), head=HEAD[:2])
    (tmp_path / "data.toml").write_text(write_contract([tmp_path], tmp_path))
    assert read(tmp_path).dataset.snapshot.meaning.consumed == ("positive",)


@pytest.mark.parametrize(
    ("name", "event", "is_consumption"),
    [
        ("buy", "x", True),
        ("x", "OrderPlaced", True),
        ("x", "order_placed", True),
        ("ratings", "x", True),
        ("cart", "add_to_cart", False),
        ("reordering", "border", False),
        ("x", "rate", True),
        ("click_rate", "x", False),
    ],
)
def test_names_of_labels_and_events_show_consumption(tmp_path, name, event, is_consumption):
    (tmp_path / "data.toml").write_text(
        TOML.replace("purchase =", f"{name} =").replace('"purchase"', f'"{event}"')
    )
    contract = read_contract(tmp_path)
    assert contract.consumption_labels == ((name,) if is_consumption else ())
