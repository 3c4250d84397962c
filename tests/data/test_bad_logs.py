"""Odd logs are kept, left out or refused by a stated rule, with counts."""

import tomllib

import numpy as np
import pytest
from own_files import START_S, iso, write_log

from karec.data.draft import write_contract
from karec.errors import DataError

HEAD = ("user", "item", "time", "amount")
TOML = """\
[events]
path = "log.csv"
columns = { user = "user", item = "item", time = "time", value = "amount" }
"""


def purchases(n=600, *, n_users=30, n_items=25, seed=0):
    generator = np.random.default_rng(seed)
    return [
        (f"u{generator.integers(n_users)}", f"i{generator.integers(n_items)}", START_S + at * 3600, 1.5)
        for at in range(n)
    ]


def write(folder, rows, toml=TOML):
    write_log(folder, rows, head=HEAD[: len(rows[0])])
    (folder / "data.toml").write_text(toml)
    return folder


def test_user_with_a_third_of_the_events_is_kept_and_named(read, tmp_path):
    rows = purchases()
    bot = [("bot", f"i{at % 25}", START_S + at * 7200 + 1, 1.0) for at in range(300)]
    result = read(write(tmp_path, rows + bot))
    assert any("user bot has 33% of the impressions" in note for note in result.dataset.notes)
    assert result.report.tables[0].kept == 900


def test_refunds_are_left_out_with_their_count(read, tmp_path):
    rows = purchases()
    refunds = [(user, "i99", at + 60, -1.5) for user, _, at, _ in rows[:20]]
    write(tmp_path, rows + refunds)
    (tmp_path / "data.toml").write_text(write_contract([tmp_path / "log.csv"], tmp_path))
    result = read(tmp_path)
    left_out = {reason: count.count for reason, count in result.report.tables[0].left_out.items()}
    assert left_out == {"the value is negative: a refund": 20}
    exposures = result.dataset.exposures
    taken = result.ids["items"].names(exposures.work_id[exposures.labels["positive"] == 1])
    assert "i99" not in taken.tolist()


def test_refunds_of_a_log_of_events_make_no_label(read, tmp_path):
    rows = [(u, i, at, "view", None) for u, i, at, _ in purchases()]
    rows += [(u, i, at + 5, "buy", -2.0 if n % 5 == 0 else 2.0) for n, (u, i, at, *_) in enumerate(rows[::3])]
    rows += [(u, i, at + 6, "rate", -1.0) for u, i, at, *_ in rows[:5]]
    write_log(tmp_path, rows, head=(*HEAD[:3], "action", "amount"))
    labels = '[labels]\nbuy = { event = "buy" }\nliked = { event = "rate", at_least = -2, task = false }\n'
    (tmp_path / "data.toml").write_text(
        TOML.replace("columns", 'view = "view"\ncolumns').replace("value", 'event = "action", value')
        + labels
        + "[split]\nhistory = 0.0\n"
    )
    result = read(tmp_path)
    assert result.dataset.exposures.labels["buy"].sum() == 160
    assert result.dataset.exposures.labels["liked"].sum() == 5
    assert [reason.count for reason in result.report.tables[0].left_out.values()] == [40]


def test_unwanted_events_are_no_task_of_a_page(tmp_path):
    rows = [(u, i, at, "view") for u, i, at, _ in purchases()]
    events = ("buy", "refund", "dislike")
    rows += [(u, i, at + 5, events[n % 3]) for n, (u, i, at, _) in enumerate(rows[::3])]
    write_log(tmp_path, rows, head=(*HEAD[:3], "action"))
    toml = tomllib.loads(write_contract([tmp_path], tmp_path))
    tasks = {name for name, label in toml["labels"].items() if label.get("task", True)}
    assert tasks == {"buy"} and toml["labels"].keys() == set(events)
    assert toml["meaning"]["enjoyed"] == ["buy"] and toml["meaning"]["liked"] == ["buy"]


def test_log_of_purchases_and_refunds_is_refused_by_init(tmp_path):
    rows = [(u, i, at, "refund" if n % 9 == 0 else "buy") for n, (u, i, at, _) in enumerate(purchases())]
    write_log(tmp_path, rows, head=(*HEAD[:3], "action"))
    with pytest.raises(DataError, match="events are only refund"):
        write_contract([tmp_path], tmp_path)


def test_times_without_a_zone_among_others_are_counted(read, tmp_path):
    rows = [
        (u, i, iso(at, "" if n % 4 == 0 else "+00:00"), amount)
        for n, (u, i, at, amount) in enumerate(purchases())
    ]
    result = read(write(tmp_path, rows))
    (kind,) = [column.kind for column in result.report.tables[0].columns if column.use == "time"]
    assert kind == "time, 150 without a zone"
    assert result.dataset.exposures.time_ms.max() == (START_S + 599 * 3600) * 1000


def test_events_of_the_future_are_mistakes_with_their_line(refused, tmp_path):
    message = refused(write(tmp_path, [*purchases(), ("u1", "i1", START_S + 900 * 86_400, 1.0)]))
    assert "log.csv:602" in message and "in the future" in message


def test_items_without_any_item_of_the_log_are_refused(refused, tmp_path):
    write(tmp_path, purchases(), TOML + '[items]\npath = "goods.csv"\nid = "sku"\n')
    write_log(tmp_path, [(f"sku-{at}",) for at in range(30)], head=("sku",), name="goods")
    assert "none of the 600 events refers to an item" in refused(tmp_path)


def test_test_period_without_events_is_refused_with_its_times(refused, tmp_path):
    begin = "[split.begin]\ntraining = 2023-11-15\nvalidation = 2023-11-20\ntest = 2024-11-01\n"
    message = refused(write(tmp_path, purchases(), TOML + begin))
    assert (
        "no event is in the test, which begins at 2024-11-01T00:00:00Z" in message and "2023-12-09" in message
    )


def test_test_users_without_earlier_rows_are_counted(read, tmp_path):
    rows = purchases()
    rows += [(f"new{at}", f"i{at}", START_S + 599 * 3600 + at, 1.0) for at in range(4)]
    notes = read(write(tmp_path, rows)).dataset.notes
    assert any(note.startswith("4 of ") and "test users have no row before" in note for note in notes)


@pytest.mark.parametrize("has_leak", [False, True])
def test_column_computed_after_the_log_is_named(read, tmp_path, has_leak):
    generator = np.random.default_rng(3)
    n_items = 80
    early, late = generator.integers(n_items, size=3000), generator.integers(n_items, size=400)
    items = np.concatenate([early, (late**2) // n_items])
    rows = [
        (f"u{generator.integers(60)}", f"i{item}", START_S + at * 600, 1.0) for at, item in enumerate(items)
    ]
    sold = np.bincount(items if has_leak else items[:2700], minlength=n_items)
    price = generator.lognormal(size=n_items).round(2)
    goods = [(f"i{at}", int(sold[at]), price[at]) for at in range(n_items)]
    write_log(tmp_path, goods, head=("sku", "n_sold", "price"), name="goods")
    notes = read(write(tmp_path, rows, TOML + '[items]\npath = "goods.csv"\nid = "sku"\n')).dataset.notes
    assert ["'n_sold'" in note for note in notes if "computed after the log" in note] == [True] * has_leak
