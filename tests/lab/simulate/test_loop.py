"""The closed loop: equal logs for equal seeds, common random numbers of arms, and effects of changes."""

import fcntl
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from small_loop import RANDOM, SIZES, TOWERS, arms_of, assert_same, play

from karec import cli
from karec.aggregates.histories import KEPT
from karec.bundle import Bundle
from karec.config.assemble import build_cascade
from karec.config.templates import home_scene_text
from karec.errors import ConfigError, DataError
from karec.lab.simulate.arm_log import BEFORE, NEVER, ArmLog
from karec.lab.simulate.arms import SETS, read_arms
from karec.lab.simulate.checkpoint import read_events
from karec.lab.simulate.loop import simulate
from karec.lab.simulate.nightly import join_impressions
from karec.lab.simulate.population import make_population
from karec.lab.simulate.sessions import SCENE
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request

TWO_DAYS = replace(SIZES, days=2)
AGAIN = TOWERS.replace("towers", "again")


@pytest.fixture(scope="module")
def played(tmp_path_factory, models):
    """Towers, the same arm under another name, and random order."""
    return play(tmp_path_factory.mktemp("played"), models, TOWERS + AGAIN + RANDOM, cores=1)


@pytest.fixture(scope="module")
def population():
    return make_population(SIZES)


def test_equal_arms_have_equal_logs(played):
    assert_same(ArmLog.read(played / "towers"), ArmLog.read(played / "again"))


def test_different_arms_show_other_works(played):
    towers, random = ArmLog.read(played / "towers"), ArmLog.read(played / "random")
    assert not np.array_equal(towers.exposures["work"][:200], random.exposures["work"][:200])


def test_log_does_not_depend_on_the_number_of_cores(played, models, tmp_path):
    again = play(tmp_path, models, TOWERS, cores=2)
    assert_same(ArmLog.read(played / "towers"), ArmLog.read(again / "towers"))


def test_killed_simulation_ends_with_the_same_log(played, models, tmp_path):
    """Killed on the second day, when some of it was played."""
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, models, TOWERS, cores=1, progress=StopAfter("towers: day 2"))
    assert not (tmp_path / "out" / "towers" / "arm.json").exists()
    resumed = play(tmp_path, models, TOWERS, resume=True, cores=1)
    assert_same(ArmLog.read(played / "towers"), ArmLog.read(resumed / "towers"))


class StopAfter:
    """Interrupts a simulation when it says ``what``."""

    def __init__(self, what):
        self.what = what

    def __call__(self, done, total, what):
        if what.startswith(self.what):
            raise KeyboardInterrupt


def test_work_gets_equal_feedback_in_two_arms(played):
    """Where a user and a work meet with the same chances: who was shown what before decides nothing else."""
    arms = [ArmLog.read(played / name).exposures for name in ("towers", "random")]
    met = [
        dict(zip(zip(a["user"], a["work"], strict=True), range(len(a["user"])), strict=True)) for a in arms
    ]
    both = [(met[0][pair], met[1][pair]) for pair in met[0].keys() & met[1].keys()]
    same = [(i, j) for i, j in both if arms[0]["p_long_view"][i] == arms[1]["p_long_view"][j]]
    assert len(same) > 20
    for label in ("click", "long_view"):
        assert all(arms[0][label][i] == arms[1][label][j] for i, j in same)


def test_shown_works_exist_and_are_new_to_the_user(played):
    for name in ("towers", "random"):
        arm = ArmLog.read(played / name)
        e = arm.exposures
        assert (arm.work_upload_day[e["work"]] < e["day"]).all(), (
            "a work is there from the morning after its upload"
        )
        assert (e["age_ms"] > 0).all()
        assert (e["creator"] != e["user"]).all(), "nobody is shown a work of his own"
        of_day = np.stack([e["user"], e["work"], e["day"]])
        assert np.unique(of_day, axis=1).shape == of_day.shape
        # all that a user saw is listed
        few = np.bincount(e["user"], minlength=arm.n_users)[e["user"]] <= KEPT
        seen = np.stack([e["user"], e["work"]])[:, few]
        assert few.mean() > 0.3 and np.unique(seen, axis=1).shape == seen.shape
        np.testing.assert_array_equal(e["creator"], arm.work_creator[e["work"]])


def test_outcomes_have_their_expected_rates(played):
    e = ArmLog.read(played / "towers").exposures
    for label in ("long_view", "like"):
        chance = e[f"p_{label}"].astype(float)
        deviation = np.sqrt((chance * (1 - chance)).sum())
        assert abs(e[label].sum() - chance.sum()) < 4 * deviation
    assert not (e["long_view"] > e["click"]).any() and not (e["follow"] > e["long_view"]).any()


def test_probabilities_include_all_earlier_impressions(played, population):
    """Over pages, sessions and days: against the truth asked for everything at once."""
    truth, recent = population.truth, population.recent_works
    for name in ("towers", "random"):
        shown = join_impressions([read_events(played / name, day, population) for day in range(SIZES.days)])
        user = population.snapshot.users.lookup(shown.user_id)
        work = population.snapshot.works.lookup(shown.work_id)
        before = np.nonzero(recent >= 0)
        n = len(before[0])
        repeats = truth.repeats(np.concatenate([before[0], user]), np.concatenate([recent[before], work]))
        later = {cause: count[n:] for cause, count in repeats.items()}
        assert later["tag"].any()
        expected = truth.probabilities(user, work, time_ms=shown.time_ms, scene=shown.scene, repeats=later)
        e = ArmLog.read(played / name).exposures
        for task in ("long_view", "like"):
            np.testing.assert_array_equal(e[f"p_{task}"], expected[task])


def test_creator_is_followed_once(played, population):
    """Whom a user follows, from before or since another page, cannot be followed again."""
    n, followed = SIZES.users, 0
    for name in ("towers", "random"):
        e = ArmLog.read(played / name).exposures
        did, pairs = e["follow"] > 0, e["user"].astype(np.int64) * n + e["creator"]
        followed += did.sum()
        assert len(np.unique(pairs[did])) == did.sum()
        before = np.isin(pairs, population.truth.follow_keys)
        assert before.any() and not e["p_follow"][before].any()
        for at in np.flatnonzero(did):
            later = np.flatnonzero(pairs[at + 1 :] == pairs[at]) + at + 1
            other_page = later[(e["session"][later] != e["session"][at]) | (e["day"][later] != e["day"][at])]
            assert not e["p_follow"][other_page].any()
    assert followed > 3


def test_sessions_and_positions_are_counted(played):
    arm = ArmLog.read(played / "towers")
    e = arm.exposures
    for day in range(arm.days):
        rows = e["day"] == day
        users, last = np.unique(e["user"][rows], return_index=True)[0], np.zeros(arm.n_users, int)
        np.maximum.at(last, e["user"][rows], e["session"][rows] + 1)
        np.testing.assert_array_equal(last, arm.sessions[day])
        assert len(users)
    first = e["position"] == 0
    assert first.sum() == arm.sessions.sum()
    assert (np.diff(e["day"]) >= 0).all()


def test_potential_uploads_are_partly_realised(played):
    arm = ArmLog.read(played / "towers")
    days = arm.work_upload_day
    assert (days == BEFORE).sum() == SIZES.works
    assert all((days == day).any() for day in range(arm.days)) and (days == NEVER).any()


@pytest.mark.parametrize("name", SETS)
def test_built_in_arms_build(name, played, models):
    bundle = Bundle.open(next(models.iterdir()) / "bundles", verify=False)
    arms, path = read_arms(name), played / "towers" / "karec.toml"  # where the LR lies
    for arm in arms.arms:
        cascade = build_cascade(
            arms.config_of(arm, path, path.parent, bundle.snapshot, {"click": 1.0}), SCENE, bundle
        )
        user, moment = int(bundle.snapshot.users.ids[0]), bundle.snapshot.time_ms
        feed = replace(cascade, side_effects=()).run(Request(user, time_ms=moment))
        assert len(feed) == 10


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[arms]]\nnmae = "a"\n', "unknown key 'nmae'"),
        ('[[arms]]\nname = "a"\n[[arms]]\nname = "a"\n', "arm 'a' appears twice"),
        ('[[arms]]\nname = "../a"\n', "it names a folder"),
        ('[[arms]]\nname = "models"\n', "it names a folder"),
        ('[[arms]]\nname = "a"\nscene.stages.prerank.steps.dqp = false\n', "no entry 'dqp' is inherited"),
        ('[[arms]]\nname = "a"\nscene.colour = 1\n', "unknown key 'colour'"),
        ('[[arms]]\nname = "a"\nscene.stages.rerank.steps = [{ use = "dppp" }]\n', "did you mean 'dpp'"),
        ('[[arms]]\nname = "a"\nscene.side_effects = [{ use = "rank_lgo" }]\n', "did you mean 'rank_log'"),
        ('[[arms]]\nname = "a"\nlearn.towers.epoch = 3\n', "arm 'a': .*towers: unknown key 'epoch'"),
    ],
)
def test_invalid_arms_file_is_rejected_before_training(text, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        play(tmp_path, tmp_path / "none", text)
    assert not (tmp_path / "none").exists()


def test_invalid_cascade_is_rejected_before_the_first_day(models, tmp_path):
    steps = '[{ use = "fusion", weights = { click = 1.0 } }, { use = "top_k", k = "rank" }]'
    wrong = f'{TOWERS}[[arms]]\nname = "wrong"\nscene.stages.rank.steps = {steps}\n'
    with pytest.raises(ConfigError, match=r"the step fusion needs column\.logits"):
        play(tmp_path, models, wrong)
    assert not list((tmp_path / "out").glob("*/day-*.npz"))


def test_learning_arm_without_rank_log_is_rejected(models, tmp_path):
    silent = f'{TOWERS}[[arms]]\nname = "silent"\nscene.side_effects = []\n'
    with pytest.raises(
        ConfigError,
        match=r"arm 'silent': its towers learn from its rank log, but no side",
    ):
        play(tmp_path, models, silent, nights=1)
    assert not list((tmp_path / "out").glob("*/day-*.npz"))


def test_folder_of_another_simulation_is_rejected(played, models):
    arms = arms_of(played.parent, TOWERS + AGAIN + RANDOM)
    with pytest.raises(DataError, match=r"other seed \(0, expected 1\)"):
        simulate(arms, played, replace(SIZES, seed=1), played, models=models)
    with pytest.raises(DataError, match="other arms"):
        simulate(replace(arms, train_every=3), played, SIZES, played, models=models)
    with pytest.raises(DataError, match="Continue with --resume"):
        simulate(arms, played, SIZES, played, models=models)


def test_folder_with_files_is_rejected(models, tmp_path):
    (tmp_path / "out" / "report").mkdir(parents=True)
    assert (play(tmp_path, models, RANDOM, sizes=replace(SIZES, days=1)) / "random").is_dir()
    (tmp_path / "other" / "out" / "report").mkdir(parents=True)
    (tmp_path / "other" / "out" / "report" / "page.html").write_text("a page")
    with pytest.raises(DataError, match="has files that are not a simulation"):
        play(tmp_path / "other", models, RANDOM)


def test_folder_in_use_is_rejected(models, tmp_path):
    """It is held as a killed simulation's training would hold it: by a process that got its descriptor."""
    out = tmp_path / "out"
    out.mkdir()
    descriptor = os.open(out, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(DataError, match="is locked by another process"):
            play(tmp_path, models, TOWERS)
    finally:
        os.close(descriptor)


def test_simulation_without_a_day_accepts_other_arms(models, tmp_path):
    with pytest.raises(ConfigError, match=r"diversity must lie in \[0, 1\]"):
        play(tmp_path, models, TOWERS + 'scene.stages.rerank.steps = [{ use = "dpp", diversity = 2.0 }]\n')
    assert ArmLog.read(play(tmp_path, models, RANDOM) / "random").days == SIZES.days


def test_changed_arm_config_is_another_simulation(population, models, tmp_path):
    own = tmp_path / "own.toml"
    weights = {"click": 1.0, "long_view": 1.0, "like": 2.0}
    own.write_text(home_scene_text(SCENE, population.snapshot, weights), encoding="utf-8")
    arm = '[[arms]]\nname = "own"\nconfig = "own.toml"\n'
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, models, arm, cores=1, progress=StopAfter("own: day 2"))
    own.write_text(own.read_text(encoding="utf-8") + "# another\n", encoding="utf-8")
    with pytest.raises(DataError, match="with other configs"):
        play(tmp_path, models, arm, resume=True)


def test_truncated_checkpoint_is_rejected_by_name(models, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, models, RANDOM, cores=1, progress=StopAfter("random: day 2"))
    kept = tmp_path / "out" / "random" / "checkpoint.npz"
    kept.write_bytes(kept.read_bytes()[:200])
    with pytest.raises(DataError, match=r"checkpoint\.npz is damaged"):
        play(tmp_path, models, RANDOM, resume=True)


def test_sizes_reject_no_days():
    with pytest.raises(ValueError, match="days is 0"):
        replace(SIZES, days=0)


@pytest.mark.long
def test_towers_learn_from_served_impressions(played, models, tmp_path):
    """The first day is the one of towers that never learn; afterwards other towers serve, also after a
    kill."""
    learning = TOWERS + "learn.run.threads = 1\n"
    with pytest.raises(KeyboardInterrupt):
        play(
            tmp_path, models, learning, nights=1, sizes=TWO_DAYS, cores=1, progress=StopAfter("towers: day 2")
        )
    out = play(tmp_path, models, learning, nights=1, sizes=TWO_DAYS, resume=True, cores=1)
    still, moved = ArmLog.read(played / "towers"), ArmLog.read(out / "towers")
    assert moved.facts["run"].startswith("learn/night-0001/")
    first = [arm.exposures["work"][arm.exposures["day"] == 0] for arm in (still, moved)]
    second = [arm.exposures["work"][arm.exposures["day"] == 1] for arm in (still, moved)]
    np.testing.assert_array_equal(*first)
    assert not np.array_equal(*second)


def test_repeated_day_is_in_the_rank_log_once(models, tmp_path):
    arms = {"whole": {}, "killed": {"progress": StopAfter("towers: day 2")}}
    logs = {}
    for name, options in arms.items():
        folder = tmp_path / name
        if options:
            with pytest.raises(KeyboardInterrupt):
                play(folder, models, TOWERS, nights=5, sizes=TWO_DAYS, cores=1, **options)
        out = play(folder, models, TOWERS, nights=5, sizes=TWO_DAYS, cores=1, resume=bool(options))
        logs[name] = read_rank_log(out / "towers" / "rank_log", ("click", "long_view", "like"))
    assert len(logs["whole"]) == len(logs["killed"]) > 0
    np.testing.assert_array_equal(logs["whole"].item_id, logs["killed"].item_id)


def test_communities_are_made_if_a_source_needs_them(models, tmp_path):
    """Without such a channel a morning leaves them out."""
    grouped = (
        TOWERS.replace("towers", "grouped") + 'scene.recall.community = { use = "community", quota = 50 }\n'
    )
    out = play(tmp_path, models, TOWERS + grouped, sizes=replace(SIZES, days=1), cores=1)
    for name, made in (("towers", False), ("grouped", True)):
        bundle = Bundle.open(out / name / "bundles", verify=False)
        assert ("community" in bundle.snapshot.users.columns) == made
    assert len(ArmLog.read(out / "grouped")) > 0


def test_arm_without_user_vector_does_not_learn(models, tmp_path):
    out = play(tmp_path, models, RANDOM, nights=1, sizes=TWO_DAYS, cores=1)
    assert not (out / "random" / "learn").exists() and not list((out / "random" / "rank_log").glob("*"))


def test_simulate_command_plays_and_reports_arms(models, tmp_path, capsys):
    arms_of(tmp_path, TOWERS + RANDOM)
    out, report = tmp_path / "out", tmp_path / "report"
    arguments = [
        "--arms",
        str(tmp_path / "arms.toml"),
        "--out",
        str(out),
        "--models",
        str(models),
        "--days",
        "1",
    ]
    sizes = ["--users", str(SIZES.users), "--works", str(SIZES.works)]
    assert cli.main(["lab", "simulate", *arguments, *sizes, "--report", str(report)]) == 0
    said = capsys.readouterr().out
    assert f"towers: {out / 'towers'}" in said and str(report / "report.html") in said
    assert "changes against towers" in said and "creators a day" in said
    told = json.loads((report / "report.json").read_text())
    assert told["baseline"] == "towers" and list(told["arms"]) == ["towers", "random"]
    shown = len(ArmLog.read(out / "random"))
    value = told["arms"]["random"]["measures"]["exposures"]["value"]
    assert round(value * SIZES.users) == shown


def test_repeated_command_is_rejected_without_resume(models, tmp_path, capsys):
    arms_of(tmp_path, RANDOM)
    arguments = [
        "lab",
        "simulate",
        "--arms",
        str(tmp_path / "arms.toml"),
        "--out",
        str(tmp_path / "out"),
        "--days",
        "1",
    ]
    arguments += ["--models", str(models), "--users", str(SIZES.users), "--works", str(SIZES.works)]
    assert cli.main(arguments) == 0
    assert cli.main(arguments) == 2
    assert "Continue with --resume" in capsys.readouterr().err
    assert cli.main([*arguments, "--resume"]) == 0
    assert cli.main([*arguments, "--resume", "--seed", "1"]) == 2
    assert "other seed (0, expected 1)" in capsys.readouterr().err
