"""The demo learns from what its first bundle served, and `karec train --log` from what any service did."""

import json
import shutil

import numpy as np
import pytest
from small_job import TASKS, WORLD

from karec import cli
from karec.bundle import Bundle
from karec.lab.demo import loop
from karec.logs.read import read_rank_log

TINY = ["--works", "600", "--users", "150", "--exposures", "4000", "--requests", "6"]
QUICK = """
features.dim = 4
ranker = { epochs = 1, members = 1, hidden = 8 }
towers.epochs = 1
run.threads = 1
"""


@pytest.fixture
def copy(job, tmp_path):
    """The folder of the finished demo, to change."""
    out = tmp_path / "out"
    for name in ("run", "run-2", "bundles", "served_log"):
        shutil.copytree(job / name, out / name, symlinks=True)
    shutil.copy(job / "karec.toml", out)
    return out


def test_the_report_shows_the_first_round_against_the_second(report):
    rounds = report["rounds"]
    assert rounds["taught_by"] == {"requests": 24, "outcomes": 240}
    assert rounds["measured_on"]["requests"] == 6 and 0 < rounds["measured_on"]["share"] < 1
    measures = {"kept.top10", "kept.top100", *(f"{task}.auc" for task in TASKS)}
    for part in ("first", "second", "gain"):
        assert rounds[part].keys() == measures
    for name in measures:
        gained = rounds["second"][name]["value"] - rounds["first"][name]["value"]
        assert rounds["gain"][name]["value"] == pytest.approx(gained)
    assert rounds["first"]["click.auc"]["value"] == pytest.approx(report["quality"]["towers"]["click"]["auc"])


def test_both_rounds_are_published_and_the_second_serves(job, report):
    assert report["versions"]["model"] == Bundle.open(job / "bundles").model_version == 2
    rankers = [Bundle.open(job / "bundles" / f"v000000000{version}").ranker for version in (1, 2)]
    assert rankers[0].fingerprint == rankers[1].fingerprint
    assert (job / "run" / "run.json").exists() and (job / "run-2" / "curves.svg").exists()


def test_users_whose_pools_are_measured_taught_nothing(job):
    taught, measured = (read_rank_log(job / name, TASKS) for name in ("served_log", "measured_log"))
    assert not set(taught.user_id) & set(measured.user_id)
    for log in (taught, measured):
        assert set(log.model_version) == {1} and len(set(log.request_id[log.shadow])) == len(set(log.user_id))


def test_the_page_shows_what_the_second_round_learned(job):
    page = (job / "report" / "report.html").read_text()
    assert "Second round of towers" in page and "ranker&#x27;s top 100 kept" in page


@pytest.mark.long
def test_the_same_seed_gives_the_same_report_whether_a_second_process_works_beside_or_not(
    tmp_path, monkeypatch
):
    (tmp_path / "train.toml").write_text(QUICK)
    told = []
    for name, fewest in (("one", 10**9), ("two", 0)):
        monkeypatch.setattr(loop, "MIN_ROWS", fewest)
        out = str(tmp_path / name)
        arguments = ["demo", *TINY, "--out", out, "--report", out, "--settings", str(tmp_path / "train.toml")]
        assert cli.main(arguments) == 0
        report = json.loads((tmp_path / name / "report.json").read_text())
        told.append({part: report[part] for part in ("rounds", "quality", "quality_by_history")})
        told[-1] |= {arm: found["measures"] for arm, found in report["loop"]["arms"].items()}
    assert told[0] == told[1]


def test_train_learns_on_from_a_served_log_and_publishes(copy, capsys):
    log = str(copy / "served_log")
    assert cli.main(["train", *WORLD, "--out", str(copy), "--log", log]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "rows of model version 1" in said and "published" in said
    bundle, first = Bundle.open(copy / "bundles"), Bundle.open(copy / "bundles" / "v0000000001")
    assert bundle.model_version == 3 and bundle.ranker.fingerprint == first.ranker.fingerprint
    rows = np.arange(50)
    assert np.abs(bundle.index.embeddings(rows) - first.index.embeddings(rows)).max() > 1e-3
    epochs = json.loads((copy / "run-3" / "run.json").read_text())["epochs"]
    assert list(epochs) == ["towers"], "neither ranker nor baselines are trained again"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--log", "nowhere"], "nowhere holds no rank log"),
        (["--log", "LOG", "--log-version", "9"], "no row of model version 9, only of 1 ("),
        (["--log", "LOG", "--run", "nowhere"], "nowhere: not a run folder of karec train"),
        (["--log", "LOG", "--quick"], "--quick and --choose are for a training from scratch"),
        (["--log-version", "1"], "they need --log DIR"),
        (["--run", "run"], "they need --log DIR"),
    ],
)
def test_a_log_that_cannot_teach_is_told_in_a_line_and_nothing_is_published(
    job, tmp_path, capsys, more, message
):
    shutil.copytree(job / "run", tmp_path / "run")
    more = [str(job / "served_log") if each == "LOG" else each for each in more]
    assert cli.main(["train", *WORLD, "--out", str(tmp_path), *more]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said and "Traceback" not in said
    assert not (tmp_path / "bundles").exists()
