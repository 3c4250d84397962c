"""`karec train --warm-start`: a version that starts from the one in service, and options that it excludes."""

import json

import pytest
from own_files import shop_rows, write_shop
from shop_events import write_later_events

from karec import cli
from karec.models.onnx_model import OnnxModel

SETTINGS = """
features = { dim = 4, min_count = 3, history_length = 5 }
ranker = { kind = "mmoe", epochs = 1, members = 1, hidden = 8, experts = 2 }
towers = { epochs = 1, hidden = 16, vector = 8 }
distil.recipe = "hard"
evaluation = { baselines = [], resamples = 40 }
run.threads = 1
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Folder with the files of a shop, a training on them, and a store with events of the two days after."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder / "shop", shop_rows(600))
    (folder / "train.toml").write_text(SETTINGS)
    assert train(folder, "--settings", str(folder / "train.toml")) == 0
    write_later_events(folder / "out")
    return folder


def train(folder, *options):
    return cli.main(["train", str(folder / "shop"), "--out", str(folder / "out"), *options])


def test_next_version_starts_from_the_one_in_service(shop, capsys):
    out = shop / "out"
    options = ("--events", str(out / "online.db"), "--warm-start", "2")
    assert train(shop, *options, "--publish-if-no-worse", "1") == 0
    facts = json.loads((out / "run-2" / "run.json").read_text())
    assert facts["warm_start"] == {"from_version": 1, "days": 2, "in_a_row": 1}
    assert OnnxModel(out / "bundles" / "current" / "ranker.onnx").model_version == 2
    assert "warm start from version 1" in capsys.readouterr().out
    assert train(shop, *options) == 2  # nothing new
    assert "Add newer rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--warm-start", "1", "--quick"), "leave out --settings, --quick"),
        (("--warm-start", "1", "--choose", "1"), "leave out --settings, --quick"),
        (("--warm-start", "1", "--settings", "{}/train.toml"), "leave out --settings, --quick"),
        (("--warm-start", "1", "--log", "{}", "--from-scratch"), "exclude each other"),
        (("--warm-start", "1", "--log", "{}", "--rolling"), "without --from-scratch and --warm-start"),
        (("--warm-start", "1", "--run", "{}/missing"), "not a run folder"),
        (("--run", "{}/out/run"), "--run needs --log"),
        (("--log-version", "2"), "--log-version needs --log"),
    ],
)
def test_options_that_exclude_each_other_are_refused(shop, capsys, options, message):
    assert train(shop, *(option.format(shop) for option in options)) == 2
    assert message in capsys.readouterr().err
