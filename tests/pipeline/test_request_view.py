"""A request reads one index generation, even if the index is written between and during its steps.

A writer upserts, removes, blocks, adjusts and changes model versions. Each request is compared with
dictionaries of the generation that its page names. Some pages are compared with the page of an index
that contains only that generation.

KAREC_RACE_REQUESTS is the number of requests. Before a release:

    KAREC_RACE_REQUESTS=100000 pytest tests/pipeline/test_request_view.py
"""

import gc
import os
import threading
import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
from living_library import COLUMNS, MOST_IDS, VERSIONS, LivingLibrary, arrays, build
from small_tower import write_user_tower

from karec.errors import ContractError
from karec.index import ItemIndex
from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.stage import Stage
from karec.pipeline.step import Hydrator, QueryHydrator, SideEffect, Source
from karec.pipeline.types import Candidates, Request
from karec.steps.filters.has_embedding import HasEmbedding
from karec.steps.filters.not_shown import NotShown
from karec.steps.filters.quota import Quota
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.query.user_tower import UserTower
from karec.steps.scorers.freshness import Freshness
from karec.steps.selectors.dpp import Dpp
from karec.steps.selectors.inner_product import InnerProduct
from karec.steps.selectors.mmr import Mmr
from karec.steps.selectors.page_rules import PageRules
from karec.steps.selectors.top_k import TopK
from karec.steps.shared.page_rules import Rule
from karec.steps.sources.merge import Merge
from karec.steps.sources.model import Model

N_REQUESTS = int(os.environ.get("KAREC_RACE_REQUESTS", "500"))
TOWERS = VERSIONS[:2]  # the third version has no user vector


class UserNumbers(QueryHydrator):
    name = "user_numbers"

    def hydrate_request(self, request):
        numbers = np.random.default_rng(request.user_id).standard_normal((1, 2)).astype(np.float32)
        return {"user_numbers": numbers, "user_ids": np.zeros((1, 1), np.int64)}


class Listed(Source):
    """Returns ids that depend only on the request. The index does not contain some of them."""

    name, quota = "listed", 80

    def recall(self, request):
        return Candidates.from_ids(
            np.random.default_rng(request.user_id).choice(MOST_IDS + 40, 80, replace=False)
        )


class WritesBefore(QueryHydrator):
    name = "writer"

    def __init__(self, write):
        self.hydrate_request = lambda request: write() or {}

    def hydrate_request(self, request): ...


class WritesInRecall(Source):
    name, quota = "writer", 1

    def __init__(self, write):
        self.recall = lambda request: write() or Candidates.empty()

    def recall(self, request): ...


class WritesBetween(Hydrator):
    name = "writer"

    def __init__(self, write):
        self.hydrate = lambda request, candidates: write() or {}

    def hydrate(self, request, candidates): ...


@dataclass
class Seen:
    generation: int
    features: dict
    candidates: Candidates
    vectors: np.ndarray
    columns: dict[str, np.ndarray]


class Witness(Hydrator):
    """Reads all data of the candidates. It keeps the data of each thread's last request."""

    def __init__(self, name):
        self.name, self.seen = name, threading.local()

    def hydrate(self, request, candidates):
        view, rows = request.index, candidates.rows
        columns = {name: view.gather(name, rows) for name in COLUMNS}
        self.seen.last = Seen(view.generation, request.features, candidates, view.embeddings(rows), columns)
        return {}


@dataclass
class Scene:
    cascade: Cascade
    known: Witness
    scored: Witness


def before_each(steps, writer):
    return tuple(entry for step in steps for entry in (writer, step))


def scene(index: ItemIndex, towers, write=None) -> Scene:
    """Returns a cascade over ``index``. ``write`` is called before each of its steps."""
    known, scored = Witness("known"), Witness("scored")
    prerank = (
        *(IndexRows(index.schema), HasEmbedding(), known, InnerProduct(index.schema, 60), scored, NotShown()),
        *(Freshness(index.schema, weight=0.3, half_life_hours=50.0), Quota(index.schema, "creator_id", 6)),
        Dpp(index.schema, k=30, types="type", max_per_type=20, weights={"song_id": {"3": 1.5}}),
    )
    rerank = (
        TopK(20),
        Mmr(index.schema, k=14),
        Dpp(index.schema, k=10, diversity=0.6),
        PageRules(index.schema, [Rule("song_id")]),
    )
    sources = (Model(index.schema, 50), Listed())
    hydrators = (UserNumbers(), UserTower(towers))
    if write is not None:
        prerank, rerank = (
            before_each(prerank, WritesBetween(write)),
            before_each(rerank, WritesBetween(write)),
        )
        sources = before_each(sources, WritesInRecall(write))
        hydrators = before_each(hydrators, WritesBefore(write))
    quotas = [source.quota for source in sources]
    stages = (Stage("prerank", prerank), Stage("rerank", rerank))
    merged = Recall(sources, Merge(quotas, 110))
    return Scene(Cascade("home", hydrators, merged, stages, index=index), known, scored)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    return {v: write_user_tower(folder / f"user_tower.v{v:010d}.onnx", v, 8) for v in TOWERS}


def make_request(at: int) -> Request:
    return Request(at, k=8, time_ms=2 * 10**9, shown=tuple(range(at % 7)), request_id=f"r{at}")


def check_reads(seen: Seen, works) -> None:
    """Checks that ids, vectors and columns are those of the generation that was read."""
    ids = seen.candidates.ids.tolist()
    assert works.keys() >= set(ids), "an item that this generation does not contain"
    _, vectors, columns = arrays({work: works[work] for work in ids})
    np.testing.assert_array_equal(seen.vectors, vectors)
    for name in COLUMNS:
        np.testing.assert_array_equal(seen.columns[name], columns[name])


def check_scores(seen: Seen, works) -> None:
    """Checks that scores are float64 inner products with the user vector of each item's version, without
    blocked items."""
    users = dict(
        zip(seen.features["user_vector_versions"].tolist(), seen.features["user_vector"], strict=True)
    )
    result = [works[work] for work in seen.candidates.ids.tolist()]
    assert not any(work.blocked for work in result)
    expected = [
        users[work.version].astype(np.float64) @ work.vector * work.scale + work.offset for work in result
    ]
    np.testing.assert_allclose(seen.candidates.scores, expected, atol=1e-4)


def check(asked_scene: Scene, feed, works, towers, with_oracle: bool) -> None:
    assert feed.versions["model_versions"] == tuple(sorted({work.version for work in works.values()}))
    for witness in (asked_scene.known, asked_scene.scored):
        assert witness.seen.last.generation == feed.versions["index_generation"]
        check_reads(witness.seen.last, works)
    check_scores(asked_scene.scored.seen.last, works)
    if not with_oracle:
        return
    expected = scene(build(works), towers).cascade.run(replace(feed.request, features={}))
    np.testing.assert_array_equal(feed.candidates.ids, expected.candidates.ids)
    np.testing.assert_array_equal(feed.candidates.scores, expected.candidates.scores)
    for stage in ("prerank", "rerank"):
        np.testing.assert_array_equal(feed.scored[stage].ids, expected.scored[stage].ids)


def test_request_reads_one_generation_if_a_writer_runs_between_steps(towers):
    library = LivingLibrary(seed=0)
    live = scene(library.index, towers, library.write)
    several = 0
    for at in range(N_REQUESTS):
        feed = live.cascade.run(make_request(at))
        works = library.states[feed.versions["index_generation"]]
        assert library.index.generation > feed.versions["index_generation"] + 5
        check(live, feed, works, towers, with_oracle=at % 10 == 0)
        several += len(feed.versions["model_versions"]) > 1
        library.forget(library.index.generation)
    assert several > N_REQUESTS / 4


def test_request_reads_one_generation_if_a_writer_runs_in_parallel(towers):
    library = LivingLibrary(seed=1)
    live = scene(library.index, towers)
    recorded, ended, wrong = threading.Lock(), threading.Event(), []
    oldest = [1, 1]  # for each reader: no request of it reads an older generation

    def write() -> None:
        while not ended.is_set():
            with recorded:
                library.write()
                library.forget(min(oldest))

    def read(first: int) -> None:
        try:
            for at in range(first, N_REQUESTS, 2):
                oldest[first] = library.index.generation
                feed = live.cascade.run(make_request(at))
                with recorded:  # what was published is recorded by then
                    works = library.states[feed.versions["index_generation"]]
                check(live, feed, works, towers, with_oracle=at % 50 == 0)
        except BaseException as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=read, args=(first,)) for first in (0, 1)]
    writer = threading.Thread(target=write)
    for thread in (writer, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()
    writer.join()
    assert not wrong
    assert library.index.generation > 10


class Keeps(SideEffect):
    name = "keeps"

    def run(self, request, page):
        self.request = request


class KeepsWithIndex(Keeps):
    has_view = True


def observed(cascade: Cascade, observer: SideEffect):
    """Returns the page of a request, and the request that ``observer`` received."""
    with replace(cascade, side_effects=(SideEffectQueue(observer),)) as watched:
        feed = watched.run(make_request(0))
    return feed, observer.request


def test_side_effect_gets_a_view_only_if_has_view_is_true(towers):
    library = LivingLibrary(seed=2)
    cascade = scene(library.index, towers).cascade
    feed, request = observed(cascade, Keeps())
    assert feed.request.view is None and request.view is None
    feed, request = observed(cascade, KeepsWithIndex())
    assert feed.request.view is None and request.index.generation == 1


def test_view_is_freed_after_the_side_effect_releases_its_request(towers):
    library = LivingLibrary(seed=2)
    keeps = KeepsWithIndex()
    feed, request = observed(scene(library.index, towers).cascade, keeps)
    generation, works = feed.versions["index_generation"], library.states[feed.versions["index_generation"]]
    for _ in range(50):
        library.write()
    ids = np.array(list(works), np.int64)
    view = request.index
    assert view.generation == generation
    np.testing.assert_array_equal(view.embeddings(view.lookup(ids)), [work.vector for work in works.values()])
    gone = weakref.ref(view)
    del view, request, keeps.request
    gc.collect()
    assert gone() is None, "another reference to the view exists"


def test_failed_request_closes_its_view(towers):
    library = LivingLibrary(seed=3)
    views = []

    def fail():
        raise KeyError("a bug")

    class Notes(QueryHydrator):
        name = "notes"

        def hydrate_request(self, request):
            views.append(request.index)
            return {}

    failing = scene(library.index, towers, fail).cascade
    with pytest.raises(KeyError):
        replace(failing, query_hydrators=(Notes(), *failing.query_hydrators)).run(make_request(0))
    with pytest.raises(ValueError, match="closed"):
        views[0].lookup([1])


def test_step_without_a_view_raises_with_a_remedy(towers):
    index = LivingLibrary(seed=4).index
    with pytest.raises(
        ContractError, match=r"has no item index\. Run it in a cascade .* with index\.pinned\(\) as view"
    ):
        IndexRows(index.schema).hydrate(make_request(0), Candidates.empty())


def test_cascade_refuses_steps_of_another_index(towers):
    index, other = LivingLibrary(seed=5).index, LivingLibrary(seed=6).index
    stages = (Stage("prerank", (IndexRows(other.schema), TopK())),)
    for of_cascade in (index, None):
        with pytest.raises(
            ContractError, match=r"hydrator '' was built on another item index than the cascade's: give"
        ):
            Cascade("home", (), Recall((Listed(),), Merge([80], 80)), stages, index=of_cascade)
