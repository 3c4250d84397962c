"""Tests that screen.toml is read, and that mistakes are expected in one line with the place."""

from importlib.resources import files

import pytest

from karec.errors import ConfigError
from karec.screening.settings import Condition, read_settings

LEAST = 'keep = 10\nuploads = "uploads"\n[quality]\ncolumn = "score"\n'


def read(folder, text):
    (folder / "screen.toml").write_text(text)
    return read_settings(folder / "screen.toml")


def test_starting_screen_toml_is_valid(tmp_path):
    settings = read(tmp_path, files("karec.screening").joinpath("starting.toml").read_text(encoding="utf-8"))
    assert settings.max_days == 60 and settings.old_reason == "too old"
    assert settings.rules[2].where == Condition(column="type", value="video")
    assert [quota.named for quota in settings.quotas][:2] == ["younger than 3 days", "type is video"]
    assert settings.learn is not None and settings.near_duplicates is not None


def test_minimal_screen_toml_is_valid(tmp_path):
    settings = read(tmp_path, LEAST)
    assert (settings.rules, settings.quotas, settings.near_duplicates, settings.learn) == ((), (), None, None)
    assert settings.columns.work == "work_id" and settings.max_days is None


def rules(line):
    return LEAST.replace("[quality]", f"rules = [ {line} ]\n[quality]")


def quotas(*lines):
    return LEAST.replace("[quality]", f"quotas = [ {', '.join(lines)} ]\n[quality]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("keep = 0\n" + LEAST.partition("\n")[2], "keep = 0"),
        (LEAST.replace("keep", "kept"), "did you mean 'keep'"),
        (LEAST.replace("keep = 10\n", ""), "the key 'keep' is missing"),
        (LEAST + 'model = "x.onnx"\n', "quality needs model or column"),
        (rules('{ reason = "short", column = "s", leest = 3 }'), "rules[0]: unknown key 'leest'"),
        (rules('{ reason = "short", column = "s" }'), "needs a column with min, max or not_in"),
        (rules('{ reason = "short", column = "s", min = 3, max = 2 }'), "rejects every work"),
        (rules('{ reason = "short", column = "s", min = nan }'), "a finite number"),
        (rules('{ reason = "quota", column = "s", min = 1 }'), "none of screening's own"),
        (rules('{ reason = "old", age_days = 0 }'), "age_days = 0, expected at least 1"),
        (
            rules('{ reason = "a", column = "s", min = 1 }, { reason = "a", column = "t", min = 1 }'),
            "twice",
        ),
        (
            rules('{ reason = "a", age_days = 1 }, { reason = "b", age_days = 2 }'),
            "age_days appears twice",
        ),
        (rules("3"), "rules[0]: expected a table"),
        (LEAST.replace("[quality]", "rules = 3\n[quality]"), "rules = 3, expected a list"),
        (quotas('{ column = "t", value = "a", floor = 0.6, cap = 0.4 }'), "floor = 0.6 > cap = 0.4"),
        (
            quotas(
                '{ column = "t", value = "a", floor = 0.6 }', '{ column = "t", value = "b", floor = 0.5 }'
            ),
            "floors of values of 't' add up to 1.1, more than 1",
        ),
        (quotas('{ column = "t", value = "a" }'), "needs floor or cap"),
        (quotas('{ column = "t", value = "a", floor = 2 }'), "expected 0 to 1"),
        (quotas('{ column = "t", floor = 0.1 }'), "needs value, or min and below"),
        (quotas('{ column = "t", min = 3, below = 2, floor = 0.1 }'), "no work is both"),
        (quotas('{ age_days = 2, column = "t", floor = 0.1 }'), "a column or age_days"),
        (
            quotas('{ age_days = 2, value = "a", floor = 0.1 }'),
            "age_days goes without value",
        ),
        ("rulse = []\n" + LEAST, "unknown key 'rulse' (did you mean 'rules'?)"),
        (rules('{ reason = "kept", column = "s", min = 1 }'), "none of screening's own"),
        (
            rules(
                '{ reason = "a: t is missing", column = "s", min = 1 }, { reason = "a", column = "t", '
                "min = 1 }"
            ),
            "'a: t is missing' appears twice",
        ),
        (
            rules('{ reason = "a", column = "s", not_in = ["blocked.txt"] }'),
            "not_in = ['blocked.txt'], expected str",
        ),
        ("missing_days = [2026-11-03T00:00:00]\n" + LEAST, "expected date"),
        (LEAST + "[near_duplicates]\ncosine = 0.1\n", "expected 0.5 to 1"),
        (LEAST + "[learn]\nfeatures = []\n", "features = [], expected columns"),
    ],
)
def test_mistake_in_screen_toml_is_reported_with_its_place(tmp_path, text, expected):
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert expected in message and str(tmp_path / "screen.toml") in message
