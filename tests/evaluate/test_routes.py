"""The roads of prerank: what each keeps of the ranker's best, on pools that are small enough to see."""

import numpy as np
import pytest

from karec import ItemIndex
from karec.cascade import Cascade, Recall
from karec.config.scenes import Config
from karec.errors import DataError
from karec.evaluate.routes import ROUTES_HEAD, roads, routes_rows, routes_study
from karec.prerank.inner_product import InnerProduct
from karec.prerank.rows import IndexRows
from karec.recall.merger import QuotaMerger
from karec.stage import Hydrator, Scorer, Selector, Source, Stage
from karec.types import Candidates, Request, Selection

WORKS = 500
LIKED = np.random.default_rng(5).permutation(WORKS).astype(np.float32)


class AllWorks(Source):
    quota = WORKS

    def recall(self, request):
        return Candidates.of(np.arange(WORKS))


class Best(Selector):
    """The works that the ranker likes best, or least."""

    def __init__(self, k, sign):
        self.k, self.sign = k, sign

    def select(self, request, candidates):
        return Selection(np.argsort(-self.sign * LIKED[candidates.ids])[: self.k], None)


class Logits(Hydrator):
    gives = ("column.logits",)

    def hydrate(self, request, candidates):
        return {"logits": LIKED[candidates.ids][:, None]}


class Fused(Scorer):
    needs = ("column.logits",)

    def score(self, request, candidates):
        return candidates.columns["logits"][:, 0]


@pytest.fixture(scope="module")
def cascade():
    index = ItemIndex.build(np.arange(WORKS), np.ones((WORKS, 4), np.float32))
    stages = (Stage("prerank", (Best(50, 1),)), Stage("rank", (Logits(), Fused())))
    return Cascade("home", (), Recall((AllWorks(),), QuotaMerger([WORKS], WORKS)), stages, index=index)


def requests(n):
    return [Request(user, scene="home", time_ms=1, request_id=f"r{user}") for user in range(n)]


def test_a_road_that_the_ranker_would_take_keeps_all_and_its_opposite_nothing(cascade):
    each = {"best": Stage("prerank", (Best(120, 1),)), "worst": Stage("prerank", (Best(120, -1),))}
    report = routes_study(cascade, cascade.index, each, requests(4), (200, 400, 501))
    assert [(row["pool"], row["road"]) for row in report] == [
        (200, "best"), (200, "worst"), (400, "best"), (400, "worst"),
    ]  # fmt: skip
    for row in report:
        share_of_100 = 1.0 if row["road"] == "best" else 0.2 if row["pool"] == 200 else 0.0
        assert row["passed"] == 120 and row["ms"] > 0
        assert (row["top10"], row["top100"]) == (float(row["road"] == "best"), share_of_100)
    assert all(len(row) == len(ROUTES_HEAD) for row in routes_rows(report))


def test_pools_that_no_request_fills_are_refused(cascade):
    with pytest.raises(DataError, match="no request finds 501 works: give smaller pools"):
        routes_study(cascade, cascade.index, {}, requests(1), (501,))


def test_the_roads_of_a_scene_differ_by_what_orders_alone(prerank_config, prerank_bundle):
    each = roads(prerank_config, "home", prerank_bundle, 3, "city")
    orders = {name: [step.name for step in stage.steps][3:] for name, stage in each.items()}
    assert orders == {
        "random": ["random", "top_k"],
        "live indicators": ["live_indicators", "top_k"],
        "live indicators by city": ["live_indicators", "top_k"],
        "inner product": ["inner_product"],
    }
    assert all(stage.steps[-1].k == 3 for stage in each.values())
    assert isinstance(each["inner product"].steps[-1], InnerProduct) and isinstance(
        each["random"].steps[0], IndexRows
    )


@pytest.fixture(scope="module")
def prerank_bundle(tmp_path_factory):
    from small_dataset import make_dataset

    from karec.bundle import Bundle, publish
    from karec.platform.folds.advance import advance

    dataset = make_dataset()
    snapshot = advance(dataset.snapshot, dataset.exposures, int(dataset.exposures.time_ms[-1]) + 1)

    def write(folder):
        ItemIndex.build(snapshot.works.ids, np.ones((len(snapshot.works), 4)), model_version=7).save(
            folder / "index.karec"
        )
        snapshot.save(folder / "snapshot")

    root = tmp_path_factory.mktemp("routes")
    publish(root / "bundles", 7, write)
    return Bundle.open(root / "bundles")


@pytest.fixture
def prerank_config(tmp_path):
    path = tmp_path / "karec.toml"
    path.write_text(
        '[scenes.home]\ncounts.recall = 5\nrecall = [{ use = "popular", quota = 5 }]\n'
        'stages = [{ name = "prerank", steps = [{ use = "index_rows" }, { use = "top_k", k = 5 }] }]\n'
    )
    return Config.read(path)
