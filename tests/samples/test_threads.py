"""Tests of calls on several threads with results in order."""

import threading

import pytest

from karec.samples.threads import map_in_order


def test_map_in_order_keeps_the_order_of_arguments():
    second_done = threading.Event()

    def work(number):
        if number == 0:
            assert second_done.wait(60)  # the first call ends after the second
        if number == 1:
            second_done.set()
        return number * number

    assert list(map_in_order(work, range(50), threads=2)) == [number * number for number in range(50)]


def test_map_in_order_reads_arguments_in_the_callers_thread():
    read = []

    def arguments():
        for number in range(100):
            read.append((number, threading.get_ident()))
            yield number

    results = map_in_order(lambda number: number, arguments(), threads=2)
    assert next(results) == 0
    assert len(read) < 10 and {thread for _, thread in read} == {threading.get_ident()}
    results.close()
    assert len(read) < 10


def test_map_in_order_raises_an_error_at_its_place():
    def work(number):
        if number == 3:
            raise LookupError("three")
        return number

    results = map_in_order(work, range(9), threads=3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="three"):
        next(results)


def test_map_in_order_of_no_arguments_is_empty():
    assert list(map_in_order(str, [])) == []
