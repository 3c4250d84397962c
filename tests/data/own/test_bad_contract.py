"""A wrong data.toml is told by its key, and what the log lacks of it."""

import re

import pytest
from own_files import N_ROWS as N
from own_files import TOML, shop_rows, write_shop

from karec.errors import ConfigError, DataError

WRONG_TOML = {
    "missing": (None, r"data\.toml is missing\. Run karec data init"),
    "no TOML": ("[events", r"data\.toml is not TOML"),
    "no events": ("[items]\npath = 'a.csv'\nid = 'a'\n", r"data\.toml: the key 'events' is missing"),
    "unknown table": (TOML + "[itmes]\n", r"unknown key 'itmes' \(did you mean 'items'\?\)"),
    "no time": (TOML.replace('time = "at", ', ""), r"events\.columns\.time is missing"),
    "unknown role": (
        TOML.replace("scene =", "seen ="),
        r"events\.columns: unknown key 'seen' \(did you mean 'scene'\?\)",
    ),
    "wrong kind": (TOML.replace('"log.{ending}"', "3"), r"events: path = 3, expected str"),
    "wrong column": (
        TOML.replace('"stars"', '"stras"'),
        r"labels\.liked\.column: no column 'stras' \(did you mean 'stars'\?\)",
    ),
    "two ways": (
        TOML.replace("at_least = 4", "at_least = 4, equals = 'a'"),
        r"labels\.liked: equals and at_least: at most one",
    ),
    "no way": (
        TOML + "x = {{ }}\n".join(["", ""]).replace("x", "[labels.bad]\n#"),
        r"labels\.bad: a label needs an event or a",
    ),
    "an event without its column": (
        TOML.replace('column = "stars", at_least = 4', 'event = "buy"'),
        r"labels need either events or columns",
    ),
    "meaning of nothing": (
        TOML.replace('["liked"]', '["loved"]'),
        r"meaning names 'loved', which is not a "
        r"label",
    ),
    "nothing enjoyed": (
        TOML.replace("enjoyed =", "followed ="),
        r"meaning\.enjoyed is missing: name labels of \['liked', 'rated'\], or leave out \[meaning\]",
    ),
    "split": (TOML + "[split]\nvalidation = 0.6\ntest = 0.5\n", r"split: expected fractions ≥ 0"),
    "negatives": (
        TOML + "[negatives]\nper_positive = 0\n",
        r"negatives: per_positive = 0, expected at least 1",
    ),
    "unit": (
        TOML.replace("[labels]", 'time_unit = "min"\n[labels]'),
        r"time_unit = 'min', expected one of 'auto', 's'",
    ),
    "weight": (TOML.replace("at_least = 4", "at_least = 4, weight = -1"), r"labels\.liked: weight = -1"),
    "between": (
        TOML + '[items]\npath = "goods.csv"\nid = "sku"\nlists = {{ a = "" }}\n',
        r"items: lists: a separator is empty",
    ),
}


@pytest.mark.parametrize("name", WRONG_TOML)
def test_a_wrong_data_toml_is_told_by_its_key(shop, refused, name):
    toml, why = WRONG_TOML[name]
    (shop / "data.toml").unlink()
    if toml is not None:
        (shop / "data.toml").write_text(toml.format(ending="csv"))
    told = refused(shop, (ConfigError, DataError))
    assert re.search(why, told), told


def test_a_label_event_that_never_occurs_is_told_with_those_that_do(tmp_path, refused):
    rows = [
        (u, i, s, "view" if at % 2 else "click", page) for at, (u, i, s, _, page) in enumerate(shop_rows(N))
    ]
    toml = (
        '[events]\npath = "log.csv"\nview = "view"\n'
        'columns = {{ user = "customer", item = "sku", time = "at", event = "stars" }}\n'
        '[labels]\nclick = {{ event = "clicks" }}\n'
    )
    told = refused(write_shop(tmp_path / "shop", rows, toml=toml))
    assert "column 'stars' never has the value 'clicks'; its values are 'click' (200), 'view' (200)" in told
