"""``Once``: a value is built by the first who asks, and shared by all."""

import copy
import pickle
import threading

import pytest

from karec.catalog.once import Once


def test_once_builds_one_object_for_concurrent_threads():
    once, built, result, barrier = Once(), [], [], threading.Barrier(16)

    def build():
        built.append(1)
        return object()

    def ask():
        barrier.wait()
        result.append(once.get("key", build))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(result) == 16 and len(set(map(id, result))) == 1


def test_once_builds_keys_separately_and_allows_nested_gets():
    once = Once()
    assert once.get("sum", lambda: once.get("a", lambda: 1) + once.get("b", lambda: 2)) == 3
    assert once.get("a", lambda: 7) == 1


def test_once_retries_a_failed_build():
    once = Once()
    with pytest.raises(ZeroDivisionError):
        once.get("key", lambda: 1 // 0)
    assert once.get("key", lambda: 5) == 5


def test_once_caches_none():
    once = Once()
    assert once.get("key", lambda: None) is None
    assert once.get("key", lambda: 5) is None


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda once: pickle.loads(pickle.dumps(once))])
def test_copy_of_once_is_empty(copied):
    once = Once()
    once.get("key", lambda: 1)
    assert copied(once).get("key", lambda: 2) == 2
