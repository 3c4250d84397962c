"""Results of screening against counting by hand."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import screened_library

from karec.errors import DataError
from karec.lab.studies.screening import SHARE, judge_screening, screening_sentence, write_screening
from karec.screening.screen import screen
from karec.screening.settings import read_settings

JUDGED = [f"2026-10-0{n}" for n in (3, 4, 5, 6)]


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    path, out, _ = screened_library.make(tmp_path_factory.mktemp("library"))
    return path, out


@pytest.fixture(scope="module")
def report(screened):
    path, out = screened
    return judge_screening(read_settings(path), path, out)


@pytest.fixture(scope="module")
def rows(screened):
    """(ids, long views) of the works of the judged days."""
    folder = screened[0].parent / "outcomes"
    tables = [pq.read_table(folder / f"day={day}") for day in JUDGED]
    return tuple(
        np.concatenate([table[name].to_numpy() for table in tables]) for name in ("work_id", "long_views")
    )


@pytest.fixture(scope="module")
def kept(screened):
    table = pq.read_table(screened[1] / "kept.parquet")
    return {
        work
        for day, work in zip(table["day"].to_pylist(), table["id"].to_pylist(), strict=True)
        if str(day) in JUDGED
    }


def test_training_days_do_not_count(report):
    assert report["days"] == JUDGED


def test_popular_works_are_the_top_hundredth_by_long_views(report, rows):
    _, views = rows
    popular = views >= report["popular_from"]
    assert report["popular"] == popular.sum() >= SHARE * len(views)
    assert (views > report["popular_from"]).sum() < SHARE * len(views)
    assert report["uploads"] == len(views)


def test_recall_is_the_kept_fraction_of_popular_works(report, rows, kept):
    ids, views = rows
    popular = ids[views >= report["popular_from"]]
    fraction = np.mean([work in kept for work in popular.tolist()])
    assert report["recall"]["kept"]["value"] == pytest.approx(fraction) and report["kept"] == len(kept)
    assert report["recall"]["at random"]["value"] == pytest.approx(len(kept) / len(ids))


def test_kept_works_are_better(report):
    recall = {way: measure["value"] for way, measure in report["recall"].items()}
    assert (
        recall["kept"] > 2 * recall["at random"]
        and recall["kept"] > recall["rules only"] > recall["at random"]
    )
    for measure in report["recall"].values():
        assert measure["ci"][0] <= measure["value"] <= measure["ci"][1]


def test_funnel_sums_to_all_works(report):
    assert sum(row["works"] for row in report["funnel"]) == report["uploads"]
    assert sum(row["popular"] for row in report["funnel"]) == report["popular"]
    assert all(0 <= row["popular"] <= row["works"] for row in report["funnel"])


def test_curve_covers_none_to_all_candidates(report):
    curve = report["curve"]
    assert curve["size"][0] == curve["by quality"][0] == 0
    assert all(np.all(np.diff(curve[way]) >= 0) for way in curve)
    passed = sum(row["works"] for row in report["funnel"] if row["reason"] in ("quota", "kept"))
    assert curve["size"][-1] == pytest.approx(passed / report["uploads"])
    assert all(a >= b - 1e-12 for a, b in zip(curve["rules only"], curve["at random"], strict=True))


def test_screening_report_is_two_files_and_a_line(report, tmp_path):
    data, page = write_screening(report, tmp_path)
    content = json.loads(data.read_text())
    assert content["format"] == 1 and content["recall"] == report["recall"]
    text = page.read_text()
    assert "<svg" in text and "near duplicate" in text and "small creators" in text
    assert "times as many as at random" in screening_sentence(report)
    assert write_screening(report, tmp_path)[1].read_text() == text


def test_screening_without_outcomes_is_rejected(screened, tmp_path):
    shutil.copytree(screened[0].parent, tmp_path / "library")
    for day in JUDGED:
        shutil.rmtree(tmp_path / "library" / "outcomes" / f"day={day}")
    path = tmp_path / "library" / "screen.toml"
    with pytest.raises(
        DataError, match="no day of the window after 2026-10-02, the last training day, has outcomes"
    ):
        judge_screening(read_settings(path), path, tmp_path / "library" / "screened")


def test_folder_without_a_screening_is_rejected(screened, tmp_path):
    with pytest.raises(DataError, match="not a result of karec screen"):
        judge_screening(read_settings(screened[0]), screened[0], tmp_path)


def test_other_screening_settings_are_rejected(screened, tmp_path):
    path, out = screened
    settings = read_settings(path)
    shutil.copytree(out, tmp_path / "out")
    screen(settings.replace(keep=100), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "kept.parquet", tmp_path / "out" / "kept.parquet")
    with pytest.raises(DataError, match="are of different screenings"):
        judge_screening(settings, path, tmp_path / "out")
