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
from karec.lab.simulate.oracle import set_population
from karec.lab.simulate.population import make_population
from karec.lab.simulate.sessions import SCENE
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request

TWO_DAYS = replace(SIZES, days=2)
TWIN = TOWERS.replace("towers", "twin")


@pytest.fixture(scope="module")
def simulation(tmp_path_factory, models):
    """Towers, the same arm under another name, and random order."""
    return play(tmp_path_factory.mktemp("simulation"), models, TOWERS + TWIN + RANDOM, cores=1)


@pytest.fixture(scope="module")
def population():
    return make_population(SIZES)


def test_equal_arms_have_equal_logs(simulation):
    assert_same(ArmLog.read(simulation / "towers"), ArmLog.read(simulation / "twin"))


def test_different_arms_show_other_works(simulation):
    towers, random = ArmLog.read(simulation / "towers"), ArmLog.read(simulation / "random")
    assert not np.array_equal(towers.exposures["work"][:200], random.exposures["work"][:200])


def test_log_does_not_depend_on_the_number_of_cores(simulation, models, tmp_path):
    parallel = play(tmp_path, models, TOWERS, cores=2)
    assert_same(ArmLog.read(simulation / "towers"), ArmLog.read(parallel / "towers"))


def test_killed_simulation_ends_with_the_same_log(simulation, models, tmp_path):
    """Killed on the second day, when some of it was simulation."""
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, models, TOWERS, cores=1, progress=StopAfter("towers: day 2"))
    assert not (tmp_path / "out" / "towers" / "arm.json").exists()
    resumed = play(tmp_path, models, TOWERS, resume=True, cores=1)
    assert_same(ArmLog.read(simulation / "towers"), ArmLog.read(resumed / "towers"))


class StopAfter:
    """Interrupts a simulation at the progress message ``message``."""

    def __init__(self, message):
        self.message = message

    def __call__(self, done, total, message):
        if message.startswith(self.message):
            raise KeyboardInterrupt


def test_work_gets_equal_feedback_in_two_arms(simulation):
    """A user gives a work equal feedback in both arms if the probabilities are equal."""
    arms = [ArmLog.read(simulation / name).exposures for name in ("towers", "random")]
    row_of_pair = [
        dict(zip(zip(a["user"], a["work"], strict=True), range(len(a["user"])), strict=True)) for a in arms
    ]
    both = [
        (row_of_pair[0][pair], row_of_pair[1][pair]) for pair in row_of_pair[0].keys() & row_of_pair[1].keys()
    ]
    same = [(i, j) for i, j in both if arms[0]["p_long_view"][i] == arms[1]["p_long_view"][j]]
    assert len(same) > 20
    for label in ("click", "long_view"):
        assert all(arms[0][label][i] == arms[1][label][j] for i, j in same)


def test_shown_works_exist_and_are_new_to_the_user(simulation):
    for name in ("towers", "random"):
        arm = ArmLog.read(simulation / name)
        e = arm.exposures
        assert (arm.work_upload_day[e["work"]] < e["day"]).all(), (
            "a work is published the day after its upload"
        )
        assert (e["age_ms"] > 0).all()
        assert (e["creator"] != e["user"]).all(), "users are not shown their own works"
        of_day = np.stack([e["user"], e["work"], e["day"]])
        assert np.unique(of_day, axis=1).shape == of_day.shape
        # The snapshot lists all impressions of users with at most KEPT of them.
        is_listed = np.bincount(e["user"], minlength=arm.n_users)[e["user"]] <= KEPT
        pairs = np.stack([e["user"], e["work"]])[:, is_listed]
        assert is_listed.mean() > 0.3 and np.unique(pairs, axis=1).shape == pairs.shape
        np.testing.assert_array_equal(e["creator"], arm.work_creator[e["work"]])


def test_outcomes_have_their_expected_rates(simulation):
    e = ArmLog.read(simulation / "towers").exposures
    for label in ("long_view", "like"):
        chance = e[f"p_{label}"].astype(float)
        deviation = np.sqrt((chance * (1 - chance)).sum())
        assert abs(e[label].sum() - chance.sum()) < 4 * deviation
    assert not (e["long_view"] > e["click"]).any() and not (e["follow"] > e["long_view"]).any()


def test_probabilities_include_all_earlier_impressions(simulation, population):
    """The probabilities equal those of the truth for all pages, sessions and days at once."""
    truth, recent = population.truth, population.recent_works
    for name in ("towers", "random"):
        impressions = join_impressions(
            [read_events(simulation / name, day, population) for day in range(SIZES.days)]
        )
        user = population.snapshot.users.lookup(impressions.user_id)
        work = population.snapshot.works.lookup(impressions.work_id)
        before = np.nonzero(recent >= 0)
        n = len(before[0])
        repeats = truth.repeats(np.concatenate([before[0], user]), np.concatenate([recent[before], work]))
        later = {cause: count[n:] for cause, count in repeats.items()}
        assert later["tag"].any()
        expected = truth.probabilities(
            user, work, time_ms=impressions.time_ms, scene=impressions.scene, repeats=later
        )
        e = ArmLog.read(simulation / name).exposures
        for task in ("long_view", "like"):
            np.testing.assert_array_equal(e[f"p_{task}"], expected[task])


def test_creator_is_followed_once(simulation, population):
    """A user follows no creator whom they follow already, from the past or from another page."""
    n, n_follows = SIZES.users, 0
    for name in ("towers", "random"):
        e = ArmLog.read(simulation / name).exposures
        is_follow, pairs = e["follow"] > 0, e["user"].astype(np.int64) * n + e["creator"]
        n_follows += is_follow.sum()
        assert len(np.unique(pairs[is_follow])) == is_follow.sum()
        was_followed = np.isin(pairs, population.truth.follow_keys)
        assert was_followed.any() and not e["p_follow"][was_followed].any()
        for row in np.flatnonzero(is_follow):
            later = np.flatnonzero(pairs[row + 1 :] == pairs[row]) + row + 1
            is_other_page = (e["session"][later] != e["session"][row]) | (e["day"][later] != e["day"][row])
            assert not e["p_follow"][later[is_other_page]].any()
    assert n_follows > 3


def test_sessions_and_positions_are_counted(simulation):
    arm = ArmLog.read(simulation / "towers")
    e = arm.exposures
    for day in range(arm.days):
        rows = e["day"] == day
        users, last = np.unique(e["user"][rows], return_index=True)[0], np.zeros(arm.n_users, int)
        np.maximum.at(last, e["user"][rows], e["session"][rows] + 1)
        np.testing.assert_array_equal(last, arm.sessions[day])
        assert len(users)
    assert (e["position"] == 0).sum() == arm.sessions.sum()
    assert (np.diff(e["day"]) >= 0).all()


def test_potential_uploads_are_partly_realised(simulation):
    arm = ArmLog.read(simulation / "towers")
    days = arm.work_upload_day
    assert (days == BEFORE).sum() == SIZES.works
    assert all((days == day).any() for day in range(arm.days)) and (days == NEVER).any()


@pytest.mark.parametrize("name", SETS)
def test_built_in_arms_build(name, simulation, models, population):
    bundle = Bundle.open(next(models.iterdir()) / "bundles", verify=False)
    arms, path = read_arms(name), simulation / "towers" / "karec.toml"  # beside the LR
    for arm in arms.arms:
        cascade = build_cascade(
            arms.config_of(arm, path, path.parent, bundle.snapshot, {"click": 1.0}), SCENE, bundle
        )
        set_population(cascade, population)
        user, moment = int(bundle.snapshot.users.ids[0]), bundle.snapshot.time_ms
        page = replace(cascade, side_effects=()).run(Request(user, time_ms=moment))
        assert len(page) == 10


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


def test_folder_of_another_simulation_is_rejected(simulation, models):
    arms = arms_of(simulation.parent, TOWERS + TWIN + RANDOM)
    with pytest.raises(DataError, match=r"other seed \(0, expected 1\)"):
        simulate(arms, simulation, replace(SIZES, seed=1), simulation, models=models)
    with pytest.raises(DataError, match="other arms"):
        simulate(replace(arms, train_every=3), simulation, SIZES, simulation, models=models)
    with pytest.raises(DataError, match="Continue with --resume"):
        simulate(arms, simulation, SIZES, simulation, models=models)


def test_folder_with_files_is_rejected(models, tmp_path):
    (tmp_path / "out" / "report").mkdir(parents=True)
    assert (play(tmp_path, models, RANDOM, sizes=replace(SIZES, days=1)) / "random").is_dir()
    (tmp_path / "other" / "out" / "report").mkdir(parents=True)
    (tmp_path / "other" / "out" / "report" / "page.html").write_text("a page")
    with pytest.raises(DataError, match="has files that are not a simulation"):
        play(tmp_path / "other", models, RANDOM)


def test_folder_in_use_is_rejected(models, tmp_path):
    """The lock is held as by a training of a killed simulation, which inherited the descriptor."""
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
    checkpoint = tmp_path / "out" / "random" / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    with pytest.raises(DataError, match=r"checkpoint\.npz is damaged"):
        play(tmp_path, models, RANDOM, resume=True)


def test_sizes_reject_no_days():
    with pytest.raises(ValueError, match="days is 0"):
        replace(SIZES, days=0)


@pytest.mark.long
def test_towers_learn_from_served_impressions(simulation, models, tmp_path):
    """The first day equals that of towers that do not learn. Then other towers serve, also after a kill."""
    learning = TOWERS + "learn.run.threads = 1\n"
    with pytest.raises(KeyboardInterrupt):
        play(
            tmp_path, models, learning, nights=1, sizes=TWO_DAYS, cores=1, progress=StopAfter("towers: day 2")
        )
    learned = play(tmp_path, models, learning, nights=1, sizes=TWO_DAYS, resume=True, cores=1)
    logs = [ArmLog.read(folder / "towers") for folder in (simulation, learned)]
    assert logs[1].facts["run"].startswith("learn/night-0001/")
    works_of_days = [[log.exposures["work"][log.exposures["day"] == day] for log in logs] for day in (0, 1)]
    np.testing.assert_array_equal(*works_of_days[0])
    assert not np.array_equal(*works_of_days[1])


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
    """Publishing leaves them out without such a source."""
    grouped = (
        TOWERS.replace("towers", "grouped") + 'scene.recall.community = { use = "community", quota = 50 }\n'
    )
    out = play(tmp_path, models, TOWERS + grouped, sizes=replace(SIZES, days=1), cores=1)
    for name, has_communities in (("towers", False), ("grouped", True)):
        bundle = Bundle.open(out / name / "bundles", verify=False)
        assert ("community" in bundle.snapshot.users.columns) == has_communities
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
    output, notes = capsys.readouterr()
    assert "for 'towers'; all arms and worlds about 0." in notes
    assert "budget: 2 arms x 1 worlds x 1 days" in output
    assert f"towers: {out / 'towers'}" in output and str(report / "report.html") in output
    content = json.loads((report / "report.json").read_text())
    assert content["baseline"] == "towers" and list(content["arms"]) == ["towers", "random"]
    value = content["arms"]["random"]["measures"]["exposures"]["value"]
    assert round(value * SIZES.users) == len(ArmLog.read(out / "random"))


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
    assert cli.main([*arguments, "--resume", "--returns", "0"]) == 2
    assert "simulation with other arms" in capsys.readouterr().err
