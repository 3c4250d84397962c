"""Settings come from TOML, and what is wrong in it is named."""

import dataclasses

import pytest

from karec.errors import ConfigError
from karec.learn.settings.recipes import RECIPES
from karec.learn.settings.train import TrainSettings


def read(tmp_path, text):
    path = tmp_path / "train.toml"
    path.write_text(text)
    return TrainSettings.from_toml(path)


def test_keys_left_out_keep_their_defaults(tmp_path):
    assert read(tmp_path, "") == TrainSettings()


@pytest.mark.parametrize("head", ["", "[train]\n"])
def test_each_key_sets_the_field_of_its_name(tmp_path, head):
    settings = read(
        tmp_path, head + 'ranker = "lr"\nbaselines = []\nepochs = 5\nlearning_rate = 1\nfusion = {click = 2}'
    )
    expected = {"ranker": "lr", "baselines": (), "epochs": 5, "learning_rate": 1.0, "fusion": {"click": 2.0}}
    assert settings == dataclasses.replace(TrainSettings(), **expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_sets_its_keys(tmp_path, recipe):
    settings = read(tmp_path, f'recipe = "{recipe}"\nseed = 3')
    assert settings == dataclasses.replace(TrainSettings(), recipe=recipe, seed=3, **RECIPES[recipe])


def test_the_defaults_are_those_of_the_default_recipe():
    assert TrainSettings() == TrainSettings().with_recipe(TrainSettings().recipe)


def test_a_key_overrules_the_recipe(tmp_path):
    settings = read(tmp_path, 'soft_weight = 0.25\nrecipe = "chunks"')
    assert (settings.soft_weight, settings.pairwise_weight) == (0.25, RECIPES["chunks"]["pairwise_weight"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown key 'epoch' .did you mean 'epochs'"),
        ("epochs = 0", "epochs = 0, expected more than 0"),
        ("epochs = 2.5", "epochs = 2.5, expected int"),
        ("epochs = true", "epochs = True"),
        ('ranker = "svm"', "ranker = 'svm'"),
        ('baselines = ["svm"]', "svm"),
        ("soft_weight = 1.5", "soft_weight = 1.5, expected 0 to 1"),
        ('fusion = {click = "much"}', r"fusion.click = 'much', expected float"),
        ("dim = 7", "dim = 7, expected an even number"),
        ("epochs =", "is not TOML"),
        ('recipe = "soft"', "recipe = 'soft', expected one of .*'born-again'"),
        ('towers = "small"', "towers = 'small', expected one of"),
        ("born_again = 4", "born_again = 4, expected at most 3"),
        ("chunks = [10, 5]", r"chunks = .10, 5., expected ascending ranks below 40"),
        ("chunks = [40]", r"chunks = .40., expected ascending ranks below 40"),
        ("list_works = 1", "list_works = 1, expected 2 to shadow_works = 200"),
        ("list_weight = -1", "list_weight = -1.0, expected at least 0"),
        ("task_weights = {like = -1}", "expected finite weights of at least 0"),
        ('device = "tpu"', "device = 'tpu'"),
        ("matching = 1", "matching = 1, expected bool"),
        ("learning_rate = nan", "learning_rate = nan, expected a finite number"),
        ("learning_rate = inf", "learning_rate = inf, expected a finite number"),
        ("learning_rate = 1" + "0" * 400, "learning_rate is too large"),
        ("temperature = inf", "temperature = inf, expected a finite number"),
        ("soft_weight = nan", "soft_weight = nan, expected a finite number"),
        ("weight_decay = inf", "weight_decay = inf, expected a finite number"),
        ("refresh_hours = inf", "refresh_hours = inf, expected a finite number"),
        ("task_weights = {like = inf}", "task_weights = .'like': inf., expected finite weights"),
        ("task_weights = [1]", "task_weights = .1., expected a table"),
        ("fusion = {click = nan}", "fusion = .'click': nan.: fusion weights must be"),
        ("fusion = {click = -1}", "fusion = .'click': -1.0.: fusion weights must be"),
        ("fusion = {}", "fusion = .*with a positive sum"),
        ("seed = -1", "seed = -1, expected at least 0"),
        ("seed = 3000000000", "seed = 3000000000, expected at most 2147483647"),
        ("model_version = 9223372036854775808", "model_version = 9223372036854775808, expected at most"),
        ("hidden = 1", "hidden = 1, expected at least 2"),
        ("chunks = [5, 5]", "expected ascending ranks"),
        ("chunks = [5, 'a']", r"chunks.1. = 'a', expected int"),
        ("chunks = [5.5]", r"chunks.0. = 5.5, expected int"),
        ("chunks = [true]", r"chunks.0. = True, expected int"),
        ("chunks = 5", "chunks = 5, expected a list"),
        ("baselines = [['lr']]", r"baselines.0. = \['lr'\], expected str"),
        ("auxiliary = [1]", r"auxiliary.0. = 1, expected str"),
    ],
)
def test_wrong_keys_types_and_ranges_are_refused_with_the_file(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, text)
    assert "train.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.toml cannot be read"):
        TrainSettings.from_toml(tmp_path / "absent.toml")
