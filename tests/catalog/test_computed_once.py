"""``computed_once`` computes a property at its first read and blocks no other instance meanwhile."""

import os
import threading

from karec.catalog.once import computed_once


class Slow:
    def __init__(self):
        self.begun, self.go_on, self.computed = threading.Event(), threading.Event(), 0

    @computed_once
    def value(self):
        """A slow value."""
        self.computed += 1
        self.begun.set()
        self.go_on.wait()
        return 7


def test_computed_once_keeps_the_first_value():
    one = Slow()
    one.go_on.set()
    assert (one.value, one.value, one.computed) == (7, 7, 1)
    assert Slow.value.__doc__ == "A slow value."


def test_computed_once_does_not_block_other_instances_or_forks():
    slow, quick = Slow(), Slow()
    quick.go_on.set()
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    slow.begun.wait()
    try:
        assert quick.value == 7
        child = os.fork()
        if child == 0:
            other = Slow()
            other.go_on.set()
            os._exit(other.value)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        slow.go_on.set()
        thread.join()
