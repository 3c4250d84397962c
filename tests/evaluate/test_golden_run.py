"""The run.json of every format that is read is read as it was written; others are refused by name."""

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


def test_a_golden_run_json_is_read(folder):
    run = read_run(folder)
    assert run["tasks"] == ["click", "long_view", "like"] and run["settings"]["towers"]["epochs"] == 1
    assert run["epochs"].keys() == run["curves"].keys() == {"mmoe", "towers"}


@pytest.mark.parametrize("number", [RUN_FORMAT + 1, RUN_FORMAT - 1, None])
def test_a_run_json_of_another_format_is_refused_by_its_number(folder, number):
    (folder / "run.json").write_text(json.dumps({**read_run(folder), "format": number}))
    with pytest.raises(
        DataError,
        match=rf"run\.json has format {number}, this version reads {RUN_FORMAT}: "
        rf"train the",
    ):
        read_run(folder)


def test_a_run_json_that_is_cut_short_is_refused(folder):
    (folder / "run.json").write_bytes(GOLDEN.read_bytes()[:-20])
    with pytest.raises(DataError, match="is not a run folder of karec train"):
        read_run(folder)
