"""Tests of calls on several threads with results in order."""

import threading

import pytest

from karec.samples.threads import map_in_order


def test_map_in_order_keeps_the_order_of_arguments():
    second_done = threading.Event()

    def work(at):
        if at == 0:
            assert second_done.wait(60)  # the first call ends after the second
        if at == 1:
            second_done.set()
        return at * at

    assert list(map_in_order(work, range(50), threads=2)) == [at * at for at in range(50)]


def test_map_in_order_reads_arguments_in_the_callers_thread():
    drawn = []

    def arguments():
        for at in range(100):
            drawn.append((at, threading.get_ident()))
            yield at

    results = map_in_order(lambda at: at, arguments(), threads=2)
    assert next(results) == 0
    assert len(drawn) < 10 and {thread for _, thread in drawn} == {threading.get_ident()}
    results.close()
    assert len(drawn) < 10


def test_map_in_order_raises_an_error_at_its_place():
    def work(at):
        if at == 3:
            raise LookupError("three")
        return at

    results = map_in_order(work, range(9), threads=3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="three"):
        next(results)


def test_map_in_order_of_no_arguments_is_empty():
    assert list(map_in_order(str, [])) == []
