"""Tests of the settings search: its trials, the choice, and the days that it reads."""

import dataclasses
import json

import numpy as np
import pytest
from small_settings import LISTS, SMALL

from karec.errors import DataError
from karec.evaluate.model_pages import RANKER, model_pages
from karec.evaluate.pages import validation_requests
from karec.learn.run import search
from karec.learn.run.search import search_settings
from karec.learn.run.train import train

TINY = SMALL.replace(
    ranker={"epochs": 1},
    towers={"epochs": 1},
    distil=LISTS,
    shadow={"works": 20},
    optimizer={"learning_rate": 1e-8},  # lr has its own rate, so only lr learns
    evaluation={"resamples": 20, "baselines": ()},
)
CHANGES = {
    "ranker": {"mmoe": {"ranker": {"kind": "mmoe"}}, "lr": {"ranker": {"kind": "lr"}}},
    "towers": {
        "wide": {"towers": {"wide": True}},
        "narrow": {"towers": {"wide": False}},
    },
}
NO_CHANGES = {"ranker": {}, "towers": {}}


@pytest.fixture(autouse=True)
def short_list(monkeypatch):
    monkeypatch.setattr(search, "CHANGES", CHANGES)


@pytest.fixture(scope="module")
def dataset(dataset):
    """The small dataset, in which users mostly enjoy the same eight items."""
    exposures = dataset.exposures
    is_noise = np.random.default_rng(0).random(len(exposures)) < 0.1
    is_enjoyed = (dataset.snapshot.works.lookup(exposures.work_id) < 8) ^ is_noise
    labels = {**exposures.labels, **dict.fromkeys(dataset.tasks, is_enjoyed.astype(np.uint8))}
    return dataclasses.replace(dataset, exposures=dataclasses.replace(exposures, labels=labels))


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """Returns (choice, its folder)."""
    folder = tmp_path_factory.mktemp("choice")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "CHANGES", CHANGES)
        return search_settings(dataset, TINY, folder, minutes=60), folder


def test_search_tries_each_change_once(finished):
    trials = finished[0].trials
    assert [(trial.part, trial.name) for trial in trials] == [
        ("ranker", "as given"),  # an mmoe: the change of that name is not tried again
        ("ranker", "lr"),
        ("towers", "as given"),  # wide, which is not tried again
        ("towers", "narrow"),
    ]
    assert [trial.gain is None for trial in trials] == [True, False, True, False]


def test_search_keeps_changes_whose_gain_exceeds_its_interval(finished):
    given_ranker, lr, given_towers, narrow = finished[0].trials
    assert given_ranker.kept and given_towers.kept
    for given, change in ((given_ranker, lr), (given_towers, narrow)):
        assert change.gain == pytest.approx(change.score - given.score)
        assert change.kept == (change.gain_ci[0] > 0)


def test_run_has_the_kept_changes_and_the_pages_of_the_score(dataset, finished, tmp_path):
    choice, folder = finished
    _, lr, _, narrow = choice.trials
    assert lr.kept  # so that the next lines test a change
    assert choice.settings.ranker.kind == "lr" and choice.settings.towers.wide != narrow.kept
    assert 'kind = "lr"' in (folder / "chosen.toml").read_text()
    result = train(dataset, choice.settings, tmp_path / "run", choice=choice, evaluate=False)
    facts = json.loads((result.folder / "run.json").read_text())
    assert facts["choice"] == json.loads(json.dumps(choice.to_dict()))
    rule = next(rule for rule in facts["recipe"] if rule["setting"] == "ranker.kind")
    assert rule["value"] == "lr" and "--choose" in rule["reason"]
    requests = validation_requests(dataset, choice.settings.seed)
    pages = model_pages(dataset, requests, result.folder, choice.settings.to_dict())
    assert requests.measure(pages[RANKER])["ndcg"].mean() == lr.score


@pytest.mark.long
def test_choice_does_not_depend_on_test_days(dataset, finished, tmp_path):
    """Labels of the test days are inverted; the scores keep their bits."""
    late, labels = dataset.exposures.time_ms >= dataset.valid_until_ms, dataset.exposures.labels
    labels = {name: np.where(late, 1 - label, label).astype(np.uint8) for name, label in labels.items()}
    other = dataclasses.replace(dataset, exposures=dataclasses.replace(dataset.exposures, labels=labels))
    other_choice = search_settings(other, TINY, tmp_path / "other", 60)
    assert [trial.score for trial in other_choice.trials] == [trial.score for trial in finished[0].trials]


def test_search_without_time_keeps_the_given_settings(dataset, tmp_path):
    choice = search_settings(dataset, TINY, tmp_path / "choice", minutes=1e-9)
    assert choice.settings == TINY.resolve(dataset)
    assert [trial.why_not for trial in choice.trials] == ["", "no time", "", "no time"]


@pytest.mark.long
def test_choice_is_resumed_only_for_the_same_data_and_settings(dataset, finished, monkeypatch):
    choice, folder = finished
    monkeypatch.setattr(search, "CHANGES", NO_CHANGES)
    resumed = search_settings(dataset, TINY, folder, 60, resume=True)
    assert json.dumps(resumed.to_dict()) == json.dumps(choice.to_dict())
    assert (resumed.settings, resumed.rules) == (choice.settings, choice.rules)
    repeated = search_settings(dataset, TINY.replace(seed=3), folder, 60, resume=True)
    assert [trial.part for trial in repeated.trials] == ["ranker", "towers"]


@pytest.mark.long
def test_search_skips_rankers_without_the_fusion_tasks(dataset, tmp_path):
    settings = TINY.replace(fusion={"click": 1.0, "follow": 1.0})
    new_trials = search_settings(dataset, settings, tmp_path / "choice", minutes=60).trials
    skipped = {trial.name: trial.why_not for trial in new_trials if trial.why_not}
    assert list(skipped) == ["lr"] and "fusion weighs ['follow']" in skipped["lr"]


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_search_refuses_minutes_that_are_not_positive(dataset, tmp_path, minutes):
    with pytest.raises(ValueError, match="minutes above 0"):
        search_settings(dataset, TINY, tmp_path, minutes)


def test_search_refuses_validation_days_without_pages(dataset, tmp_path):
    is_early = dataset.exposures.time_ms < dataset.train_until_ms
    labels = {name: label * is_early for name, label in dataset.exposures.labels.items()}
    exposures = dataclasses.replace(dataset.exposures, labels=labels)
    with pytest.raises(DataError, match="no user enjoyed a new item on the validation days"):
        search_settings(dataclasses.replace(dataset, exposures=exposures), TINY, tmp_path / "choice", 60)
    assert not (tmp_path / "choice").exists()
