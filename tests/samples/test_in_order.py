"""Several threads, results in order."""

import threading

import pytest

from karec.samples.threads import in_order


def test_results_come_in_the_order_of_the_arguments_whichever_call_ends_first():
    second_done = threading.Event()

    def work(at):
        if at == 0:
            assert second_done.wait(60)  # the first call ends after the second
        if at == 1:
            second_done.set()
        return at * at

    assert list(in_order(work, range(50), threads=2)) == [at * at for at in range(50)]


def test_arguments_are_drawn_a_few_ahead_and_by_the_callers_thread():
    drawn = []

    def arguments():
        for at in range(100):
            drawn.append((at, threading.get_ident()))
            yield at

    results = in_order(lambda at: at, arguments(), threads=2)
    assert next(results) == 0
    assert len(drawn) < 10 and {thread for _, thread in drawn} == {threading.get_ident()}
    results.close()
    assert len(drawn) < 10


def test_an_error_is_raised_at_its_place():
    def work(at):
        if at == 3:
            raise LookupError("three")
        return at

    results = in_order(work, range(9), threads=3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="three"):
        next(results)


def test_of_nothing_comes_nothing():
    assert list(in_order(str, [])) == []
