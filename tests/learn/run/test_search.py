"""Tests of the settings search: its trials, the choice, and the days that it reads."""

import dataclasses
import json

import numpy as np
import pytest
from small_settings import LISTS, SMALL

from karec.learn.run import search as choose
from karec.learn.run.search import Change, search_settings
from karec.learn.run.train import train
from karec.learn.settings.settings import RECIPES

TINY = SMALL.replace(ranker={"epochs": 1}, towers={"epochs": 1}, distil=LISTS, shadow={"works": 20})
RANKERS = (Change("mmoe", {"ranker": {"kind": "mmoe"}}), Change("lr", {"ranker": {"kind": "lr"}}))
TOWERS = (
    Change("matching", {"towers": {"matching": True}}),
    Change("no matching", {"towers": {"matching": False}}),
)


@pytest.fixture(scope="module", autouse=True)
def short_lists():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "RANKERS", RANKERS)
        patch.setattr(choose, "TOWERS", TOWERS)
        yield


@pytest.fixture(scope="module")
def finished(dataset, short_lists, tmp_path_factory):
    """Returns (choice, its folder)."""
    folder = tmp_path_factory.mktemp("choice")
    return search_settings(dataset, TINY, folder, minutes=60), folder


def test_search_keeps_and_trains_the_best_on_validation_days(dataset, finished, tmp_path):
    choice, _ = finished
    assert [(trial.part, trial.name) for trial in choice.trials] == [
        ("ranker", "as given"),  # an mmoe: the change of that name is not tried again
        ("ranker", "lr"),
        ("towers", "as given"),  # without matching, which is not tried again
        ("towers", "matching"),
    ]
    given_trial, lr, towers, matching = choice.trials
    assert [trial.kept for trial in (given_trial, lr)] == [
        given_trial.score >= lr.score,
        lr.score > given_trial.score,
    ]
    assert choice.settings.ranker.kind == ("lr" if lr.kept else "mmoe")
    assert towers.kept and matching.kept == (matching.score > towers.score) == choice.settings.towers.matching
    for trial in choice.trials:
        assert trial.score == pytest.approx(np.mean(list(trial.by_task.values())))
    assert lr.gain == pytest.approx(lr.score - given_trial.score) and lr.gain_ci[0] <= lr.gain_ci[1]
    result = train(dataset, choice.settings, tmp_path / "run", choice=choice)
    facts = json.loads((result.folder / "run.json").read_text())
    assert facts["choice"] == json.loads(json.dumps(choice.to_dict()))
    assert facts["settings"]["towers"]["matching"] == matching.kept


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
    monkeypatch.setattr(choose, "RANKERS", ())
    monkeypatch.setattr(choose, "TOWERS", ())
    resumed = search_settings(dataset, TINY, folder, 60, resume=True)
    assert (
        json.dumps(resumed.to_dict()) == json.dumps(choice.to_dict()) and resumed.settings == choice.settings
    )
    repeated = search_settings(dataset, TINY.replace(seed=3), folder, 60, resume=True)
    assert [trial.part for trial in repeated.trials] == ["ranker", "towers"]


@pytest.mark.long
def test_search_skips_rankers_without_the_fusion_tasks(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "TOWERS", ())
    settings = TINY.replace(fusion={"click": 1.0, "follow": 1.0})
    new_trials = search_settings(dataset, settings, tmp_path / "choice", minutes=60).trials
    assert [(trial.name, trial.why_not) for trial in new_trials if trial.why_not] == [
        ("lr", "fusion weighs follow")
    ]


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_search_refuses_minutes_that_are_not_positive(dataset, tmp_path, minutes):
    with pytest.raises(ValueError, match="minutes above 0"):
        search_settings(dataset, TINY, tmp_path, minutes)


@pytest.mark.long
def test_search_skips_list_recipes_if_the_log_has_no_lists(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "RANKERS", ())
    recipes = (
        Change(f"recipe {name}", {"distil": {"recipe": name, **RECIPES[name]["distil"]}})
        for name in ("list", "hard")
    )
    monkeypatch.setattr(choose, "TOWERS", tuple(recipes))
    without_lists = TINY.replace(shadow={"works": 41}).with_recipe("feature-distillation")  # of 40 works
    settings = without_lists.replace(distil={"list_works": 41})
    new_trials = search_settings(dataset, settings, tmp_path / "choice", minutes=60).trials
    assert [(trial.name, trial.why_not) for trial in new_trials if trial.part == "towers"] == [
        ("as given", ""),
        ("recipe list", "the rank log has no list of 41 items"),
        ("recipe hard", ""),
    ]
