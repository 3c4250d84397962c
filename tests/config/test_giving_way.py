"""Work beside requests leaves Python's lock to them soon, and the process as it was."""

import sys

import pytest

from karec.config.giving_way import TURN_S, GivingWay


@pytest.fixture(params=[0.005, 0.0001])
def before(request):
    kept = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield sys.getswitchinterval()
    sys.setswitchinterval(kept)


def test_threads_take_turns_no_longer_than_told_until_the_last_block_ends(before):
    first, second = GivingWay(), GivingWay()
    first.__enter__()
    with second:
        assert sys.getswitchinterval() == pytest.approx(min(before, TURN_S), abs=1e-6)
        first.__exit__(None, None, None)
        assert sys.getswitchinterval() == pytest.approx(min(before, TURN_S), abs=1e-6)
    assert sys.getswitchinterval() == before


def test_what_fails_within_leaves_the_process_as_it_was(before):
    with pytest.raises(ValueError, match="refused"), GivingWay():
        raise ValueError("refused")
    assert sys.getswitchinterval() == before
