"""A whole scene that steers, on a small bundle: prerank and rerank read one set of prices, and feeds move
them."""

import pytest
from small_bundle import publish_small_bundle
from steered_scene import SCENE

from karec.config import load_cascade
from karec.pipeline.types import Request


@pytest.fixture
def cascade(tmp_path):
    bundle = publish_small_bundle(tmp_path)
    (tmp_path / "karec.toml").write_text(SCENE)
    with load_cascade(tmp_path / "karec.toml", "home", bundle) as cascade:
        yield cascade


def serve(cascade, n, start=0):
    now = cascade.bundle.snapshot.time_ms
    feeds = []
    for i in range(start, start + n):
        feeds.append(cascade.run(Request(i % 12, 4, time_ms=now + i, request_id=str(i))))
        cascade.side_effects[0].flush()
    return feeds


def test_feeds_move_prices_and_prices_move_feeds(cascade):
    index = cascade.bundle.index

    def share(feeds):
        works = [work for feed in feeds for work in feed.candidates.ids.tolist()]
        return float((index.gather("tag", index.lookup(works)) == 2).mean())

    before = share(serve(cascade, 12))
    serve(cascade, 120, 12)
    after = share(serve(cascade, 120, 132))
    assert abs(after - 0.6) < 0.1 < abs(before - 0.6)
    (target,) = cascade.exposure.snapshot()["targets"]
    assert target["name"] == "tag 2" and target["price"] != 0


def test_all_steps_of_a_request_read_one_version_of_the_prices(cascade):
    for feed in serve(cascade, 30):
        versions = [step.notes["version"] for step in feed.trace.steps if step.step == "exposure"]
        assert len(versions) == 2 and len(set(versions)) == 1


def test_what_is_explored_passes_the_cuts_of_prerank_and_rank_and_comes_into_the_feed(cascade):
    serve(cascade, 12)
    feeds = serve(cascade, 40, 12)
    for feed in feeds:
        lifted = [step.notes["explored"] for step in feed.trace.steps if step.step == "exposure"]
        assert lifted == [1, 1]
    brought = [item for feed in feeds for item in feed if "underexposed" in item.recalled_by]
    assert len(brought) >= 40


def test_the_rank_log_keeps_the_rankers_own_scores(cascade):
    (feed,) = serve(cascade, 1)
    ranked = feed.scored["rank"]
    assert ((ranked.scores > 0) & (ranked.scores < 1)).all(), "fused probabilities, without a price"
