"""Tests of ``karec refresh --engine ray`` on a cluster of this machine."""

import shutil

import pytest

from karec.bundle import Bundle
from karec.cli import main
from karec.refresh.rolling import open_refresh
from karec.refresh.shards import library_folder, list_shards
from karec.refresh.workers import Worker


@pytest.fixture
def config(published, tmp_path):
    shutil.copytree(published[0].path.parent, tmp_path / "bundles", symlinks=True)
    (tmp_path / "karec.toml").write_text('bundle = "bundles"\n[scenes.home]\n')
    return tmp_path / "karec.toml"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--workers and --address need --engine ray"),
        (["--address", "auto"], "--workers and --address need --engine ray"),
        (["--engine", "ray", "--worker", "0/2"], "leave one out"),
    ],
)
def test_options_that_do_not_go_together_are_refused(config, capsys, options, message):
    assert main(["refresh", str(config), *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.long
def test_ray_tasks_end_a_round_and_pass_on_a_refusal(config, capsys):
    assert main(["refresh", str(config), "--engine", "ray", "--workers", "2", "--job", "monday"]) == 0
    assert "1, 40 of 40 works (100%)" in capsys.readouterr().out
    bundle = Bundle.open(config.parent / "bundles", verify=False)
    assert [shard.ends_round for shard in list_shards(library_folder(bundle.path))] == [False, True]
    with open_refresh(bundle, worker=Worker(1, 2)):
        assert main(["refresh", str(config), "--engine", "ray", "--workers", "2"]) == 2
    error = capsys.readouterr().err
    assert "another refresh is running as worker 1" in error and error.count("karec refresh:") == 1
