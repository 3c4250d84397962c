"""Fixtures of several tests: a platform small enough to read, a dataset, and a ranker.

Modules that tests import by name lie in ``fixtures/``.
"""

import hypothesis
import numpy as np
import pytest
from shared_exports import shared_exports  # noqa: F401

from karec import _native
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.times import HOUR_MS

pytest.register_assert_rewrite("dpp_problems")  # so that the judge says what did not hold

# No deadline: the time of an example depends on the load of the machine.
hypothesis.settings.register_profile("karec", max_examples=50, deadline=None)
hypothesis.settings.register_profile("nightly", max_examples=400, deadline=None)
hypothesis.settings.load_profile("karec")  # pytest --hypothesis-profile=nightly loads the other
LONG_FOLDERS = ("cli/demo", "learn", "lab", "cli", "native", "serve")


def pytest_collection_modifyitems(items):
    """Puts folders with long files first, so that no worker waits for one at the end."""
    starts = (*(f"tests/{folder}/" for folder in LONG_FOLDERS), "")
    items.sort(key=lambda item: next(at for at, start in enumerate(starts) if item.nodeid.startswith(start)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile` a file stays on one worker; so do the tests that read one finished demo."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return "tests/cli/demo" if nodeid.startswith("tests/cli/demo/") else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_report_header():
    return f"karec instruction set: {_native.isa()}"


@pytest.fixture
def platform() -> Snapshot:
    """Ten works (ids 100 … 109) of creators 1 … 3 and songs 50 … 52; work 10i is i hours old. Four users (1 …
    4): 1 watched 100 and 104, follows creator 2, is a friend of 3; 2 and 3 are of one family; 3 liked 105; 4
    did nothing.
    """
    now = 1_000 * HOUR_MS
    works = Table(
        np.arange(100, 110),
        {
            "creator_id": np.array([1, 1, 2, 2, 3, 3, 1, 2, 3, 1]),
            "song_id": np.array([50, 51, 52, 50, 51, 52, 50, 51, 52, 50]),
            "type": np.array([0, 1] * 5, np.int32),
            "tag": np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2], np.int32),
            "upload_ms": now - np.arange(10) * HOUR_MS,
            "count_exposed": np.full(10, 100, np.float32),
            "count_long_view": np.arange(10, 110, 10, dtype=np.float32),
        },
    )
    users = Table(np.array([1, 2, 3, 4]), {"family": np.array([-1, 7, 7, -1], np.int32)})

    def relation(*lists):
        rows = np.repeat(np.arange(len(lists)), [len(values) for values in lists])
        return Relation.from_pairs(rows, np.concatenate([np.array(v, np.int64) for v in lists]), len(lists))

    return Snapshot(
        time_ms=now,
        works=works,
        users=users,
        relations={
            "history": relation([100, 104], [], [108], []),
            "liked": relation([], [], [105], []),
            "follows": relation([2], [], [], []),
            "friends": relation([3], [], [1], []),
        },
        labels={"scene": ["home", "city"], "type": ["audio", "video"]},
        meaning=Meaning(("click", "long_view"), ("like",), ("follow",)),
    )


@pytest.fixture(scope="session")
def dataset():
    """12 users, 40 works, 600 exposures (fixtures/small_dataset.py)."""
    from small_dataset import make_dataset

    return make_dataset()


@pytest.fixture(scope="session")
def encoder(dataset):
    """Of the training days of `dataset`, with histories of 8 works and values that appear 3 times."""
    from karec.features.encoder import Encoder

    return Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=3)


@pytest.fixture(scope="session")
def ranker(tmp_path_factory):
    """item_numbers (N, 1) → logits (N, 2) of the tasks click and like; model version 7
    (fixtures/small_ranker.py)."""
    from small_ranker import write_ranker

    return write_ranker(tmp_path_factory.mktemp("ranker") / "ranker.onnx")
