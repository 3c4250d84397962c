"""One reader for all TOML files: every mistake of a table is reported with its place and the nearest name."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.errors import ConfigError
from karec.toml import (
    Count,
    Fraction,
    Place,
    Settings,
    convert,
    read_key,
    read_tables,
    read_toml,
    toml_lines,
    toml_value,
)


class Towers(Settings, frozen=True):
    vector: Count = 64
    kind: Literal["full", "static"] = "full"


class Training(Settings, frozen=True):
    rate: float = 0.001
    epochs: int = 3
    ends: tuple[int, ...] = (5, 10)
    weights: Mapping[str, float] = {}
    facets: Sequence[str] = ()
    limit: int | None = None
    either: int | str = 0
    pair: tuple[int, str] = (0, "")
    sized: int | Literal["all"] = "all"
    log: bool = False
    name: str = ""
    day: date = date(2026, 11, 1)
    share: Fraction = 0.5
    anything: Any = None
    towers: Towers = Towers()


@dataclass(frozen=True)
class Plain:
    quota: int
    folder: Path
    decay: float = 0.5

    def __post_init__(self) -> None:
        if self.quota < 0:
            raise ValueError("no\n  such quota")


PLACE = Place(Path("a.toml"), "scenes.home")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Training()),
        ("rate = 1", Training(rate=1.0)),
        ("ends = [1, 2]", Training(ends=(1, 2))),
        ("weights = { click = 2 }", Training(weights={"click": 2.0})),
        ('facets = ["tag"]', Training(facets=["tag"])),
        ("limit = 4", Training(limit=4)),
        ('either = "x"', Training(either="x")),
        ('pair = [1, "x"]', Training(pair=(1, "x"))),
        ("anything = [1, {}]", Training(anything=[1, {}])),
        ('towers = { kind = "static" }', Training(towers=Towers(kind="static"))),
    ],
)
def test_convert_returns_settings_of_a_table(tmp_path, text, expected):
    path = tmp_path / "a.toml"
    path.write_text(text)
    filled = convert(Training, read_toml(path), Place(path))
    assert filled == expected
    assert type(filled.rate) is float


def test_convert_returns_an_instance_of_each_table_in_a_list():
    class Many(Settings, frozen=True):
        towers: tuple[Towers, ...] = ()

    filled = convert(Many, {"towers": [{"vector": 8}, {}]}, PLACE)
    assert filled == Many(towers=(Towers(vector=8), Towers()))
    with pytest.raises(ConfigError, match=r"^a\.toml: scenes\.home\.towers\[1\]: unknown key 'vectr'"):
        convert(Many, {"towers": [{}, {"vectr": 1}]}, PLACE)


def test_convert_takes_absent_keys_from_base():
    base = Training(epochs=9, towers=Towers(vector=32, kind="static"))
    assert convert(Training, {"towers": {"vector": 16}}, PLACE, base=base) == Training(
        epochs=9, towers=Towers(vector=16, kind="static")
    )


def test_convert_refuses_keys_of_given_fields():
    given = {"folder": Path()}
    assert convert(Plain, {"quota": 3}, PLACE, given=given) == Plain(3, Path())
    with pytest.raises(ConfigError, match=r"unknown key 'folder'; known are \['decay', 'quota'\]"):
        convert(Plain, {"quota": 3, "folder": "x"}, PLACE, given=given)
    with pytest.raises(ConfigError, match="the key 'quota' is missing"):
        convert(Plain, {}, PLACE, given=given)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"epoch": 3}, r": unknown key 'epoch' \(did you mean 'epochs'\?\); known are \['anything', "),
        ({"epochs": 2.5}, ": epochs = 2.5, expected int"),
        ({"epochs": True}, ": epochs = True, expected int"),
        ({"log": 1}, ": log = 1, expected bool"),
        ({"rate": "x"}, ": rate = 'x', expected float"),
        ({"rate": 10**400}, f": rate = 1{'0' * 400}, expected at most 9223372036854775807"),
        ({"rate": float("nan")}, ": rate = nan, expected a finite number"),
        ({"epochs": 2**63}, ": epochs = 9223372036854775808, expected at most 9223372036854775807"),
        ({"share": 1.5}, ": share = 1.5, expected 0 to 1"),
        ({"ends": 5}, ": ends = 5, expected a list"),
        ({"ends": [1, "a"]}, r": ends\[1\] = 'a', expected int"),
        ({"weights": [1]}, r": weights = \[1\], expected a table"),
        ({"weights": {"click": "x"}}, r": weights\.click = 'x', expected float"),
        ({"facets": "tag"}, ": facets = 'tag', expected a list"),
        ({"name": ["a"]}, r": name = \['a'\], expected str"),
        ({"day": datetime(2026, 11, 3)}, r": day = datetime.*, expected date"),
        ({"limit": "x"}, ": limit = 'x', expected int"),
        ({"either": 2.5}, ": either = 2.5, expected int or str"),
        ({"pair": [1]}, r": pair = \[1\], expected a list of 2"),
        ({"sized": 2.5}, r": sized = 2.5, expected int or 'all'$"),
        ({"towers": 1}, r"home\.towers: expected a table, got 1"),
        ({"towers": {"vectr": 1}}, r"home\.towers: unknown key 'vectr' \(did you mean 'vector'\?\)"),
        ({"towers": {"vector": 0}}, r"home\.towers: vector = 0, expected at least 1"),
        ({"towers": {"kind": "half"}}, r"home\.towers: kind = 'half', expected one of 'full', 'static'"),
        ("x", ": expected a table, got 'x'"),
    ],
)
def test_convert_reports_a_mistake_in_one_line(table, message):
    with pytest.raises(ConfigError, match=r"^a\.toml: scenes\.home" + message.removeprefix("home")) as caught:
        convert(Training, table, PLACE)
    assert "\n" not in str(caught.value)


def test_convert_joins_the_lines_of_a_message():
    with pytest.raises(ConfigError, match=r"^a\.toml: scenes\.home: no such quota$"):
        convert(Plain, {"quota": -1}, PLACE, given={"folder": Path()})


def test_convert_reports_every_mistake_with_its_line(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('towers.kind = "half"\nepoch = 2\n\nvector = 3\nlog = 1\n')
    with pytest.raises(ConfigError) as caught:
        convert(Training, read_toml(path), Place(path))
    first, second, third, fourth = str(caught.value).splitlines()
    assert first == f"{path}:1: towers: kind = 'half', expected one of 'full', 'static'"
    assert second.startswith(f"{path}:2: unknown key 'epoch' (did you mean 'epochs'?)")
    assert third == f"{path}:4: the key 'vector' belongs to a section. Write it at towers.vector."
    assert fourth == f"{path}:5: log = 1, expected bool"


def test_settings_check_values_from_python():
    with pytest.raises(ConfigError, match=r"^epochs = 2\.5, expected int; log = 1, expected bool$"):
        Training(epochs=2.5, log=1)
    assert type(Training(rate=1).rate) is float


def test_settings_replace_values_of_nested_settings():
    changed = Training(epochs=9).replace(name="x", towers={"vector": 8})
    assert changed == Training(epochs=9, name="x", towers=Towers(vector=8))


def test_toml_value_is_read_as_the_same_value():
    values = {"a": [1, 2.5, True], "b c": 'say "hi"', "d": {"e": {}}, "f": 1_000_000}
    assert tomllib.loads(f"x = {toml_value(values)}")["x"] == values


def test_place_is_written_as_in_the_file():
    assert str(Place(Path("a.toml"))) == "a.toml"
    assert str(Place(Path("a.toml"))["scenes"]["home"]["recall"][0]) == "a.toml: scenes.home.recall[0]"


def test_read_key_refuses_an_absent_key_and_read_tables_other_lists():
    with pytest.raises(ConfigError, match=r"scenes\.home: the key 'use' is missing"):
        read_key({}, "use", str, PLACE)
    with pytest.raises(ConfigError, match=r"scenes\.home: must be a list of tables"):
        read_tables(["x"], PLACE)


def test_read_toml_names_an_unreadable_file(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read: No such file"):
        read_toml(tmp_path / "absent.toml")
    (tmp_path / "a.toml").write_text("a =")
    with pytest.raises(ConfigError, match=r"a\.toml is not TOML"):
        read_toml(tmp_path / "a.toml")


FILE = '''# a comment with = and [brackets]
a = 1
"b c" = """text
over = lines"""
d.e = [1, "x, ] # no comment", [2,   # a comment with ]
    3]]

[t.u]
v = { w = true, x = [{ y = 1979-05-27 }, { y = 'z' }] }
[[l]]
n = 1
[[l.m]]
o = 2
[[l.m]]
o = 3
[[l]]
[l.p]
q = 4
'''


def key_paths(value, path=()):
    """Every path of a parsed file."""
    if path:
        yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, each in entries:
        yield from key_paths(each, (*path, key))


def test_toml_lines_has_the_line_of_every_key():
    lines = toml_lines(FILE)
    assert set(lines) == set(key_paths(tomllib.loads(FILE)))
    at = {
        ("a",): 2,
        ("b c",): 3,
        ("d",): 5,
        ("d", "e", 2, 1): 6,
        ("t", "u", "v", "x", 1, "y"): 9,
        ("l", 0, "n"): 11,
        ("l", 0, "m", 1, "o"): 15,
        ("l", 1): 16,
        ("l", 1, "p", "q"): 18,
    }
    assert {path: lines[path] for path in at} == at


keys = st.from_regex(r"[a-z]{1,3}", fullmatch=True)
leaves = st.one_of(
    st.integers(), st.booleans(), st.text(st.characters(codec="ascii", exclude_characters="\x7f"))
)
values = st.recursive(
    leaves, lambda each: st.lists(each, max_size=3) | st.dictionaries(keys, each, max_size=3)
)


def written(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {written(each)}" for key, each in value.items()) + "}"
    return "[\n" + ",\n".join(map(written, value)) + "]" if isinstance(value, list) else json.dumps(value)


@given(st.dictionaries(keys, values, max_size=4), st.dictionaries(keys, values, max_size=3))
def test_toml_lines_has_the_keys_of_the_parsed_file(top, table):
    text = "".join(f"{key} = {written(value)}\n" for key, value in top.items())
    text += "[zzzz]\n" + "".join(f"{key} = {written(value)}\n" for key, value in table.items())
    assert set(toml_lines(text)) == set(key_paths(tomllib.loads(text)))
