"""The demo's simulated days in a second process."""

import pytest

from karec.errors import KarecError
from karec.lab.demo.three_days import PART, ThreeDays
from karec.lab.simulate.world import make_world


@pytest.fixture(scope="module")
def world():
    return make_world(300, 60, 1_500)


def test_wait_raises_if_the_second_process_fails(world, tmp_path, capfd):
    days = ThreeDays(world, tmp_path / "no-run", tmp_path / "out", 0, PART)
    with days.started() as wait, pytest.raises(KarecError, match="ended with status 1"):
        wait(lambda *_: None)
    assert str(tmp_path) in capfd.readouterr().err


def test_second_process_ends_with_the_block(world, tmp_path):
    days = ThreeDays(world, tmp_path / "no-run", tmp_path / "out", 0, PART)
    with pytest.raises(LookupError), days.started() as wait:
        raise LookupError
    with pytest.raises(KarecError, match="ended with status -9"):
        wait(lambda *_: None)
