"""What people can mend is told by `karec train` in a line and by its exit code, without a traceback."""

import pytest

from karec import cli

WORLD = ["--works", "2000", "--users", "200", "--exposures", "4000"]
SMALL = """
features.dim = 4
features.min_count = 3
ranker.epochs = 1
ranker.hidden = 8
run.threads = 1
run.checkpoint_steps = 1
"""


@pytest.mark.parametrize(
    ("settings", "more", "message"),
    [
        ("optimizer.learning_rate = nan", [], "train.toml: optimizer: learning_rate = nan, expected a finite number"),
        ('distil.chunks = ["a"]', [], "train.toml: distil: chunks[0] = 'a', expected int"),
        ("epochs = 1", [], "train.toml: the key 'epochs' has moved: write it at ranker.epochs"),
        ("task_weights = {lik = 2}", [], "task_weights weighs ['lik']"),
        ("optimizer.learning_rate = 1e6", [], "lower the rate. The last good state is"),
        ("", ["--resume"], "run holds no run to go on with: begin one without resume"),
        ("", ["--data", "kuairand"], "--data kuairand needs --root DIR"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(tmp_path, capsys, settings, more, message):
    (tmp_path / "train.toml").write_text(SMALL + settings)
    arguments = ["--settings", str(tmp_path / "train.toml"), "--out", str(tmp_path / "out"), *more]
    assert cli.main(["train", *WORLD, *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not (tmp_path / "out" / "bundles").exists()
