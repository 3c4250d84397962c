"""The one TOML checker: a table fills a class, and every mistake is one line with its place and the nearest
name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import pytest

from karec.errors import ConfigError
from karec.toml import Place, fill, keywords, read_toml, required, tables


@dataclass(frozen=True)
class Towers:
    vector: int = 64
    kind: Literal["full", "static"] = "full"

    def __post_init__(self):
        if self.vector <= 0:
            raise ConfigError(f"vector = {self.vector}, expected more than 0")


@dataclass(frozen=True)
class Settings:
    rate: float = 0.001
    epochs: int = 3
    ends: tuple[int, ...] = (5, 10)
    weights: Mapping[str, float] = field(default_factory=dict)
    facets: Sequence[str] = ()
    limit: int | None = None
    either: int | str = 0
    pair: tuple[int, str] = (0, "")
    sized: int | Literal["all"] = "all"
    log: bool = False
    name: str = ""
    day: date = date(2026, 11, 1)
    anything: Any = None
    towers: Towers = field(default_factory=Towers)


class Plain:
    def __init__(self, index: object, quota: int, decay: float = 0.5, *rest: int, **more: int) -> None:
        self.index, self.quota, self.decay = index, quota, decay


PLACE = Place(Path("a.toml"), "scenes.home")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Settings()),
        ("rate = 1", Settings(rate=1.0)),
        ("ends = [1, 2]", Settings(ends=(1, 2))),
        ("weights = { click = 2 }", Settings(weights={"click": 2.0})),
        ('facets = ["tag"]', Settings(facets=["tag"])),
        ("limit = 4", Settings(limit=4)),
        ('either = "x"', Settings(either="x")),
        ('pair = [1, "x"]', Settings(pair=(1, "x"))),
        ("anything = [1, {}]", Settings(anything=[1, {}])),
        ('towers = { kind = "static" }', Settings(towers=Towers(kind="static"))),
    ],
)
def test_a_table_fills_a_dataclass(tmp_path, text, expected):
    path = tmp_path / "a.toml"
    path.write_text(text)
    filled = fill(Settings, read_toml(path), Place(path))
    assert filled == expected
    assert type(filled.rate) is float


def test_tables_in_a_list_become_instances_each_with_its_place():
    @dataclass(frozen=True)
    class Many:
        towers: tuple[Towers, ...] = ()

    filled = fill(Many, {"towers": [{"vector": 8}, {}]}, PLACE)
    assert filled == Many((Towers(vector=8), Towers()))
    with pytest.raises(ConfigError, match=r"^a\.toml: scenes\.home\.towers\[1\]: unknown key 'vectr'"):
        fill(Many, {"towers": [{}, {"vectr": 1}]}, PLACE)


def test_absent_keys_keep_the_values_of_a_base_nested_ones_too():
    base = Settings(epochs=9, towers=Towers(32, "static"))
    assert fill(Settings, {"towers": {"vector": 16}}, PLACE, base) == Settings(
        epochs=9, towers=Towers(16, "static")
    )


def test_a_plain_class_is_filled_by_its_parameters_and_what_is_given_cannot_be_set():
    assert keywords(Plain, {"quota": 3}, PLACE, given=("index",)) == {"quota": 3}
    with pytest.raises(ConfigError, match=r"unknown key 'index'; known are \['decay', 'quota'\]"):
        keywords(Plain, {"quota": 3, "index": 1}, PLACE, given=("index",))
    with pytest.raises(ConfigError, match="the key 'quota' is missing"):
        keywords(Plain, {}, PLACE, given=("index",))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"epoch": 3}, r": unknown key 'epoch' \(did you mean 'epochs'\?\); known are \['anything', "),
        ({"epochs": 2.5}, ": epochs = 2.5, expected int"),
        ({"epochs": True}, ": epochs = True, expected int"),
        ({"log": 1}, ": log = 1, expected bool"),
        ({"rate": "x"}, ": rate = 'x', expected float"),
        ({"rate": 10**400}, ": rate is too large for a number with a point"),
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
        ({"towers": {"vector": 0}}, r"home\.towers: vector = 0, expected more than 0"),
        ({"towers": {"kind": "half"}}, r"home\.towers: kind = 'half', expected one of 'full', 'static'"),
        ("x", ": expected a table, got 'x'"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(table, message):
    with pytest.raises(ConfigError, match=r"^a\.toml: scenes\.home" + message.removeprefix("home")) as caught:
        fill(Settings, table, PLACE)
    assert "\n" not in str(caught.value)


def test_a_message_of_several_lines_becomes_one():
    class Refuses:
        def __init__(self, quota: int) -> None:
            raise ValueError("no\n  such quota")

    with pytest.raises(ConfigError, match=r"^a\.toml: scenes\.home: no such quota$"):
        fill(Refuses, {"quota": 1}, PLACE)


def test_places_are_written_as_in_the_file():
    assert str(Place(Path("a.toml"))) == "a.toml"
    assert str(Place(Path("a.toml"))["scenes"]["home"]["recall"][0]) == "a.toml: scenes.home.recall[0]"


def test_a_missing_key_and_a_list_of_something_else_are_refused():
    with pytest.raises(ConfigError, match=r"scenes\.home: the key 'use' is missing"):
        required({}, "use", str, PLACE)
    with pytest.raises(ConfigError, match=r"scenes\.home: must be a list of tables"):
        tables(["x"], PLACE)


def test_a_file_that_is_absent_or_no_toml_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read: No such file"):
        read_toml(tmp_path / "absent.toml")
    (tmp_path / "a.toml").write_text("a =")
    with pytest.raises(ConfigError, match=r"a\.toml is not TOML"):
        read_toml(tmp_path / "a.toml")
