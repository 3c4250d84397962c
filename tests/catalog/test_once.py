"""``Once``: a value is built by the first who asks, and shared by all."""

import copy
import pickle
import threading

import pytest

from karec.catalog.once import Once


def test_threads_that_ask_at_once_get_one_object_built_once():
    once, built, found, barrier = Once(), [], [], threading.Barrier(16)

    def build():
        built.append(1)
        return object()

    def ask():
        barrier.wait()
        found.append(once.get("key", build))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(found) == 16 and len(set(map(id, found))) == 1


def test_keys_have_values_of_their_own_and_a_build_may_get_another_key():
    once = Once()
    assert once.get("sum", lambda: once.get("a", lambda: 1) + once.get("b", lambda: 2)) == 3
    assert once.get("a", lambda: 7) == 1


def test_a_build_that_fails_is_tried_again():
    once = Once()
    with pytest.raises(ZeroDivisionError):
        once.get("key", lambda: 1 // 0)
    assert once.get("key", lambda: 5) == 5


def test_none_is_a_value():
    once = Once()
    assert once.get("key", lambda: None) is None
    assert once.get("key", lambda: 5) is None


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda once: pickle.loads(pickle.dumps(once))])
def test_a_copy_is_empty(copied):
    once = Once()
    once.get("key", lambda: 1)
    assert copied(once).get("key", lambda: 2) == 2
