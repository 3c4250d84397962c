"""The cascades of a process share their bundle and the data built from it."""

import gc
import threading
import weakref

import pytest

import karec
from karec.bundle import Bundle, publish_folder
from karec.config import load_cascades
from karec.steps.sources.profile import Profile
from karec.steps.sources.social import Social

TEXT = """
bundle = "bundles"
[scenes.home]
limits = { recall = 8 }
recall = [{ use = "profile", quota = 8 }, { use = "social", quota = 8 }, { use = "popular", quota = 5 }]
stages = [{ name = "rank", steps = [{ use = "top_k" }] }]
[scenes.live]
inherits = "home"
recall.profile.quota = 3
"""


@pytest.fixture
def path(write_config):
    return write_config(TEXT)


def test_cascades_share_one_bundle_if_opened_separately(path):
    home, live = (karec.open(path, scene) for scene in ("home", "live"))
    assert home.bundle is live.bundle
    assert home.recall.sources[0].snapshot is live.recall.sources[0].snapshot


def test_scenes_share_the_configured_number_of_threads(write_config):
    path = write_config("threads = 3\n" + TEXT)
    assert [cascade.threads for cascade in load_cascades(path).values()] == [3, 3]
    assert karec.open(write_config(TEXT)).threads is None


def test_scenes_share_postings_families_and_popular_items(path):
    cascades = load_cascades(path)
    (profile, social, popular), others = (cascade.recall.sources for cascade in cascades.values())
    assert isinstance(profile, Profile) and isinstance(social, Social)
    assert all(profile.postings[facet] is others[0].postings[facet] for facet in profile.facets)
    assert social.made is others[1].made
    assert social.families is others[1].families
    assert popular.best is others[2].best


def test_shared_bundle_changes_with_its_version_and_is_freed_if_unused(path):
    first = Bundle.shared(path.parent / "bundles")
    assert Bundle.shared(path.parent / "bundles") is first
    assert Bundle.shared(first.path) is first
    assert Bundle.open(first.path) is not first
    publish_folder(path.parent / "bundles", 8, lambda folder: None)
    assert Bundle.shared(path.parent / "bundles").model_version == 8
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None


def test_shared_bundle_is_opened_once_by_concurrent_threads(path):
    result, barrier = [], threading.Barrier(8)

    def ask():
        barrier.wait()
        bundle = Bundle.shared(path.parent / "bundles")
        result.append((bundle, bundle.index, bundle.snapshot))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(map(id, entry)) for entry in result}) == 1
