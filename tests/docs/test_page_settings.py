"""Tables of settings in pages have the keys of the code, and its defaults if a page promises them."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from doc_pages import ROOT, page_blocks, toml_tables

from karec.config.online_settings import OnlineSettings
from karec.config.scenes import Config
from karec.config.serve_settings import ServeSettings
from karec.data.contract import convert_contract
from karec.learn.settings.settings import TrainSettings
from karec.serve import metrics
from karec.toml import Place, Settings, convert

SET_BY_TRAIN = {"model_version"}


@pytest.mark.parametrize("table", toml_tables("docs/data.md"))
def test_data_page_tables_are_a_data_toml(table: dict[str, Any]) -> None:
    events = {"path": "log.csv", "columns": {"user": "u", "item": "i", "time": "t"}}
    convert_contract({"events": events, **table}, Place(Path("data.toml")), Path())


def test_training_page_has_the_default_of_every_setting(tmp_path: Path) -> None:
    (text,) = [
        block.text for block in page_blocks("docs/training.md") if block.value("file") == "defaults.toml"
    ]
    (tmp_path / "train.toml").write_text(text)
    defaults = TrainSettings()
    assert TrainSettings.from_toml(tmp_path / "train.toml") == defaults
    (table,) = [table for table in toml_tables("docs/training.md") if "task_weights" in table]
    assert set(table) == field_names(TrainSettings) - SET_BY_TRAIN
    for name, values in table.items():
        section = type(getattr(defaults, name))
        if issubclass(section, Settings):
            assert set(values) == field_names(section)


def field_names(settings: type[Settings]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(settings)}


PAGES_OF_SETTINGS = pytest.mark.parametrize(
    ("page", "key", "settings"),
    [
        ("docs/online-features.md", "online", OnlineSettings),
        ("docs/serving.md", "serve", ServeSettings),
    ],
)


@PAGES_OF_SETTINGS
def test_page_tables_are_settings(page: str, key: str, settings: type[Settings]) -> None:
    tables = toml_tables(page)
    assert tables
    for table in tables:
        convert(settings, table[key], Place(Path("karec.toml")))


@PAGES_OF_SETTINGS
def test_page_has_every_key_with_its_default(page: str, key: str, settings: type[Settings]) -> None:
    """The first TOML block has all keys; those whose default is None are in comments."""
    text = next(block.text for block in page_blocks(page) if block.language == "toml")
    table = tomllib.loads(text)[key]
    in_comments = set(re.findall(r"^# (\w+) = ", text, re.MULTILINE))
    fields = msgspec.structs.fields(settings)
    assert in_comments == {field.name for field in fields if field.default is None}
    assert set(table) == field_names(settings) - in_comments
    required = {field.name: table[field.name] for field in fields if field.required}
    place = Place(Path("karec.toml"))
    assert convert(settings, table, place) == convert(settings, required, place)


def test_serving_page_has_every_metric_with_its_labels() -> None:
    lines = (ROOT / "docs/serving.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `karec_")]
    counters = {f"{name}_total": labels for name, (_, labels) in metrics.COUNTERS.items()}
    measured = {name: labels for name, (_, _, labels) in (metrics.GAUGES | metrics.HISTOGRAMS).items()}
    for name, labels in (counters | measured).items():
        (row,) = [row for row in rows if f"`{name}`" in row.split("|")[1]]
        assert all(f"`{label}`" in row.split("|")[2] for label in labels), row
    names = {name for row in rows for name in re.findall(r"`(karec_\w+)`", row)}
    assert names == set(counters | measured)


def test_scale_page_has_a_config(tmp_path: Path) -> None:
    (text,) = [block.text for block in page_blocks("docs/scale.md") if block.language == "toml"]
    (tmp_path / "karec.toml").write_text(text)
    config = Config.read(tmp_path / "karec.toml")
    assert config.online is not None
    assert config.online.is_on_a_server
