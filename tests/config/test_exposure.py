"""The table `exposure` of a scene: what it builds, and what it refuses, with the place."""

import pytest

from karec.config import load_cascade, open_hot_swap
from karec.errors import ConfigError
from karec.pipeline.types import Request
from karec.serve.metrics.counted import Counted
from karec.serve.metrics.standing import Standing
from karec.times import HOUR_MS

HOME = """
bundle = "bundles"

[scenes.home]
query = [{ use = "exposure_prices" }]
recall = [{ use = "underexposed", quota = 4 }, { use = "popular", quota = 10 }]
stages = [{ name = "rank", steps = [{ use = "index_rows" }, { use = "exposure" }, { use = "top_k" }] }]
side_effects = [{ use = "exposures" }]

[scenes.home.limits]
recall = 14

"""
TARGET = "targets = ["
TABLE = """
[scenes.home.exposure]
targets = [{ column = "song_id", share = { "50" = 0.5 } }, { age_hours = 4, share = 0.3 }]
caps = [{ column = "creator_id", share = 0.4 }]
floors = [{ new_work_hours = 3, exposures = 5, budget = 500 }]
places_a_day = 1000
explore = 1
"""


def test_a_scene_with_a_table_steers_and_tells_how_things_stand(write_config):
    with load_cascade(write_config(HOME + TABLE), "home") as cascade:
        assert cascade.exposure.snapshot()["feeds"] == 0
        for i in range(40):
            feed = cascade.run(Request(1, 4, time_ms=1_000 * HOUR_MS + i, request_id=str(i)))
        cascade.close()
        told = cascade.exposure.snapshot()
        assert told["feeds"] == 40 and len(feed) == 4
        assert [target["name"] for target in told["targets"]] == ["song_id 50", "younger than 4 h"]
        assert [cap["column"] for cap in told["caps"]] == ["creator_id"]
        (step,) = [step for step in feed.trace.steps if step.step == "exposure"]
        assert set(step.notes["prices"]) == {"song_id 50", "younger than 4 h"}


def test_metrics_tell_shares_prices_and_what_cannot_be_met(write_config):
    path = write_config(HOME + TABLE.replace('"50" = 0.5', '"50" = 0.5, "777" = 0.1'))
    with open_hot_swap(path, None) as live:
        live.run(Request(1, 4, time_ms=1_000 * HOUR_MS))
        told = Standing(live, "1").readings(Counted())
        targets = live.cascades["home"].exposure.snapshot()["targets"]
        assert set(told["karec_exposure_price"]) == {("home", target["name"]) for target in targets}
        assert told["karec_exposure_share"].keys() == told["karec_exposure_price"].keys()
        assert told["karec_exposure_unmet"] == {("home", "song_id 777"): 1}


def test_a_scene_without_the_table_has_none(write_config):
    text = HOME.replace('{ use = "exposure_prices" }', "").replace(
        '{ use = "underexposed", quota = 4 }, ', ""
    )
    text = text.replace('{ use = "exposure" }, ', "").replace('side_effects = [{ use = "exposures" }]', "")
    with load_cascade(write_config(text), "home") as cascade:
        assert cascade.exposure is None


def test_a_scene_inherits_the_table_and_may_change_its_keys(write_config):
    live = '\n[scenes.live]\ninherits = "home"\n'
    own = live + '[scenes.live.exposure]\ncaps = [{ column = "song_id", share = 0.5 }]\n'
    path = write_config(HOME + TABLE + live)
    with load_cascade(path, "live") as cascade:
        assert len(cascade.exposure.snapshot()["targets"]) == 2
    path.write_text(HOME + TABLE + own)
    with load_cascade(path, "live") as cascade:
        assert len(cascade.exposure.snapshot()["targets"]) == 2
        assert cascade.exposure.snapshot()["caps"][0]["column"] == "song_id"


def test_two_scenes_that_keep_their_prices_in_one_file_are_refused(write_config):
    live = '\n[scenes.live]\ninherits = "home"\n'
    path = write_config(HOME + TABLE + 'state = "prices.json"\n' + live)
    with pytest.raises(ConfigError, match=r"'prices.json' is where the scene 'home' keeps its prices too"):
        load_cascade(path, "live")
    with pytest.raises(ConfigError, match=r"the scene 'live' keeps its prices too"):
        load_cascade(path, "home")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # one entry by itself
        ('"50" = 0.5', '"50" = 1.5', "exposure.targets[0]: the share of 50 is 1.5, expected 0 … 1"),
        ('"50" = 0.5', '"50" = -0.1', "exposure.targets[0]: the share of 50 is -0.1, expected 0 … 1"),
        (
            '"50" = 0.5',
            '"50" = 0.6, "51" = 0.5',
            "exposure.targets[0]: the shares of song_id sum to 1.1, expected at most 1",
        ),
        (
            '"50" = 0.5',
            "fifty = 0.5",
            "exposure.targets[0]: share: 'fifty' is no whole number; the keys are values of the column",
        ),
        (
            'share = { "50" = 0.5 }',
            "share = {}",
            "exposure.targets[0]: share is empty: name a value and its share",
        ),
        (
            'share = { "50" = 0.5 }',
            "share = 0.5",
            "exposure.targets[0]: share = 0.5, expected a share for each value",
        ),
        (
            'column = "song_id", share',
            'column = "song_id", age_hours = 3, share',
            "exposure.targets[0]: a target names either a column or age_hours",
        ),
        (
            "{ age_hours = 4, share",
            "{ share",
            "exposure.targets[1]: a target names either a column or age_hours",
        ),
        ("age_hours = 4", "age_hours = 0", "exposure.targets[1]: a target by age needs age_hours above 0"),
        (
            "share = 0.3 }",
            "share = 0.3, tolerance = 0 }",
            "exposure.targets[1]: tolerance must be above 0 and below 1, got 0",
        ),
        (
            "share = 0.3 }",
            "shares = 0.3 }",
            "exposure.targets[1]: unknown key 'shares' (did you mean 'share'?)",
        ),
        ("share = 0.4", "share = 0", "exposure.caps[0]: share = 0 would leave every feed empty"),
        ("share = 0.4", "share = 2", "exposure.caps[0]: share is 2, expected 0 … 1"),
        ("exposures = 5", "exposures = 0", "exposure.floors[0]: exposures must be positive, got 0"),
        (
            "budget = 500",
            "budget = 4",
            "exposure.floors[0]: a budget of 4 places a day is below the floor of 5 exposures",
        ),
        (
            "new_work_hours = 3",
            "new_work_hours = 0",
            "exposure.floors[0]: new must last longer than 0, got 0 hours",
        ),
        (
            "new_work_hours = 3, ",
            "",
            "exposure.floors[0]: a floor names either new_work_hours or new_creator_days",
        ),
        (
            '"50" = 0.5',
            '"050" = 0.5',
            "exposure.targets[0]: share: '050' is no whole number; the keys are values of the column",
        ),
        ('"50" = 0.5', '"" = 0.5', "exposure.targets[0]: share: '' is no whole number"),
        (
            "new_work_hours = 3",
            "new_work_hours = inf",
            "exposure.floors[0]: new must last longer than 0, got inf hours",
        ),
        (
            TARGET,
            "spread = [{ weight = 0 }]\n" + TARGET,
            "exposure.spread[0]: weight is 0, expected a number above 0",
        ),
        (
            TARGET,
            "spread = [{ weight = nan }]\n" + TARGET,
            "exposure.spread[0]: weight is nan, expected a number",
        ),
        (
            TARGET,
            "spread = [{ weight = 101 }]\n" + TARGET,
            "weight is 101, expected a number above 0 and at most 100",
        ),
        (
            TARGET,
            "spread = [{ weight = 1, exposures = 0 }]\n" + TARGET,
            "exposure.spread[0]: exposures is 0, expected a number",
        ),
        (TARGET, "spread = [{ exposures = 1.0 }]\n" + TARGET, "exposure.spread[0]: "),
        (
            TARGET,
            "spread = [{ weight = 1 }, { weight = 2 }]\n" + TARGET,
            "spread[0] are both of works: make one of them",
        ),
        (
            TARGET,
            'spread = [{ weight = 1, column = "song" }]\n' + TARGET,
            "exposure: spread[0]: the item index has no column 'song'",
        ),
        # against the index
        (
            '"song_id", share',
            '"mood", share',
            "exposure: targets[0]: the item index has no column 'mood'; it has [",
        ),
        (
            '"creator_id", share',
            '"mood", share',
            "exposure: caps[0]: the item index has no column 'mood'; it has [",
        ),
        # entries together
        (
            "caps = [",
            'caps = [{ column = "song_id", share = 0.4 }, ',
            "exposure: targets[0] is above caps[0]: song_id 50 is to have 0.5 of the places, the cap is 0.4",
        ),
        (
            "caps = [",
            'caps = [{ column = "creator_id", share = 0.1 }, ',
            "exposure: caps[1] and caps[0] both name the column 'creator_id'",
        ),
        (
            "targets = [",
            'targets = [{ column = "song_id", share = { "51" = 0.1 } }, ',
            "exposure: targets[1] and targets[0] both name the column 'song_id'",
        ),
        (
            "targets = [",
            "targets = [{ age_hours = 2, share = 0.4 }, ",
            "targets[0] wants 0.4 of the places for works younger than 2 h, and targets[2] 0.3 for those",
        ),
        (
            "targets = [",
            "targets = [{ age_hours = 4, share = 0.3 }, ",
            "both name works younger than 4 h: make one of them",
        ),
        (
            "places_a_day = 1000",
            "places_a_day = 400",
            "exposure: floors: the budgets sum to 500 places a day, the scene has 400",
        ),
        (
            "places_a_day = 1000",
            "",
            "exposure: floors need places_a_day, how many works the scene shows a day, got None",
        ),
        (
            "floors = [",
            "floors = [{ new_work_hours = 3, exposures = 6, budget = 6 }, ",
            "floors[1] and floors[0] are both of new works of 3 h: make one of them",
        ),
        (
            "floors = [",
            "floors = [{ new_work_hours = 24, exposures = 450, budget = 450 }, ",
            "floors[0] is above caps[0]: a new work is to be shown 450 times, and the cap lets 400 through",
        ),
        (
            "floors = [",
            "floors = [{ new_creator_days = 1, exposures = 450, budget = 450 }, ",
            "floors[0] is above caps[0]: a new creator is to be shown 450 times, and the cap lets 400 "
            "through",
        ),
        (
            "explore = 1",
            "explore = -1",
            "exposure: explore = -1, expected 0 or, with floors, how many places of a feed",
        ),
        (
            "explore = 1",
            'controller = "pid"',
            "exposure: the key 'controller' was removed. Delete it: the only controller is dual ascent",
        ),
        ("explore = 1", "rate = 0", "exposure: rate must be above 0 and at most 1, got 0"),
        ("explore = 1", "window_hours = 0", "exposure: window_hours must be positive, got 0"),
        (TABLE, "[scenes.home.exposure]\n", "exposure: name a target, a cap, a floor or a spread"),
        (TABLE, "[[scenes.home.exposure]]\n", "exposure = [{}], expected a table"),
        # the steps and their table
        (TABLE, "", "scenes.home.recall[0] (underexposed): the scene has no table `exposure`"),
        (
            '{ use = "exposure_prices" }',
            "",
            "the step underexposed needs request.explored: put exposure_prices into scenes.home.query",
        ),
        (
            'side_effects = [{ use = "exposures" }]',
            "",
            'exposure: nobody counts what feeds show: put { use = "exposures" } into side_effects',
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_place(write_config, old, new, message):
    text = HOME + TABLE
    assert text.count(old) >= 1
    with pytest.raises(ConfigError) as refused:
        load_cascade(write_config(text.replace(old, new, 1)), "home")
    assert message in str(refused.value) and "scenes.home" in str(refused.value)


def test_a_table_that_no_step_reads_is_refused(write_config):
    text = HOME.replace('{ use = "exposure_prices" }', "").replace(
        '{ use = "underexposed", quota = 4 }, ', ""
    )
    text = text.replace('{ use = "exposure" }, ', "").replace('side_effects = [{ use = "exposures" }]', "")
    with pytest.raises(
        ConfigError,
        match=r"scenes\.home\.exposure: no step reads it: put \{ use = "
        r"\"exposure\" \}",
    ):
        load_cascade(write_config(text + TABLE), "home")


def test_a_process_that_does_not_count_may_read_the_state_of_one_that_does(write_config):
    text = HOME.replace('side_effects = [{ use = "exposures" }]', "") + TABLE + 'state = "exposure.json"\n'
    with load_cascade(write_config(text), "home") as cascade:
        assert len(cascade.run(Request(1, 4, time_ms=1_000 * HOUR_MS))) == 4


def test_a_spread_alone_is_enough_and_prices_what_was_shown(write_config):
    text = HOME.replace('{ use = "underexposed", quota = 4 }, ', "")
    text += '[scenes.home.exposure]\nspread = [{ column = "creator_id", weight = 0.5 }, { weight = 1.0 }]\n'
    with load_cascade(write_config(text), "home") as cascade:
        feed = cascade.run(Request(1, 4, time_ms=1_000 * HOUR_MS))
        cascade.close()
        of_creators, of_works = cascade.exposure.snapshot()["spread"]
        assert (of_works["values"], of_works["most"], of_creators["weight"]) == (len(feed), 1.0, 0.5)
