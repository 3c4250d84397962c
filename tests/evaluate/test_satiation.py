"""The study of satiation finds what was planted: nothing where nothing tires, and the world's own fatigue."""

import json
from dataclasses import replace

import numpy as np
import pytest

from karec._clock import HOUR_MS
from karec.evaluate.satiation import LEVELS, WAYS, WINDOWS, satiation
from karec.evaluate.satiation_report import satiation_tables, write_satiation
from karec.platform.dataset import Dataset
from karec.platform.events import Exposures
from karec.platform.snapshot import FORMER_MEANING, Snapshot
from karec.platform.table import Table
from karec.simulate.world import make_world

TAGS, WORKS, LENGTH, START = 12, 480, 12, 1_700_000_000_000


def of_tag(report, way, cause="tag", window=4, task="click", given=None):
    wanted = {"task": task, "given": given, "cause": cause, "window": window, "way": way}
    (row,) = (row for row in report["repeats"] if wanted.items() <= row.items())
    return row


def covers(effect, value):
    return effect["ci"][0] < value < effect["ci"][1]


@pytest.fixture(scope="module")
def world():
    return make_world(5000, 300, 40_000, seed=0)


def clicks_alone(dataset, click):
    exposures = replace(dataset.exposures, labels={"click": click})
    return replace(dataset, exposures=exposures, tasks=("click",))


@pytest.fixture(scope="module")
def of_world(world):
    dataset = clicks_alone(world.dataset, world.dataset.exposures.labels["click"])
    return satiation(dataset, windows=(4,), resamples=200)


@pytest.fixture(scope="module")
def of_tireless_world(world):
    shown, snapshot = world.dataset.exposures, world.dataset.snapshot
    users, works = snapshot.users.lookup(shown.user_id), snapshot.works.lookup(shown.work_id)
    chance = world.truth.probabilities(users, works, time_ms=shown.time_ms, scene=shown.scene, repeats={})[
        "click"
    ]
    click = (np.random.default_rng(0).random(len(chance)) < chance).astype(np.uint8)
    return satiation(clicks_alone(world.dataset, click), windows=(4,), resamples=200)


@pytest.mark.parametrize("way", WAYS)
def test_the_worlds_satiation_is_within_the_interval(world, of_world, way):
    effect = of_tag(of_world, way)["before"]
    assert covers(effect, -world.truth.satiation.tag.click) and not covers(effect, 0.0)


@pytest.mark.parametrize("way", WAYS)
def test_a_world_in_which_nothing_tires_has_an_interval_that_covers_zero(of_tireless_world, way):
    assert covers(of_tag(of_tireless_world, way)["before"], 0.0)


def platform_that_repeats_what_was_clicked(effect, seed=0, users=6000):
    """A log in which users like tags, are shown more of these, and again the tag that they just clicked; each
    repeat of a tag among the last four changes the logit by ``effect``.
    """
    generator = np.random.default_rng(seed)
    quality = generator.normal(0, 0.3, WORKS)
    liking, own = generator.normal(0, 0.6, (users, TAGS)), generator.normal(-0.3, 0.8, users)
    chance = np.exp(liking + generator.normal(0, 0.7, TAGS))
    cumulative = np.cumsum(chance / chance.sum(axis=1, keepdims=True), axis=1)
    tag, work, click = (np.zeros((LENGTH, users), np.int64) for _ in range(3))
    for t in range(LENGTH):
        drawn = np.minimum((cumulative < generator.random(users)[:, None]).sum(axis=1), TAGS - 1)
        again = generator.random(users) < 0.1 + 0.2 * click[t - 1]
        tag[t] = np.where(again, tag[t - 1], drawn) if t else drawn
        work[t] = tag[t] + TAGS * generator.integers(0, WORKS // TAGS, users)
        repeats = (tag[max(t - 4, 0) : t] == tag[t]).sum(axis=0)
        logit = own + liking[np.arange(users), tag[t]] + quality[work[t]] + effect * repeats
        click[t] = generator.random(users) < 1 / (1 + np.exp(-logit))
    time = START + HOUR_MS * np.repeat(np.arange(LENGTH), users)
    exposures = Exposures(
        np.tile(np.arange(users), LENGTH),
        work.ravel(),
        time,
        np.zeros(len(time), np.int32),
        {"click": click.ravel().astype(np.uint8)},
    )
    works = Table(np.arange(WORKS), {"tag": (np.arange(WORKS) % TAGS).astype(np.int32)})
    snapshot = Snapshot(START, works, Table(np.arange(users), {}), {}, {}, meaning=FORMER_MEANING)
    return Dataset("clicked again", snapshot, exposures, int(time[-1]), int(time[-1]), ("click",))


@pytest.mark.parametrize("effect", [0.0, -0.25])
def test_a_platform_that_repeats_what_was_clicked_misleads_the_ways_that_it_is_said_to(effect):
    report = satiation(platform_that_repeats_what_was_clicked(effect), windows=(4,), resamples=100)
    assert covers(of_tag(report, "user")["before"], effect)
    assert of_tag(report, "user")["plain"]["ci"][0] > effect  # liking
    assert of_tag(report, "user and value")["before"]["ci"][1] < effect  # the row before a repeat was clicked


def test_the_report_has_a_row_for_each_label_cause_window_and_way_and_none_of_what_is_too_rare(
    dataset, tmp_path
):
    report = satiation(dataset, resamples=20)
    measured = [
        ("click", None),
        ("long_view", None),
        ("long_view", "click"),
        ("like", None),
        ("like", "click"),
    ]
    causes = ("creator", "tag", "song")
    assert [
        tuple(row[key] for key in ("task", "given", "way", "cause", "window")) for row in report["repeats"]
    ] == [(*label, way, cause, n) for label in measured for way in WAYS for cause in causes for n in WINDOWS]
    assert len(report["ago"]) == len(measured) * len(WAYS) * len(causes) * 3
    for row in report["repeats"]:
        rare = min(row["positive"], row["repeated"] - row["positive"]) < 20
        assert (row["before"] is None) == rare and list(row["levels"]) == list(LEVELS)
    data, shown = write_satiation(report, tmp_path / "out")
    assert json.loads(data.read_text())["repeats"] == json.loads(json.dumps(report["repeats"]))
    assert shown.read_text().count("<svg") == 1
    tables = list(satiation_tables(report))
    assert len(tables) == 2 * len(measured)
    assert all(len(row) == len(head) for _, head, rows in tables for row in rows)


def test_the_same_seed_gives_the_same_report(dataset):
    assert satiation(dataset, resamples=10, seed=3) == satiation(dataset, resamples=10, seed=3)


def test_a_label_that_all_clicks_have_is_not_measured_among_clicks(dataset):
    labels = dict(dataset.exposures.labels, long_view=dataset.exposures.labels["click"])
    spoilt = replace(dataset, exposures=replace(dataset.exposures, labels=labels))
    measured = {
        (row["task"], row["given"]) for row in satiation(spoilt, windows=(2,), resamples=10)["repeats"]
    }
    assert measured == {("click", None), ("long_view", None), ("like", None), ("like", "click")}
