"""Screening of uploads before they are published, and users who upload for the first time."""

from dataclasses import replace

import numpy as np
import pytest
from small_loop import SIZES, TOWERS, arms_of, assert_same, play

from karec.errors import ConfigError, DataError
from karec.lab.simulate.arm_log import BEFORE, NEVER, REFUSED, ArmLog
from karec.lab.simulate.loop import simulate
from karec.lab.simulate.population import make_population

TWO_DAYS = replace(SIZES, days=2)
NEW_CREATORS = 3
KEEP = 15
RULES = """
    { reason = "too short", column = "duration_s", least = 100 },
    { reason = "blocked creator", column = "creator_id", not_in = "blocked.txt" },
"""
SCREENED = f"""[[arms]]
name = "screened"
[arms.screen]
keep = {KEEP}
quality = {{ column = "voice_score" }}
rules = [{RULES}]
quotas = [
    {{ column = "type", value = "video", floor = 0.4 }},
    {{ column = "creator_works", below = 1, floor = 0.2 }},
]
"""
GUARANTEES = """[[arms]]
name = "guarantees"
[arms.scene]
side_effects = []
stages.rerank.steps = [{ use = "top_k" }]
exposure.guarantees = [{ new_creator_days = 2, exposures = 3, budget = 200 }]
exposure.impressions_per_day = 1_000
exposure.explore = 1
"""


@pytest.fixture(scope="module")
def population():
    return make_population(TWO_DAYS, n_new_creators=NEW_CREATORS)


@pytest.fixture(scope="module")
def debutants(population):
    """Rows of their first works; user rows."""
    rows = np.flatnonzero(population.potential.coin == 0.0)
    return rows, population.potential.creator[rows]


@pytest.fixture(scope="module")
def blocked(population, debutants):
    """The id of a user who uploads for the first time on the first day, a work that is long enough."""
    works, rows = population.truth.works, debutants[0]
    long = rows[(works.duration_ms[rows] > 110_000) & (population.potential.day[rows] == 0)]
    return int(population.snapshot.works["creator_id"][long[0]])


@pytest.fixture(scope="module")
def played(tmp_path_factory, models, blocked):
    return play_blocking(
        tmp_path_factory.mktemp("played"), models, TOWERS + SCREENED + GUARANTEES, blocked, cores=1
    )


def play_blocking(folder, models, text, creator, **options):
    folder.mkdir(exist_ok=True)
    (folder / "blocked.txt").write_text(f"# creators\n{creator}\n")
    return play(folder, models, text, sizes=TWO_DAYS, new_creators=NEW_CREATORS, **options)


def uploaded(log, day, population):
    """Rows of the works that were uploaded on ``day``, kept or not."""
    refused = (log.work_upload_day == REFUSED) & (population.potential.day == day)
    return np.flatnonzero((log.work_upload_day == day) | refused)


def test_screening_keeps_a_subset_of_the_uploads(played, population):
    plain, screened = ArmLog.read(played / "towers"), ArmLog.read(played / "screened")
    np.testing.assert_array_equal(uploaded(plain, 0, population), uploaded(screened, 0, population))
    assert not (plain.work_upload_day == REFUSED).any() and plain.facts["screening"] is None
    first = [log.exposures["work"][log.exposures["day"] == 0] for log in (plain, screened)]
    np.testing.assert_array_equal(*first)  # what was uploaded on the first day is there from the second on


def test_kept_uploads_satisfy_the_rules_and_are_the_best(played, population, blocked):
    log, works = ArmLog.read(played / "screened"), population.truth.works
    told, creators = log.facts["screening"], population.snapshot.works["creator_id"]
    for day in range(TWO_DAYS.days):
        rows = uploaded(log, day, population)
        kept, refused = rows[log.work_upload_day[rows] == day], rows[log.work_upload_day[rows] == REFUSED]
        assert 0 < len(kept) <= KEEP < len(rows)
        assert (works.duration_ms[kept] >= 99_999).all() and (creators[kept] != blocked).all()
        passed = refused[(works.duration_ms[refused] > 100_001) & (creators[refused] != blocked)]
        for medium in (0, 1):  # quotas tell works apart by their type, and debutants from others
            ours = [rows[(works.type[rows] == medium)] for rows in (kept, passed)]
            known = [np.setdiff1d(rows, np.flatnonzero(population.potential.coin == 0.0)) for rows in ours]
            if all(map(len, known)):
                assert works.voice_score[known[0]].min() >= works.voice_score[known[1]].max()
    assert told["uploads"] == told["kept"] + sum(told["rejected"].values())
    assert told["kept"] == (log.work_upload_day[population.potential.day >= 0] < TWO_DAYS.days).sum()
    assert {"too short", "blocked creator", "quota"} <= told["rejected"].keys()
    assert told["quality_kept"] > told["quality_rejected"]


def test_refused_uploads_are_never_shown(played):
    for name in ("screened", "guarantees", "towers"):
        log = ArmLog.read(played / name)
        assert (log.work_upload_day[log.exposures["work"]] < log.exposures["day"]).all()


def test_screening_does_not_depend_on_kills_or_cores(played, models, blocked, tmp_path):
    def stop(done, total, what):
        if what.startswith("screened: day 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play_blocking(tmp_path, models, SCREENED, blocked, cores=1, progress=stop)
    out = play_blocking(tmp_path, models, SCREENED, blocked, cores=2, resume=True)
    one, other = ArmLog.read(played / "screened"), ArmLog.read(out / "screened")
    assert_same(one, other)
    assert one.facts["screening"] == other.facts["screening"]


def test_changed_block_list_is_another_simulation(models, blocked, tmp_path):
    def stop(done, total, what):
        if what.startswith("screened: day 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play_blocking(tmp_path, models, SCREENED, blocked, cores=1, progress=stop)
    with pytest.raises(DataError, match="with other files"):
        play_blocking(tmp_path, models, SCREENED, blocked + 1, resume=True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("keep = 15", ""), r"arm 'screened': screen: the key 'keep' is missing"),
        (("keep = 15", "keep = 0"), r"'screened': screen: keep = 0, expected at least 1"),
        (("keep = 15", 'keep = 15\nuploads = "here"'), r"screen: unknown key 'uploads'"),
        (
            ("voice_score", "voice"),
            r"'screened': screen: .*no column 'voice' \(did you mean "
            r"'voice_score'\?\)",
        ),
        (("duration_s", "tag"), r"screen: .*column 'tag' is text, expected integer or number"),
        (("blocked.txt", "absent.txt"), r"absent\.txt cannot be read: No such file"),
        (
            ('{ column = "type", value = "video", floor', "{ age_days = 3, floor"),
            r"quotas\[0\]: age_days has no meaning",
        ),
        (("floor = 0.4", "flor = 0.4"), r"screen.quotas\[0\]: unknown key 'flor' \(did you mean 'floor'\?\)"),
        (('column = "voice_score"', 'model = "absent.onnx"'), r"absent\.onnx cannot be read: No such file"),
        (('column = "voice_score"', 'model = "blocked.txt"'), r"'screened': screen: .*blocked\.txt"),
    ],
)
def test_invalid_screening_is_rejected_before_training(change, why, models, tmp_path):
    trained = sorted(models.glob("*"))
    with pytest.raises((ConfigError, DataError), match=why):
        play_blocking(tmp_path, models, SCREENED.replace(*change), 5)
    assert sorted(models.glob("*")) == trained and not list((tmp_path / "out").glob("*/day-*.npz"))


def test_new_creators_upload_each_day_in_every_arm(played, population, debutants):
    potential, (rows, users) = population.potential, debutants
    assert len(np.unique(users)) == TWO_DAYS.days * NEW_CREATORS
    np.testing.assert_array_equal(np.bincount(potential.day[rows]), TWO_DAYS.days * [NEW_CREATORS])
    assert (
        not np.isin(users, population.truth.people.creators).any()
        and np.isin(users, potential.creators).all()
    )
    for user, first in zip(users, rows, strict=True):
        assert np.flatnonzero(potential.creator == user)[0] == first
    for name in ("towers", "guarantees"):
        log = ArmLog.read(played / name)
        np.testing.assert_array_equal(log.work_upload_day[rows], potential.day[rows])
    assert (potential.day == BEFORE).sum() == SIZES.works


def test_guarantee_shows_works_of_new_creators(played, debutants):
    _, users = debutants
    plain, controlled = ArmLog.read(played / "towers"), ArmLog.read(played / "guarantees")
    shown = [np.isin(log.exposures["creator"], users).sum() for log in (plain, controlled)]
    assert shown[1] > shown[0]
    (counts,) = controlled.facts["exposure"]["guarantees"]
    # those of the last day come the morning after
    assert counts["name"] == "creators of 2 d" and counts["new"] == NEW_CREATORS


def test_new_creators_change_nothing_for_other_days_and_users(population):
    """More days have the same first ones; without new creators all other users are the same."""
    longer = make_population(SIZES, n_new_creators=NEW_CREATORS)
    n = len(population.truth.works)
    np.testing.assert_array_equal(longer.potential.coin[:n], population.potential.coin)
    np.testing.assert_array_equal(longer.truth.works.duration_ms[:n], population.truth.works.duration_ms)
    theirs = np.isin(longer.potential.creators, population.potential.creators)
    np.testing.assert_array_equal(longer.potential.patience[theirs], population.potential.patience)
    without = make_population(TWO_DAYS)
    np.testing.assert_array_equal(without.visits.coin, population.visits.coin)
    assert (without.potential.day != NEVER).all() and len(without.truth.works) < n


@pytest.mark.parametrize(
    ("new_creators", "message"),
    [(-1, "new_creators_per_day is -1, expected"), (100, "new_creators_per_day = 100 on 2 days")],
)
def test_more_new_creators_than_users_are_rejected(new_creators, message, models, tmp_path):
    with pytest.raises((ConfigError, ValueError), match=message):
        simulate(
            arms_of(tmp_path, TOWERS, new_creators=new_creators),
            tmp_path,
            TWO_DAYS,
            tmp_path / "out",
            models=models,
        )
