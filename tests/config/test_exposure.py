"""The table `exposure` of a scene: the steps that it adds, and the mistakes that are refused with their
place."""

import pytest

from karec.config import load_cascade, open_hot_swap
from karec.config.assemble import build_cascade
from karec.config.check import config_mistakes
from karec.config.host_stage import export_stages
from karec.config.open import warn_if_exposure_is_not_shared
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.online.store.sqlite import SqliteStore
from karec.pipeline.types import Request
from karec.serve.metrics import Metrics
from karec.times import HOUR_MS

HOME = """
bundle = "bundles"

[scenes.home]
recall = [{ use = "popular", quota = 10 }]
stages = [{ name = "rank", steps = [{ use = "index_rows" }, { use = "top_k" }] }]

[scenes.home.limits]
recall = 14

"""
TARGET = "targets = ["
TABLE = """
[scenes.home.exposure]
targets = [{ column = "song_id", share = { "50" = 0.5 } }, { age_hours = 4, share = 0.3 }]
caps = [{ column = "creator_id", share = 0.4 }]
guarantees = [{ new_work_hours = 3, exposures = 5, budget = 500 }]
impressions_per_day = 1000
explore = 1
"""


def test_scene_with_a_table_exposure_counts_its_pages(write_config):
    with load_cascade(write_config(HOME + TABLE), "home") as cascade:
        assert cascade.exposure.snapshot()["pages"] == 0
        for i in range(40):
            page = cascade.run(Request(1, 4, time_ms=1_000 * HOUR_MS + i, request_id=str(i)))
        cascade.close()
        state = cascade.exposure.snapshot()
        assert state["pages"] == 40 and len(page) == 4
        assert [target["name"] for target in state["targets"]] == ["song_id 50", "younger than 4 h"]
        assert [cap["column"] for cap in state["caps"]] == ["creator_id"]
        (step,) = [step for step in page.trace.steps if step.step == "exposure_control"]
        assert set(step.notes["dual_variables"]) == {"song_id 50", "younger than 4 h"}


def test_metrics_report_shares_dual_variables_and_unmet_targets(write_config, tmp_path):
    path = write_config(HOME + TABLE.replace('"50" = 0.5', '"50" = 0.5, "777" = 0.1'))
    with open_hot_swap(path, None) as live:
        live.run(Request(1, 4, time_ms=1_000 * HOUR_MS))
        metrics = Metrics(tmp_path)
        metrics.observe(live)
        lines = metrics.exposition().decode().splitlines()
        for target in live.cascades["home"].exposure.snapshot()["targets"]:
            labels = f'{{scene="home",target="{target["name"]}"}}'
            assert f"karec_exposure_fraction{labels} {float(target['share'])}" in lines
            assert f"karec_exposure_dual_variable{labels} {float(target['dual_variable'])}" in lines
        unmet = [line for line in lines if line.startswith("karec_exposure_unmet{")]
        assert unmet == ['karec_exposure_unmet{constraint="song_id 777",scene="home"} 1.0']


def test_metrics_report_a_worker_that_does_not_share_its_counters(write_config, tmp_path):
    path = tmp_path / "file"
    path.write_text("not a folder")
    store = SqliteStore(path / "online.db")
    with build_cascade(Config.read(write_config(HOME + TABLE)), "home", store=store) as cascade:
        metrics = Metrics(tmp_path)
        metrics._observe_exposure({"home": cascade})
        lines = metrics.exposition().decode().splitlines()
    assert 'karec_exposure_degraded{scene="home"} 1.0' in lines


def test_scene_without_a_table_exposure_has_no_exposure_steps(write_config):
    with load_cascade(write_config(HOME), "home") as cascade:
        assert cascade.exposure is None
        assert [source.name for source in cascade.recall.sources] == ["popular"]
        assert [step.name for step in cascade.stages[0].steps] == ["index_rows", "top_k"]
        assert cascade.side_effects == ()


def test_underexposed_is_added_only_with_exploration(write_config):
    with load_cascade(write_config(HOME + TABLE.replace("explore = 1", "")), "home") as cascade:
        assert [source.name for source in cascade.recall.sources] == ["popular"]


def test_exposure_control_is_in_the_fallback_of_the_last_stage_too(write_config):
    text = HOME.replace(
        '{ use = "index_rows" }, { use = "top_k" }] }',
        '{ use = "index_rows" }] },\n'
        '    { name = "rerank", steps = [{ use = "top_k" }], fallback = [{ use = "top_k" }] }',
    )
    with load_cascade(write_config(text + TABLE), "home") as cascade:
        _, stage = cascade.stages
        assert [step.name for step in stage.steps] == ["exposure_control", "top_k"]
        assert [step.name for step in stage.fallback] == ["exposure_control", "top_k"]


def test_scene_inherits_the_table_exposure_and_changes_its_keys(write_config):
    live = '\n[scenes.live]\ninherits = "home"\n'
    own = live + '[scenes.live.exposure]\ncaps = [{ column = "song_id", share = 0.5 }]\n'
    path = write_config(HOME + TABLE + live)
    with load_cascade(path, "live") as cascade:
        assert len(cascade.exposure.snapshot()["targets"]) == 2
    path.write_text(HOME + TABLE + own)
    with load_cascade(path, "live") as cascade:
        assert len(cascade.exposure.snapshot()["targets"]) == 2
        assert cascade.exposure.snapshot()["caps"][0]["column"] == "song_id"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # one entry by itself
        ('"50" = 0.5', '"50" = 1.5', "exposure.targets[0]: the share of 50 is 1.5, expected 0 to 1"),
        (
            '"50" = 0.5',
            '"50" = 0.6, "51" = 0.5',
            "exposure.targets[0]: the shares of song_id sum to 1.1, expected at most 1",
        ),
        (
            '"50" = 0.5',
            "fifty = 0.5",
            "exposure.targets[0]: share: 'fifty' is not a whole number; the keys are values of the column",
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
        (
            "age_hours = 4",
            "age_hours = 0",
            "targets[1]: age_hours = 0, expected more than 0, at most 1000000",
        ),
        (
            "share = 0.3 }",
            "share = 0.3, tolerance = 0 }",
            "exposure.targets[1]: tolerance = 0, expected more than 0, less than 1",
        ),
        (
            "share = 0.3 }",
            "shares = 0.3 }",
            "exposure.targets[1]: unknown key 'shares' (did you mean 'share'?)",
        ),
        ("share = 0.4", "share = 0", "exposure.caps[0]: share = 0 would leave every page empty"),
        (
            "budget = 500",
            "budget = 4",
            "exposure.guarantees[0]: a budget of 4 impressions per day is below the guarantee of 5 exposures",
        ),
        (
            "new_work_hours = 3, ",
            "",
            "exposure.guarantees[0]: a guarantee names either new_work_hours or new_creator_days",
        ),
        (
            '"50" = 0.5',
            '"050" = 0.5',
            "exposure.targets[0]: share: '050' is not a whole number; the keys are values of the column",
        ),
        (
            "new_work_hours = 3",
            "new_work_hours = inf",
            "exposure.guarantees[0]: new_work_hours = inf, expected a finite number",
        ),
        (
            TARGET,
            "fairness = [{ weight = nan }]\n" + TARGET,
            "exposure.fairness[0]: weight = nan, expected a finite number",
        ),
        (TARGET, "fairness = [{ exposures = 1.0 }]\n" + TARGET, "exposure.fairness[0]: "),
        (
            TARGET,
            "fairness = [{ weight = 1 }, { weight = 2 }]\n" + TARGET,
            "fairness[0] are both for works: merge them",
        ),
        (
            TARGET,
            'fairness = [{ weight = 1, column = "song" }]\n' + TARGET,
            "exposure: fairness[0]: the item index has no column 'song'",
        ),
        # against the index
        (
            '"song_id", share',
            '"mood", share',
            "exposure: targets[0]: the item index has no column 'mood'; it has [",
        ),
        # entries together
        (
            "caps = [",
            'caps = [{ column = "song_id", share = 0.4 }, ',
            "exposure: targets[0] is above caps[0]: song_id 50 has the target 0.5, the cap is 0.4",
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
            "targets[0] has the share 0.4 for items younger than 2 h, and targets[2] 0.3 for items",
        ),
        (
            "targets = [",
            "targets = [{ age_hours = 4, share = 0.3 }, ",
            "both name items younger than 4 h: merge them",
        ),
        (
            "impressions_per_day = 1000",
            "impressions_per_day = 400",
            "exposure: guarantees: the budgets sum to 500 impressions per day, the scene has 400",
        ),
        (
            "impressions_per_day = 1000",
            "",
            "exposure: guarantees need impressions_per_day of the scene, got None",
        ),
        (
            "guarantees = [",
            "guarantees = [{ new_work_hours = 3, exposures = 6, budget = 6 }, ",
            "guarantees[1] and guarantees[0] are both for new works of 3 h: merge them",
        ),
        (
            "guarantees = [",
            "guarantees = [{ new_work_hours = 24, exposures = 450, budget = 450 }, ",
            "guarantees[0] is above caps[0]: a new item gets 450 impressions, the cap allows 400",
        ),
        (
            "guarantees = [",
            "guarantees = [{ new_creator_days = 1, exposures = 450, budget = 450 }, ",
            "guarantees[0] is above caps[0]: a new creator gets 450 impressions, the cap allows 400",
        ),
        ("explore = 1", "explore = -1", "exposure: explore = -1, expected at least 0"),
        (
            TABLE,
            "[scenes.home.exposure]\n",
            "exposure: name a target, a cap, a guarantee or a fairness penalty",
        ),
        (TABLE, "[[scenes.home.exposure]]\n", "exposure = [{}], expected a table"),
        # steps that the table adds
        (
            '{ use = "top_k" }',
            '{ use = "exposure_control" }, { use = "top_k" }',
            "the scene's table `exposure` adds the step 'exposure_control': delete this entry",
        ),
        (
            "recall = [",
            'recall = [{ use = "underexposed", quota = 4 }, ',
            "the scene's table `exposure` adds the step 'underexposed': delete this entry",
        ),
        (
            '{ use = "index_rows" }, ',
            "",
            "scenes.home.exposure: the step exposure_control needs rows: put index_rows before it",
        ),
    ],
)
def test_table_exposure_with_a_mistake_is_rejected_with_its_place(write_config, old, new, message):
    text = HOME + TABLE
    assert text.count(old) >= 1
    with pytest.raises(ConfigError) as refused:
        load_cascade(write_config(text.replace(old, new, 1)), "home")
    assert message in str(refused.value) and "scenes.home" in str(refused.value)


def test_fairness_penalties_need_no_other_constraint(write_config):
    text = HOME + (
        '[scenes.home.exposure]\nfairness = [{ column = "creator_id", weight = 0.5 }, { weight = 1.0 }]\n'
    )
    with load_cascade(write_config(text), "home") as cascade:
        page = cascade.run(Request(1, 4, time_ms=1_000 * HOUR_MS))
        cascade.close()
        of_creators, of_items = cascade.exposure.snapshot()["fairness"]
        assert (of_items["values"], of_items["max_exposures"]) == (len(page), 1.0)
        assert of_creators["weight"] == 0.5


def test_several_workers_without_an_online_store_get_a_warning(write_config, caplog):
    path = write_config(HOME + TABLE + '\n[scenes.other]\ninherits = "home"\nexposure = false\n')
    warn_if_exposure_is_not_shared(Config.read(path), workers=1)
    assert not caplog.records
    warn_if_exposure_is_not_shared(Config.read(path), workers=4)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("scenes.home.exposure: 4 workers count impressions separately")


def test_config_check_reports_all_mistakes_of_the_table_exposure(write_config):
    text = TABLE.replace("age_hours = 4", "age_hours = 0").replace("exposures = 5", "exposures = 0")
    mistakes = config_mistakes(write_config(HOME + text.replace("explore = 1", "explore = -1\nrate = 2")))
    assert [mistake.rpartition(": ")[2] for mistake in mistakes] == [
        "age_hours = 0, expected more than 0, at most 1000000",
        "exposures = 0, expected at least 1",
        "explore = -1, expected at least 0",
        "rate = 2, expected more than 0, at most 1",
    ]


def test_config_check_covers_the_steps_that_the_table_exposure_adds(write_config):
    path = write_config(HOME + TABLE)
    assert config_mistakes(path) == []
    path.write_text((HOME + TABLE).replace('{ use = "index_rows" }, ', ""))
    text = "\n".join(config_mistakes(path))
    assert "scenes.home.exposure: the step exposure_control needs rows" in text
    assert "scenes.home.exposure: the step exposure_counter needs rows" in text


def test_export_of_a_stage_with_exposure_control_is_rejected_by_its_name(write_config, tmp_path):
    with pytest.raises(ConfigError, match="exposure_control"):
        export_stages(write_config(HOME + TABLE), "home", ["rank"], tmp_path / "rank.karec")
