"""An error of a side effect is counted and logged, and does not reach the caller."""

import logging

import pytest
from observer_watcher import Watcher, adds_up, answer, shut_queue

from karec.pipeline.side_effects import SideEffectQueue


@pytest.fixture
def shut():
    """A busy side effect and its queue (fixtures/observer_watcher.py)."""
    with shut_queue() as busy:
        yield busy


ERRORS = (OSError(28, "No space left on device"), ValueError("wrong"), SystemExit(3))

RAISED = [(where, error) for where in ("run", "flush", "close", "due") for error in ERRORS]


@pytest.mark.parametrize(("where", "error"), [*RAISED, *(("is_enabled", error) for error in ERRORS[:2])])
def test_side_effect_error_is_counted_and_logged_once(caplog, where, error):
    observer = Watcher()

    def fails(*_):
        raise error

    setattr(observer, where, fails)
    queue = SideEffectQueue(observer)
    with caplog.at_level(logging.WARNING, "karec.pipeline"):
        for at in range(3):
            queue.offer(*answer(at))
            queue.flush()
        counts = queue.close()
    kind = type(error).__name__ + (": No space left on device" if isinstance(error, OSError) else "")
    assert counts.reasons == {kind: 1 if where == "close" else 3}
    assert counts.failed == (3 if where in ("run", "is_enabled") else 0)
    assert adds_up(counts) and counts.seen == 3 and counts.pending == 0
    first, *others = [record.getMessage() for record in caplog.records]
    assert "more of this kind is only counted" in first
    assert all("3 seen" in other for other in others) and len(others) == 1


def test_unknown_stage_of_side_effect_is_counted():
    observer = Watcher()
    observer.stages = ("nowhere",)
    queue = SideEffectQueue(observer)
    queue.offer(*answer(0))
    counts = queue.close()
    assert (counts.failed, counts.reasons) == (1, {"KeyError": 1})


def test_logging_filter_that_raises_does_not_reach_the_caller(shut):
    def refuse(record):
        raise RuntimeError("no logging today")

    logger = logging.getLogger("karec.pipeline")
    logger.addFilter(refuse)
    try:
        for at in range(5):
            shut[1].offer(*answer(at))
    finally:
        logger.removeFilter(refuse)
    assert shut[1].counts().dropped == 3
