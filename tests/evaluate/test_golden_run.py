"""Tests that run.json of supported formats is read and others are refused."""

import json
import shutil
from pathlib import Path

import pytest

from karec.errors import DataError
from karec.evaluate.quality import RUN_FORMAT, read_run

GOLDEN = Path(__file__).parent / "golden" / f"run-{RUN_FORMAT}.json"


@pytest.fixture
def folder(tmp_path):
    shutil.copy(GOLDEN, tmp_path / "run.json")
    return tmp_path


def test_golden_run_json_is_read(folder):
    run = read_run(folder)
    assert run["tasks"] == ["click", "long_view", "like"] and run["settings"]["towers"]["epochs"] == 1
    assert run["epochs"].keys() == run["curves"].keys() == {"mmoe", "towers"}


@pytest.mark.parametrize("number", [RUN_FORMAT + 1, RUN_FORMAT - 1, None])
def test_run_json_of_another_format_is_refused_with_its_number(folder, number):
    (folder / "run.json").write_text(json.dumps({**read_run(folder), "format": number}))
    with pytest.raises(
        DataError,
        match=rf"run\.json: format is {number}, expected {RUN_FORMAT}\. "
        rf"Train the",
    ):
        read_run(folder)


def test_truncated_run_json_is_refused(folder):
    (folder / "run.json").write_bytes(GOLDEN.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a run folder of karec train"):
        read_run(folder)
