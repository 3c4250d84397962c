"""A mistake in a data.toml is reported with its key."""

import re

import pytest
from own_files import N_ROWS, TOML, shop_rows, write_shop

from karec.data.contract import read_contract
from karec.errors import ConfigError

SHOP = TOML.format(ending="csv")
GOODS = '[items]\npath = "goods.csv"\nid = "sku"\n'
UNTIMED = '[events]\npath = "log.csv"\ncolumns = { user = "customer", item = "sku" }\n'
ACTIONS = (
    '[events]\npath = "log.csv"\nview = "view"\n'
    'columns = { user = "customer", item = "sku", time = "at", event = "stars" }\n'
    "[labels]\nclick = LABEL\n"
)


LATE_SPLIT = "[split.begin]\ntraining = 2024-01-15\nvalidation = 2024-01-16\ntest = 2024-01-17\n"


def with_check(check):
    return SHOP + GOODS + f'checks = [{{ columns = ["weight"], {check} }}]\n'


MISTAKES = {
    "not TOML": ("[events", r"data\.toml is not TOML"),
    "no events": ("[items]\npath = 'a.csv'\nid = 'a'\n", r"data\.toml: the key 'events' is missing"),
    "unknown table": (SHOP + "[itmes]\n", r"unknown key 'itmes' \(did you mean 'items'\?\)"),
    "unknown role": (
        SHOP.replace("scene =", "seen ="),
        r"events\.columns: unknown key 'seen' \(did you mean 'scene'\?\)",
    ),
    "wrong type": (SHOP.replace('"log.csv"', "3"), r"events: path = 3, expected str"),
    "wrong zone": (f'zone = "Mars/Base"\n{SHOP}', r"zone = 'Mars/Base': expected a name such as"),
    "wrong unit": (SHOP.replace("[labels]", 'time_unit = "min"\n[labels]'), r"expected one of 'auto', 's'"),
    "two conditions": (
        SHOP.replace("_least = 4", "_least = 4, equals = 'a'"),
        r"labels\.liked: .*: at most one",
    ),
    "no condition": (SHOP.replace('column = "stars", at', "at"), r"labels\.liked: a label needs an event or"),
    "events and columns": (
        SHOP.replace('column = "stars", at_least = 4', 'event = "buy"'),
        r"labels need either events or columns",
    ),
    "value without a column": (
        ACTIONS.replace("LABEL", '{ event = "click", at_least = 1 }'),
        r"at_least with an event needs events\.columns\.value and another event",
    ),
    "value of the view": (
        ACTIONS.replace("LABEL", '{ event = "view", at_least = 1 }').replace(
            "event =", 'value = "a", event =', 1
        ),
        r"at_least with an event needs events\.columns\.value and another event",
    ),
    "negative weight": (SHOP.replace("_least = 4", "_least = 4, weight = -1"), r"labels\.liked: weight = -1"),
    "unknown label": (SHOP.replace('["liked"]', '["loved"]'), r"meaning names 'loved', which is not a label"),
    "no label of enjoyed": (
        SHOP.replace("enjoyed =", "followed ="),
        r"meaning\.enjoyed is missing: name labels of \['liked', 'rated'\], or leave out \[meaning\]",
    ),
    "split above 1": (SHOP + "[split]\nvalidation = 0.6\ntest = 0.5\n", r"split: expected fractions ≥ 0"),
    "no negatives": (SHOP + "[negatives]\nper_positive = 0\n", r"per_positive = 0, expected at least 1"),
    "no time": (SHOP.replace('time = "at", ', ""), r"events\.columns\.time is missing"),
    "no time and no split by user": (UNTIMED, r'write by = "user" under \[split\]'),
    "events without times": (
        UNTIMED.replace("columns", 'view = "view"\ncolumns').replace('"sku"', '"sku", event = "what"')
        + '[split]\nby = "user"\n[labels]\nliked = { event = "like" }\n',
        r"events\.columns\.time is missing",
    ),
    "path and files of a split": (
        SHOP + '[split]\nfiles = { train = "a.csv", test = "b.csv" }\n',
        r"either events\.path or split\.files",
    ),
    "two splits": (SHOP + '[split]\ncolumn = "part"\nby = "last"\n', r"by and column are given"),
    "position of positives": (
        UNTIMED.replace('"sku"', '"sku", time = "at", position = "slot"'),
        r"events\.columns\.position",
    ),
    "times and a split by user": (
        UNTIMED.replace('"sku"', '"sku", time = "at"') + '[split]\nby = "user"\n',
        r'split\.by = "user" is for logs without times',
    ),
    "empty separator": (SHOP + GOODS + 'lists = { a = "" }\n', r"items: lists: a separator is empty"),
    "form of a number": (with_check('holds = "integer", matches = "a"'), "matches is for texts"),
    "bounds of a time": (with_check('holds = "time", within = [1, 2]'), "bounds are numbers, or dates"),
    "bounds of a text": (with_check('holds = "text", within = [1, 2]'), "a text has none"),
    "bounds in another order": (with_check('holds = "integer", within = [2, 1]'), "the smallest value first"),
    "unknown content": (with_check('holds = "int"'), "expected one of 'integer', 'whole'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_in_data_toml_is_reported_with_its_key(tmp_path, name):
    toml, reason = MISTAKES[name]
    (tmp_path / "data.toml").write_text(toml)
    with pytest.raises(ConfigError, match=reason):
        read_contract(tmp_path)


def test_missing_data_toml_is_reported_with_the_command(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.toml is missing\. Run karec data init"):
        read_contract(tmp_path)


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        (
            SHOP.replace('"stars"', '"stras"', 1),
            r"labels\.liked\.column: no column 'stras' \(did you mean 'stars'",
        ),
        (with_check('holds = "number"'), r"items\.checks: no column 'weight' \(did you mean 'wight'\?\)"),
        (
            SHOP + "[split.begin]\ntraining = 2024-01-15\nvalidation = 2024-01-16\ntest = 2024-01-17\n",
            "no event is in the test, which begins at 2024-01-17",
        ),
    ],
)
def test_mistake_that_files_show_is_reported_with_its_key(shop, refused, toml, reason):
    (shop / "data.toml").write_text(toml)
    (shop / "goods.csv").write_text("sku,wight\nsku 1,2.5\n")
    message = refused(shop)
    assert re.search(reason, message), message


@pytest.mark.parametrize(("view", "label"), [("view", "clicks"), ("show", "click")])
def test_event_that_never_occurs_is_reported_with_those_that_do(tmp_path, refused, view, label):
    rows = [(*row[:3], "view" if at % 2 else "click", row[4]) for at, row in enumerate(shop_rows(N_ROWS))]
    toml = ACTIONS.replace("LABEL", f'{{ event = "{label}" }}').replace('view = "view"', f'view = "{view}"')
    folder = write_shop(tmp_path / "shop", rows)
    (folder / "data.toml").write_text(toml)
    missing = view if view == "show" else label
    expected = f"column 'stars' never has the value {missing!r}; its values are 'click' (200), 'view' (200)"
    assert expected in refused(folder)
