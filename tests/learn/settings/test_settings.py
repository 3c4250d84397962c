"""Settings are read from TOML. A mistake is reported with file, table and key."""

import dataclasses

import msgspec
import numpy as np
import pytest

from karec.catalog.table import Table
from karec.errors import ConfigError
from karec.learn.settings.from_data import median_history, min_count
from karec.learn.settings.settings import (
    RECIPES,
    TrainSettings,
)
from karec.toml import Settings


def read(tmp_path, text):
    path = tmp_path / "train.toml"
    path.write_text(text)
    return TrainSettings.from_toml(path)


def test_settings_read_each_table_as_a_section(tmp_path):
    text = 'fusion = {click = 2}\n[ranker]\nkind = "lr"\nepochs = 5\n[optimizer]\nlearning_rate = 1\n'
    settings = read(tmp_path, text + "[evaluation]\nbaselines = []")
    expected = {"ranker": {"kind": "lr", "epochs": 5}, "optimizer": {"learning_rate": 1.0}}
    assert settings == TrainSettings().replace(
        **expected, evaluation={"baselines": ()}, fusion={"click": 2.0}
    )
    assert isinstance(settings.optimizer.learning_rate, float)
    assert read(tmp_path, "") == TrainSettings()


@pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(),
        TrainSettings().replace(
            fusion={"click": 1.0, "a b": 2.5}, towers={"wide": False}, distil={"list_works": 3}
        ),
    ],
)
def test_settings_file_round_trips_every_setting(tmp_path, settings):
    assert read(tmp_path, settings.to_toml()) == settings


def test_numeric_settings_have_a_range():
    defaults = TrainSettings()
    sections = [value for value in vars_of(defaults).values() if isinstance(value, Settings)]
    for section in (defaults, *sections):
        for field in msgspec.structs.fields(type(section)):
            value = getattr(section, field.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                (meta,) = field.type.__metadata__
                assert {meta.ge, meta.gt} != {None}, field.name


def vars_of(settings):
    return {field.name: getattr(settings, field.name) for field in msgspec.structs.fields(type(settings))}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_sets_its_keys(tmp_path, recipe):
    settings = read(tmp_path, f'seed = 3\n[distil]\nrecipe = "{recipe}"')
    assert settings == TrainSettings().replace(seed=3, distil={"recipe": recipe, **RECIPES[recipe]["distil"]})


def test_default_distil_settings_are_those_of_recipe_list(dataset):
    distil = TrainSettings().replace(features={"history_length": 30}).resolve(dataset).distil
    assert distil == TrainSettings().with_recipe("list").distil
    assert TrainSettings().replace(distil={"recipe": "list"}).distil == distil


def test_resolve_selects_recipe_retrieval_for_logs_of_positives(dataset, tmp_path):
    positives = dataclasses.replace(dataset, drawn=0.5)
    resolved = TrainSettings().resolve(positives)
    assert resolved.distil == TrainSettings().with_recipe("retrieval").distil
    assert resolved.features.min_count == 1 and resolved.features.history_length == 100
    assert read(tmp_path, '[distil]\nrecipe = "list"').resolve(positives).distil.list_weight == 1.0
    assert read(tmp_path, "[distil]\nlist_weight = 2").resolve(positives).distil.recipe == "list"
    assert read(tmp_path, "[features]\nmin_count = 7").resolve(positives).features.min_count == 7


def test_min_count_is_2_for_small_logs_and_grows_above_a_million_rows(dataset):
    assert [min_count(rows) for rows in (1, 10**6, 4 * 10**6, 10**8)] == [2, 20, 40, 200]
    assert TrainSettings().resolve(dataset).features.min_count == 2


def test_key_overrides_the_recipe(tmp_path):
    distil = read(tmp_path, '[distil]\nsoft_weight = 0.25\nrecipe = "retrieval"').distil
    assert (distil.soft_weight, distil.retrieval_weight) == (
        0.25,
        RECIPES["retrieval"]["distil"]["retrieval_weight"],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ranker.epoch = 3", "ranker: unknown key 'epoch' .did you mean 'epochs'"),
        ("ranker.epochs = 0", "ranker: epochs = 0, expected at least 1"),
        ("ranker.epochs = 2.5", "ranker: epochs = 2.5, expected int"),
        ('ranker.kind = "svm"', "ranker: kind = 'svm', expected one of"),
        ('evaluation.baselines = ["hard"]', r"evaluation: baselines\[0\] = 'hard', .*'lightgbm'"),
        ("distil.soft_weight = 1.5", "distil: soft_weight = 1.5, expected 0 to 1"),
        ('fusion = {click = "much"}', r"fusion.click = 'much', expected float"),
        ("fusion = {click = 0}", "fusion = .*with a positive sum"),
        ('experiment.name = "dpp"', "experiment: name = 'dpp' and arm = '', expected both or none"),
        ("experiment.other_arms = 2", "experiment: other_arms = 2, expected 0 to 1"),
        ("features.dim = 7", "features: dim = 7, expected an even number"),
        ('distil.recipe = "soft"', "distil: recipe = 'soft', expected one of .*'retrieval'"),
        ("distil.list_works = 201", "distil.list_works = 201, expected at most shadow.works = 200"),
        ("task_weights = {like = inf}", "task_weights.like = inf, expected a finite number"),
        ("towers.wide = 1", "towers: wide = 1, expected bool"),
        ("optimizer.learning_rate = nan", "optimizer: learning_rate = nan, expected a finite number"),
        ("seed = 3000000000", "seed = 3000000000, expected 0 to 2147483647"),
        ("distil = 3", "distil: expected a table, got 3"),
        ("history_length = 5", r"the key 'history_length' .* features\.history_length\.$"),
    ],
)
def test_settings_refuse_wrong_keys_types_and_ranges_with_place(tmp_path, text, message):
    with pytest.raises(ConfigError, match=rf"train\.toml.*{message}"):
        read(tmp_path, text)


def test_resolve_takes_absent_settings_from_the_data(dataset):
    settings = TrainSettings().resolve(dataset)
    assert settings.fusion == {"click": 1.0, "long_view": 1.0, "like": 2.0}
    assert settings.ranker.auxiliary == ("follow", "play_time")
    assert settings.resolve(dataset) == settings
    changed = (
        TrainSettings()
        .replace(fusion={"click": 3.0}, ranker={"auxiliary": ("like", "enjoyed")})
        .resolve(dataset)
    )
    assert (changed.fusion, changed.ranker.auxiliary) == ({"click": 3.0}, ("like", "click", "long_view"))


@pytest.mark.parametrize(
    ("rows", "ranker", "members", "towers"),
    [(10, 3, 4, 5), (256_000, 2, 4, 2), (512_000, 1, 1, 1), (600_000, 1, 1, 1), (0, 3, 4, 5)],
)
def test_quick_settings_have_epochs_by_row_count(rows, ranker, members, towers):
    quick = TrainSettings().quick(rows)
    assert (quick.ranker.epochs, quick.ranker.members, quick.towers.epochs) == (ranker, members, towers)
    assert quick.features.history_length == 30 and quick.evaluation.resamples == 50


def with_creators(dataset, *, creators, enjoyed):
    """Returns ``dataset`` with items of ``creators`` creators. ``enjoyed`` is the value of every label."""
    works = dataset.snapshot.works
    columns = {**works.columns, "creator_id": np.arange(len(works)) % creators}
    labels = {name: np.full_like(label, enjoyed) for name, label in dataset.exposures.labels.items()}
    relations = {name: each for name, each in dataset.snapshot.relations.items() if name != "history"}
    snapshot = dataclasses.replace(dataset.snapshot, works=Table(works.ids, columns), relations=relations)
    return dataclasses.replace(
        dataset, snapshot=snapshot, exposures=dataclasses.replace(dataset.exposures, labels=labels)
    )


def test_long_histories_have_larger_batches_and_fewer_epochs(dataset):
    n = len(dataset.snapshot.works)
    mmoe = TrainSettings().replace(ranker={"kind": "mmoe"})
    small = TrainSettings().resolve(with_creators(dataset, creators=n // 4, enjoyed=1))
    assert (small.optimizer.batch_size, small.ranker.kind, small.towers.epochs) == (1024, "lr", 2)
    long = mmoe.resolve(with_creators(dataset, creators=n // 4, enjoyed=1))
    assert (long.optimizer.batch_size, long.ranker.epochs, long.towers.epochs) == (512, 2, 3)
    changed = mmoe.replace(towers={"epochs": 7}, optimizer={"batch_size": 100})
    changed = changed.resolve(with_creators(dataset, creators=n // 4, enjoyed=1))
    assert (changed.optimizer.batch_size, changed.towers.epochs, changed.ranker.epochs) == (100, 7, 2)
    plain = TrainSettings().resolve(with_creators(dataset, creators=n, enjoyed=1))
    assert (plain.optimizer, plain.ranker.epochs, plain.towers.epochs) == (TrainSettings().optimizer, 3, 5)


def test_models_see_100_items_if_histories_are_long_and_creators_repeat(dataset):
    n = len(dataset.snapshot.works)
    seven = TrainSettings().replace(features={"history_length": 7})
    for creators, enjoyed, expected in ((n // 4, 1, 100), (n // 4, 0, 30), (n, 1, 30)):
        data = with_creators(dataset, creators=creators, enjoyed=enjoyed)
        assert TrainSettings().resolve(data).features.history_length == expected, (creators, enjoyed)
        assert seven.resolve(data).features.history_length == 7
    without = {
        name: column
        for name, column in dataset.snapshot.works.columns.items()
        if column.dtype.kind == "f" or name.endswith("_ms")
    }
    works = Table(dataset.snapshot.works.ids, without)
    bare = dataclasses.replace(dataset, snapshot=dataclasses.replace(dataset.snapshot, works=works))
    assert TrainSettings().resolve(bare).features.history_length == 30


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_towers_match_for_retrieval_and_are_wide_with_lists(recipe):
    settings = TrainSettings().with_recipe(recipe)
    assert settings.has_matching_towers == (recipe == "retrieval")
    assert settings.has_wide_towers == (recipe in ("list", "pools"))
    assert not settings.replace(towers={"wide": False}).has_wide_towers


def test_recipe_names_the_settings_that_the_data_decided(dataset):
    settings, rules = TrainSettings().resolve_with_rules(dataset)
    values = {rule.setting: rule.value for rule in rules}
    assert values == {
        "distil.recipe": "list",
        "ranker.kind": "lr",
        "features.history_length": settings.features.history_length,
        "features.min_count": 2,
    }
    assert all(rule.reason for rule in rules) and settings.resolve_with_rules(dataset) == (settings, [])


def test_large_logs_and_auxiliary_weights_get_the_network(dataset, monkeypatch):
    assert TrainSettings().replace(fusion={"follow": 1}).resolve(dataset).ranker.kind == "mmoe"
    assert TrainSettings().with_recipe("model-distillation").resolve(dataset).ranker.kind == "mmoe"
    monkeypatch.setattr("karec.learn.settings.settings.SMALL_ROWS", 10)
    assert TrainSettings().resolve(dataset).ranker.kind == "mmoe"


def test_categories_of_items_without_creators_count_as_creators(dataset):
    data = with_creators(dataset, creators=4, enjoyed=1)
    works = data.snapshot.works
    works = Table(works.ids, {"kind": works["creator_id"], "made_ms": np.zeros(len(works), np.int64)})
    data = dataclasses.replace(data, snapshot=dataclasses.replace(data.snapshot, works=works))
    assert TrainSettings().resolve(data).features.history_length == 100


def test_median_history_counts_items_before_and_in_training_days(dataset):
    """The median over training rows, so that a user with many rows counts as often."""
    train = dataset.split()[0]
    enjoyed = dataset.snapshot.meaning.is_enjoyed(train.labels)
    before = dataset.snapshot.relations.get("history")
    rows = dataset.snapshot.users.lookup(train.user_id)
    lengths = [
        enjoyed[rows == row].sum() + (0 if before is None else before.indptr[row + 1] - before.indptr[row])
        for row in rows
    ]
    assert median_history(dataset) == np.median(lengths) > 0
