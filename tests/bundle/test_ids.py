"""A page has the ids of the platform. Steps and side effects read numbers."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_bundle import publish_small_bundle

from karec.bundle import Bundle, publish_folder
from karec.bundle.ids import BundleIds
from karec.errors import BundleError
from karec.index import IdMap
from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.stage import Stage
from karec.pipeline.step import Selector, SideEffect, Source
from karec.pipeline.types import Candidates, Request, Selection
from karec.steps.sources.merge import Merge

USERS, ITEMS = ["ann", "bob 2", "章"], ["a", "b/1", "ü", "404", "e" * 256]


class All(Source):
    name, quota = "all", 100

    def __init__(self, numbers):
        self.numbers = numbers

    def recall(self, request):
        return Candidates.from_ids(self.numbers)


class NotShown(Selector):
    """Selects items that were not shown, in order of their numbers."""

    name, k = "not_shown", None

    def select(self, request, candidates):
        left = np.flatnonzero(~np.isin(candidates.ids, np.array(request.shown, np.int64)))
        return Selection(left[: request.k])


class Remembers(SideEffect):
    name = "remembers"

    def __init__(self):
        self.seen = []

    def run(self, request, page):
        self.seen.append((request.user_id, request.shown, page.candidates.ids.tolist()))


@pytest.fixture(scope="module")
def naming(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")
    return BundleIds(IdMap.build(USERS, folder / "users.karec"), IdMap.build(ITEMS, folder / "items.karec"))


def cascade(naming, observer=None):
    merger = Merge([100], 100)
    merger.name = "merge"
    stages = (Stage("rank", (NotShown(),)),)
    observers = () if observer is None else (SideEffectQueue(observer),)
    sources = (All(naming.items.numbers(ITEMS)),)
    return Cascade("home", (), Recall(sources, merger), stages, observers, naming=naming)


def test_page_has_the_ids_of_the_request(naming):
    observer = Remembers()
    with cascade(naming, observer) as served:
        feed = served.run(Request("章", k=3, shown=("b/1",)))
    assert [item.item_id for item in feed] == ["a", "ü", "404"]
    assert (feed.request.user_id, feed.request.shown) == ("章", ("b/1",))
    result = feed.to_dict()
    assert (result["user_id"], [item["item_id"] for item in result["items"]]) == ("章", ["a", "ü", "404"])
    numbers = naming.items.numbers(["b/1", "a", "ü", "404"]).tolist()
    assert observer.seen == [(naming.users.numbers(["章"])[0], (numbers[0],), numbers[1:])]


class Explains(NotShown):
    """``NotShown`` with the explanation ``explain(numbers)`` of the items' numbers."""

    name = "explains"

    def __init__(self, explain):
        self.explain = explain

    def select(self, request, candidates):
        chosen = super().select(request, candidates)
        explanation = self.explain(candidates.ids[chosen.indices].tolist())
        return replace(chosen, notes={"explanation": explanation, "n": 3})


def explain_choice(ids, unknown=77):
    """The last item is closest to an unknown item."""
    near = [None, *ids[:-2], unknown]
    works = [{"id": item, "closest": other} for item, other in zip(ids, near, strict=True)]
    return {"works": works, "top_k": ids[::-1]}


def explain_order(ids):
    arranged = [{"id": item, "place": place} for place, item in enumerate(ids)]
    return {"before": ids[::-1], "arranged": arranged, "broken": ["a"]}


@pytest.mark.parametrize(
    ("explain", "expected"), [(explain_choice, partial(explain_choice, unknown=None)), (explain_order,) * 2]
)
def test_explanation_has_platform_ids(naming, explain, expected):
    served = replace(cascade(naming), stages=(Stage("rank", (Explains(explain),)),))
    step = served.run(Request("ann", k=3, explain=True)).to_dict()["trace"][-1]
    ids = naming.items.names(served.recall.sources[0].numbers[:3]).tolist()
    assert step["notes"] == {"explanation": expected(ids), "n": 3}


@given(user=st.text(st.characters(codec="utf-8"), min_size=1, max_size=64))
def test_page_of_an_unknown_user_has_items(naming, user):
    feed = cascade(naming).run(Request(user, k=1))
    assert (feed.request.user_id, [item.item_id for item in feed]) == (user, ["a"])


@pytest.mark.parametrize(
    "request_of",
    [lambda: Request(7), lambda: Request(""), lambda: Request("ann", shown=(1,)), lambda: Request("x" * 257)],
    ids=["integer user", "no text", "integer work", "too long"],
)
def test_cascade_refuses_ids_of_another_type(naming, request_of):
    with pytest.raises(
        ValueError, match=r"request of user .*: users have string ids, works have string ids; ids "
    ):
        cascade(naming).run(request_of())


def test_cascade_without_naming_refuses_string_ids(naming):
    bare = Cascade("home", (), cascade(naming).recall, cascade(naming).stages)
    assert bare.run(Request(1, k=5)).items[0].item_id == naming.items.numbers(["a"])[0]
    for request in (Request("ann"), Request(1, shown=("a",))):
        with pytest.raises(ValueError, match="has integer ids of users and items, the request has the id 'a"):
            bare.run(request)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return publish_small_bundle(tmp_path_factory.mktemp("small"))


def republished(small, root, users, items):
    """The small bundle, with maps of those ids."""

    def write(folder):
        for path in small.path.iterdir():
            if not path.name.startswith("manifest"):
                (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)
        (folder / "ids").mkdir()
        IdMap.build(users, folder / "ids" / "users.karec")
        IdMap.build(items, folder / "ids" / "items.karec")

    publish_folder(root, small.model_version, write)
    return root


def test_bundle_with_id_maps_has_naming(small, tmp_path):
    users, works = small.snapshot.users.ids, small.snapshot.works.ids
    opened = Bundle.open(republished(small, tmp_path, np.asarray(users), np.asarray(works)))
    assert opened.naming.users.kind == "integer"
    assert opened.naming.to_numbers(Request(int(users[0]))).user_id == users[0]
    assert small.naming is None


def test_bundle_refuses_id_maps_that_lack_snapshot_ids(small, tmp_path):
    works = [str(work) for work in small.snapshot.works.ids]
    with pytest.raises(BundleError, match=r"ids/items\.karec: snapshot/works has \d+, which no id has"):
        Bundle.open(republished(small, tmp_path, np.asarray(small.snapshot.users.ids), works))


def test_rank_has_the_ids_of_the_request(naming):
    cascade = Cascade(
        "home",
        (),
        Recall((All(np.empty(0, np.int64)),), Merge([100], 100)),
        (Stage("rank", (NotShown(),)),),
        naming=naming,
    )
    page = cascade.rank("ann", ["b/1", "a", "b/1"])
    assert {item.item_id for item in page} == {"a", "b/1"} == set(page.scores)
