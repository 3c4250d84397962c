"""What lists of works cost recall and the feeds: a bundle with lists, asked both ways."""

import numpy as np
import pytest
from small_bundle import publish_small_bundle
from small_dataset import make_dataset

from karec.config import Cascade
from karec.config.starting import starting_config
from karec.errors import DataError
from karec.evaluate.lists import LISTS_HEAD, WORTH, lists_rows, lists_study
from karec.evaluate.recall import FAVOURITES


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Its channels bring three works each of 40."""
    root = tmp_path_factory.mktemp("served")
    bundle = publish_small_bundle(root)
    text = starting_config("home", bundle.snapshot, make_dataset().objectives)
    for quota in ("40_000", "20_000", "5_000"):
        text = text.replace(f"quota = {quota}", "quota = 3")
    (root / "karec.toml").write_text(text)
    with Cascade.from_config(root / "karec.toml") as cascade:
        yield cascade


def truth(users, works, time_ms, scene):
    return np.stack([works, works * 0, users * 0], axis=1).astype(float)


def reading(cascade, n_probe):
    for source in cascade.recall.sources:
        if source.name == "model":
            source.n_probe = n_probe


def asked(cascade, n_probe):
    """The study, as if publishing had chosen to read ``n_probe`` lists of 40."""
    cascade.bundle.index.build_lists(40)
    reading(cascade, n_probe)
    return lists_study(cascade, cascade.bundle, make_dataset(), n_users=6, k=5, truth=truth)


def test_where_all_lists_are_read_nothing_is_lost(served):
    report = asked(served, 40)
    assert report["users"] == 6
    for name, of in report["measures"].items():
        assert of["exact"] == of["lists"] and of["difference"]["value"] == 0.0, name


def test_where_few_lists_are_read_what_recall_misses_is_told(served):
    index = served.bundle.index
    # lists are chosen by vectors alone
    index.adjust(index.ids, offset=np.arange(len(index), dtype=np.float32))
    report = asked(served, 1)
    index.adjust(index.ids, offset=0.0)
    measures = report["measures"]
    assert measures["works of the channel"]["exact"]["value"] == 1.0
    assert measures["works of the channel"]["lists"]["value"] < 1.0, "about six of forty works are scored"
    for of in measures.values():
        told = {name: of[name]["value"] for name in ("exact", "lists", "difference")}
        assert told["difference"] == pytest.approx(told["lists"] - told["exact"])
        assert of["difference"]["ci"][0] <= told["difference"] <= of["difference"]["ci"][1]
    assert {f"{FAVOURITES}, after recall", "places of the feed", WORTH} <= measures.keys()
    rows = lists_rows(report)
    assert len(rows) == len(measures) and all(len(row) == len(LISTS_HEAD) for row in rows)


def test_the_cascade_stays_as_it_was(served):
    asked(served, 3)
    assert [source.exact for source in served.recall.sources if source.name == "model"] == [True]


def test_without_lists_there_is_nothing_to_compare(served):
    reading(served, None)
    with pytest.raises(
        DataError, match="the bundle has no lists: those of 100,000 works or more are published with"
    ):
        lists_study(served, served.bundle, make_dataset(), n_users=1)
