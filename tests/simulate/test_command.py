"""`karec simulate` plays arms and writes their report."""

import json

from small_loop import RANDOM, SIZES, TOWERS, arms_of

from karec import cli
from karec.simulate.arm_log import ArmLog


def test_arms_are_played_and_reported(models, tmp_path, capsys):
    arms_of(tmp_path, TOWERS + RANDOM)
    out, report = tmp_path / "out", tmp_path / "report"
    arguments = ["--arms", str(tmp_path / "arms.toml"), "--out", str(out), "--models", str(models), "--days", "1"]
    sizes = ["--users", str(SIZES.users), "--works", str(SIZES.works)]
    assert cli.main(["simulate", *arguments, *sizes, "--report", str(report)]) == 0
    said = capsys.readouterr().out
    assert f"towers: {out / 'towers'}" in said and str(report / "report.html") in said
    told = json.loads((report / "report.json").read_text())
    assert told["baseline"] == "towers" and list(told["arms"]) == ["towers", "random"]
    shown = len(ArmLog.read(out / "random"))
    value = told["arms"]["random"]["measures"]["exposures"]["value"]
    assert round(value * SIZES.users) == shown


def test_the_same_command_again_is_refused_unless_it_goes_on(models, tmp_path, capsys):
    arms_of(tmp_path, RANDOM)
    arguments = ["simulate", "--arms", str(tmp_path / "arms.toml"), "--out", str(tmp_path / "out"), "--days", "1"]
    arguments += ["--models", str(models), "--users", str(SIZES.users), "--works", str(SIZES.works)]
    assert cli.main(arguments) == 0
    assert cli.main(arguments) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert cli.main([*arguments, "--resume"]) == 0
    assert cli.main([*arguments, "--resume", "--seed", "1"]) == 2
    assert "other seed (0, and not 1)" in capsys.readouterr().err
