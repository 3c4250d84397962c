"""A preset is a data.toml of the package. It is read like one in the folder of the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_digests import dataset_digests
from kuairand_files import LOG, kuairand_files, load_kuairand

from karec.cli import main
from karec.data.contract import FILE, PRESETS, preset_contract
from karec.data.load import load
from karec.errors import ConfigError


@pytest.fixture
def folder(write: Callable[..., Path]) -> Path:
    return write(kuairand_files())


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_a_valid_data_toml(name: str, tmp_path: Path) -> None:
    assert preset_contract(name, tmp_path).folder == tmp_path


def test_unknown_preset_is_reported_with_known_presets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no preset 'kuai'; there are .*kuairand"):
        preset_contract("kuai", tmp_path)


def test_copied_preset_gives_the_same_dataset(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data").mkdir()
    for name in kuairand_files():
        (folder / name).rename(folder / "data" / name)
    assert main(["data", "init", "--preset", "kuairand", str(folder)]) == 0
    assert str(folder / "data" / FILE) in capsys.readouterr().out
    ids = folder / "ids"
    ids.mkdir()
    copied = load(folder / "data", ids).dataset
    assert dataset_digests(copied) == dataset_digests(load_kuairand(folder))


def test_data_check_reports_on_a_preset(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--preset", "kuairand", "--json", str(folder)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [table["name"] for table in report["tables"]] == ["events", "items", "users"]
    assert report["tables"][0]["rows"] == 9 and report["parts"]["training"] == 2
    assert any(
        "user_history_to_4_24.parquet is missing: histories come from 1 rows" in n for n in report["notes"]
    )
    text = (folder / LOG).read_text(encoding="latin-1")
    (folder / LOG).write_text(text.replace("\n3,11,2022", "\n3,11,2021", 1), encoding="latin-1")
    assert main(["data", "check", "--preset", "kuairand", str(folder)]) == 2
    assert "rows that cannot be used, 1 of events" in capsys.readouterr().err
