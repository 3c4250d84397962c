"""What sources find and what they contribute to pages: by hand, and on the small bundle."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_bundle import publish_small_bundle
from small_dataset import make_dataset

import karec
from karec.config.scenes import Config
from karec.config.templates import home_scene_text
from karec.errors import DataError
from karec.lab.studies.channels import TOGETHER, Found, channel_rows, channel_study, found_by_channels
from karec.lab.studies.feed_channels import channels_left_out, channels_of_feeds, feed_channel_rows
from karec.lab.studies.recall import ENJOYED, FAVOURITES
from karec.pipeline.trace import Trace
from karec.pipeline.types import Candidates, Page, Request


def found(user, wanted, alone, merged, bits, without):
    works = replace(Candidates.from_ids(np.array(merged)), sources=np.array(bits, np.uint32))
    lists = {name: np.array(ids) for name, ids in alone.items()}
    lacking = {name: np.array(ids) for name, ids in without.items()}
    return Found(
        user, 3, {FAVOURITES: np.array(wanted), ENJOYED: np.empty(0, np.int64)}, lists, works, lacking
    )


def test_recall_is_of_the_reference_with_paired_differences():
    """Of four favourites user 1 is found 2 together, one by b alone; user 2 one, which both found."""
    one = found(1, [1, 2, 3, 4], {"a": [1, 9], "b": [2]}, [1, 2, 9], [0b11, 0b10, 1], {"a": [2], "b": [1]})
    two = found(2, [1, 2, 3, 4], {"a": [3, 4], "b": [8]}, [3, 8], [0b11, 0b10], {"a": [8], "b": [3]})
    report = channel_study(iter([one, two]))
    (measure,) = report["measures"]
    assert (report["users"], measure["reference"], measure["k"], measure["users"]) == (2, FAVOURITES, 3, 2)
    assert measure[TOGETHER]["value"] == pytest.approx(0.375)
    values = {
        name: {what: of["value"] for what, of in each.items()} for name, each in measure["channels"].items()
    }
    assert values == {
        "a": {"alone": 0.375, "sole": 0.0, "without": 0.25, "ahead": 0.0},
        "b": {"alone": 0.125, "sole": 0.125, "without": 0.125, "ahead": 0.25},
    }
    low, high = measure["channels"]["b"]["ahead"]["ci"]
    assert 0.25 == pytest.approx(low) == pytest.approx(high), "both users are ahead by as much"
    head, rows = channel_rows(report)
    assert len(rows) == 3 and all(len(row) == len(head) for row in rows)
    assert json.loads(json.dumps(report))["users"] == 2


def test_channels_reject_no_users():
    with pytest.raises(DataError, match="no users"):
        channel_study(iter(()))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    bundle = publish_small_bundle(root)
    config = root / "karec.toml"
    text = home_scene_text("home", bundle.snapshot, make_dataset().objectives)
    changed = 'use = "follow"\nmin_items = 1\ntimeout_ms = 60_000\n'
    config.write_text(text.replace('use = "follow"\n', changed))
    with karec.open(config, "home") as cascade:
        yield Config.read(config), cascade


def truth(users, works, time_ms, scene):
    return np.stack([works, works * 0, users * 0], axis=1).astype(float)


def test_sources_return_k_works_alone_and_quotas_together(served):
    config, cascade = served
    asked = list(
        found_by_channels(
            config, cascade, cascade.bundle, make_dataset(), n_users=4, at=(5, 20, 100), truth=truth
        )
    )
    assert [(user.k, len(user.alone)) for user in asked] == [(5, 6), (20, 6)] * 4, (
        "40 works are fewer than 100"
    )
    for user in asked:
        assert all(len(ids) <= user.k for ids in user.alone.values()) and len(user.merged) <= user.k
        assert len(user.alone["popular"]) == user.k, "a channel of its own brings as many as all together"
        for bit, name in enumerate(user.alone):
            sole = user.merged.ids[user.merged.sources == 1 << bit]
            assert not np.isin(sole, user.without[name]).any(), "what only it found is not found without it"
        assert set(user.references) == {ENJOYED, FAVOURITES}
    without_truth = found_by_channels(config, cascade, cascade.bundle, make_dataset(), n_users=99, at=(5,))
    assert all(len(user.references[ENJOYED]) for user in without_truth), "who enjoyed nothing is not asked"


def test_channels_reject_small_libraries_and_other_users(served):
    config, cascade = served
    with pytest.raises(DataError, match="the library has 40 works, expected more than the smallest K"):
        next(found_by_channels(config, cascade, cascade.bundle, make_dataset(), n_users=1, at=(40,)))
    other = make_dataset()
    object.__setattr__(other.snapshot.users, "ids", np.asarray(other.snapshot.users.ids) + 1)
    with pytest.raises(DataError, match="the users differ"):
        next(found_by_channels(config, cascade, cascade.bundle, other, n_users=1))


def test_page_without_a_source_omits_its_works(served):
    _, cascade = served
    report = channels_left_out(cascade, cascade.bundle, make_dataset(), n_users=4, k=5, truth=truth)
    assert report["users"] == 4 and list(report["channels"]) == [
        source.name for source in cascade.recall.sources
    ]
    for of in report["channels"].values():
        assert 0 <= of["sole"]["value"] <= of["found"]["value"] <= 1
        assert of["sole"]["value"] <= of["changed"]["value"] + 1e-12, (
            "a work that only it found is not there without it"
        )
    head, rows = feed_channel_rows(report["channels"])
    assert all(len(row) == len(head) == 5 for row in rows)
    told = channels_left_out(cascade, cascade.bundle, make_dataset(), n_users=2, k=5)
    assert "worth" not in told["channels"]["popular"], "without a truth nobody knows what a feed is worth"


def feed(bits):
    candidates = replace(Candidates.from_ids(np.arange(len(bits))), sources=np.array(bits, np.uint32))
    return Page(Request(1), candidates, Trace(), source_names=("a", "b"))


def test_page_fractions_are_means_over_users():
    shares = channels_of_feeds([feed([1, 1, 3, 2]), feed([3]), feed([])])
    values = {name: {what: of["value"] for what, of in each.items()} for name, each in shares.items()}
    assert values == {"a": {"found": 0.875, "sole": 0.25}, "b": {"found": 0.75, "sole": 0.125}}
    assert channels_of_feeds([feed([])]) == {}
    head, rows = feed_channel_rows(shares)
    assert len(head) == 3 and rows[0][0] == "a" and feed_channel_rows({}) == (("source",), [])
