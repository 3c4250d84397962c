"""The share of outcomes by team: its value, the coverage of its interval, and bad input."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import karec
from karec.aggregates.events import Events, Head
from karec.cli import main
from karec.config import open_bundle
from karec.errors import DataError
from karec.experiments.interleaving import measure_label_preferences, measure_preference
from karec.logs.read import read_rank_log
from karec.times import HOUR_MS

ARMS = ("control", "new")
RANK_LOG = '\n[[scenes.home.side_effects]]\nuse = "rank_log"\nfolder = "log"\n'
rows = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(ARMS), st.integers(0, 5)), min_size=2)


def jackknife_error(users, is_second, outcomes):
    """Standard error of the share when one user at a time is left out."""
    shares = []
    for user in set(users):
        kept = users != user
        shares.append(outcomes[kept & is_second].sum() / outcomes[kept].sum())
    n = len(shares)
    return np.sqrt((n - 1) / n * ((np.array(shares) - np.mean(shares)) ** 2).sum())


def draw(rng, n_users, share):
    """Ten items of each user, five by team; some users have ten times the outcomes of others."""
    users = np.repeat(np.arange(n_users), 10)
    is_second = np.tile([False, True], 5 * n_users)
    rate = np.repeat(rng.gamma(0.5, 2.0, n_users), 10) * np.where(is_second, share, 1 - share)
    return users, is_second, rng.poisson(rate).astype(float)


def test_share_has_all_outcomes_and_its_interval_is_near_the_jackknife():
    users, is_second, outcomes = draw(np.random.default_rng(0), 2_000, 0.6)
    result = measure_preference(users, np.where(is_second, "new", "control"), outcomes, ARMS)
    assert result.share == pytest.approx(outcomes[is_second].sum() / outcomes.sum(), rel=1e-12)
    error = jackknife_error(users, is_second, outcomes)
    assert (result.high - result.low) / 2 == pytest.approx(1.96 * error, rel=0.01)
    assert (result.n_users, result.total) == (2_000, outcomes.sum())


def test_interval_covers_the_true_share_in_95_percent_of_experiments():
    rng = np.random.default_rng(1)
    n_covered = 0
    for _ in range(600):
        users, is_second, outcomes = draw(rng, 150, 0.55)
        result = measure_preference(users, np.where(is_second, "new", "control"), outcomes, ARMS)
        n_covered += result.low <= 0.55 <= result.high
    assert 0.92 <= n_covered / 600 <= 0.98


@given(rows)
def test_share_of_swapped_arms_is_the_rest(rows):
    users, teams, outcomes = (np.array(column) for column in zip(*rows, strict=True))
    if len({*users}) < 2 or not outcomes.sum():
        return
    one, other = (measure_preference(users, teams, outcomes, arms) for arms in (ARMS, ARMS[::-1]))
    assert one.share == pytest.approx(1 - other.share) and one.low == pytest.approx(1 - other.high)
    assert 0 <= one.low <= one.share <= one.high <= 1


def test_items_without_a_team_are_left_out():
    users, teams, outcomes = [1, 1, 2, 2, 3], ["control", "new", "new", "control", ""], [1, 0, 1, 0, 9]
    assert measure_preference(users, teams, outcomes, ARMS).share == 0.5


@pytest.mark.parametrize(
    ("users", "teams", "outcomes", "message"),
    [
        ([1, 2], ["new"], [1, 1], r"shapes \(2,\), \(1,\) and \(2,\)"),
        ([1, 2], ["new", "nwe"], [1, 1], "team has 'nwe', expected one of"),
        ([1, 2], ["new", "new"], [1, -1], "an outcome is below 0 or not finite"),
        ([1, 2], ["new", "new"], [1, np.nan], "an outcome is below 0 or not finite"),
        ([1, 1], ["new", "control"], [1, 1], "1 users have items"),
        ([], [], [], "0 users have items"),
        ([1, 2], ["new", "control"], [0, 0], "all outcomes are 0"),
    ],
)
def test_preference_share_refuses_bad_input(users, teams, outcomes, message):
    with pytest.raises(ValueError, match=message):
        measure_preference(users, teams, outcomes, ARMS)


@pytest.fixture
def config(write_experiments, tmp_path):
    """A karec.toml with an interleaved experiment, whose users like the items of the arm `likes`."""
    interleave = {"coverage = 0.8": "interleave = true"}
    path = write_experiments(interleave, more='[online]\nurl = "sqlite:online.db"\n' + RANK_LOG)
    start = open_bundle(path).snapshot.time_ms
    with karec.open(path, scene=None, reload=True) as swap:
        pages = [swap.run(karec.Request(user, 5, "home", start + user)) for user in range(1, 13)]
        rows = [
            {
                "event": "impression",
                "user_id": page.request.user_id,
                "item_id": item.item_id,
                "request_id": page.request.request_id,
                "time_ms": page.request.time_ms,
                "labels": ["like"] if item.team == "likes" else [],
            }
            for page in pages
            for item in page
        ]
        assert swap.record(rows, now_ms=start + HOUR_MS).refused == {}
    return path, sum(bool(row["labels"]) for row in rows)


def test_command_prints_the_share_of_each_label(config, capsys):
    path, n_likes = config
    command = ["experiment", "preference", str(path), "fusion", "--log", str(path.parent / "log")]
    assert main([*command, "--json"]) == 0
    shares = json.loads(capsys.readouterr().out)
    like = {"share": 1.0, "low": 0.0, "high": 1.0, "n_users": 12, "total": n_likes}
    assert shares == {"like": like}
    assert main(command) == 0
    assert "share of likes" in capsys.readouterr().out


def test_command_refuses_an_experiment_that_is_not_interleaved(config, capsys):
    path, _ = config
    command = ["experiment", "preference", str(path), "popular", "--log", str(path.parent / "log")]
    assert main(command) != 0
    assert "not interleaved" in capsys.readouterr().err


def test_label_preferences_refuse_a_log_without_pages_of_the_experiment(config):
    path, _ = config
    log = read_rank_log(path.parent / "log", ())
    with pytest.raises(DataError, match="no two users with reported pages of 'other'"):
        measure_label_preferences(log, Head(("like",)), Events.empty(), "other", ARMS)


def test_outcomes_of_one_arm_only_leave_the_share_undetermined():
    preference = measure_preference([1, 2, 3], ["a", "b", "b"], [0, 1, 1], ("a", "b"))
    assert (preference.share, preference.low, preference.high) == (1, 0, 1)
