"""What would fail after a training, when it is published, served and reported, is refused before the
training."""

import os

import pytest
from small_dataset import make_dataset
from small_settings import SMALL

from karec import cli
from karec.config.project import check_outputs

TINY = ["--works", "2000", "--users", "200", "--exposures", "4000"]


def a_file(path):
    path.write_text("not a folder")


def no_toml(path):
    path.write_text("[scenes.home\n")


def another_scene(path):
    path.write_text('bundle = "bundles"\n[scenes.shop.limits]\nrecall = 10\n')


@pytest.mark.parametrize(
    ("command", "make", "name", "message"),
    [
        ("train", a_file, "out", "this is a file, expected a folder"),
        ("train", a_file, "out/bundles", "this is a file, expected a folder"),
        ("train", a_file, "out/run", "this is a file, expected a folder"),
        ("train", no_toml, "out/karec.toml", "karec.toml"),
        ("demo", another_scene, "out/karec.toml", "no scene 'home'; it has ['shop']"),
        ("demo", a_file, "report", "this is a file, expected a folder"),
    ],
)
def test_a_place_that_cannot_be_written_or_served_is_told_before(
    tmp_path, capsys, command, make, name, message
):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    make(tmp_path / name)
    arguments = [*TINY, "--out", str(tmp_path / "out")]
    if command == "demo":
        arguments += ["--report", str(tmp_path / "report")]
    assert cli.main([command, "world", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and "training" not in said
    assert not (tmp_path / "out" / "run").is_dir()


def test_too_little_room_is_told_with_both_numbers(tmp_path):
    vast = SMALL.replace(towers={"vector": 10**12})
    dataset = make_dataset()
    with pytest.raises(
        OSError,
        match=r"the run, its rank log and its bundle take at least [\d.]+ GiB, and "
        r"[\d.]+ GiB",
    ):
        check_outputs(dataset, vast, tmp_path / "deep" / "out")
    assert not list(tmp_path.iterdir())
    check_outputs(dataset, SMALL, tmp_path / "deep" / "out", tmp_path / "report", serves=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="cannot be written"):
        check_outputs(make_dataset(), SMALL, tmp_path / "out")
