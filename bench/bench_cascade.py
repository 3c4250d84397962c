"""One request through the whole cascade: 1e5 recalled candidates → 1e3 → 1e2 → a feed of 10, on one thread.

    pytest bench/bench_cascade.py                                        # 400,000 works
    karec demo --works 1000000 --users 20000 --out DIR                   # 1e6 works; or any other bundle
    pytest bench/bench_cascade.py --cascade DIR/karec.toml

The bench's own models are trained for one epoch on few exposures: what a request costs does not depend on how
good they are. Of a given bundle nothing is written: requests run without observers.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import workloads
from chain_peer import DPPS, Workshop, comparable

from karec.bundle import Bundle
from karec.config import load_cascade
from karec.config.project import main_scene, set_up
from karec.evaluate.quality import read_run
from karec.lab.simulate.world import make_world
from karec.learn.run.train import train_all
from karec.learn.settings.sections import EvaluationSettings, RankerSettings
from karec.learn.settings.train import TrainSettings
from karec.observe.shadow import Shadow
from karec.types import Request

N_REQUESTS = 64


@pytest.fixture(scope="module")
def served(request, tmp_path_factory):
    """(cascade, requests, observers, bundle): of the option ``--cascade``, or of a bundle of the bench's
    own."""
    given = request.config.getoption("cascade")
    if given is None:
        yield from built(tmp_path_factory)
        return
    bundle = Bundle.open(Path(given).parent / "bundles")
    snapshot = bundle.snapshot
    users = np.random.default_rng(0).choice(np.asarray(snapshot.users.ids), N_REQUESTS)
    with load_cascade(Path(given), "home", bundle) as cascade:
        yield (
            replace(cascade, observers=()),
            [Request(int(user), time_ms=snapshot.time_ms) for user in users],
            cascade.observers,
            bundle,
        )


def built(tmp_path_factory):
    """A published bundle over 400,000 works, and users of the test days."""
    out: Path = tmp_path_factory.mktemp("cascade")
    dataset = make_world(*workloads.WORLD, seed=0).dataset
    once = TrainSettings(ranker=RankerSettings(epochs=1), evaluation=EvaluationSettings(baselines=()))
    train_all(dataset, once, out / "run")
    config = set_up(dataset, out / "run", read_run(out / "run")["settings"], out)
    bundle = Bundle.open(out / "bundles")
    scene = main_scene(dataset)
    users = np.unique(dataset.split()[2].user_id)[:N_REQUESTS]
    requests = [Request(int(user), scene=scene, time_ms=dataset.valid_until_ms) for user in users]
    with load_cascade(config, scene, bundle) as cascade:
        yield cascade, requests, cascade.observers, bundle


def test_one_request(benchmark, served):
    cascade, requests, *_ = served
    feeds = [cascade.run(request) for request in requests[:8]]
    sizes = {
        stage: int(np.median([feed.trace.stage_sizes()[stage] for feed in feeds]))
        for stage in ("recall", "prerank")
    }
    steps = {
        f"{step.stage}.{step.step}": float(np.median([feed.trace.steps[i].ms for feed in feeds]))
        for i, step in enumerate(feeds[0].trace.steps)
    }
    benchmark.extra_info.update(sizes=sizes, steps_ms={name: round(ms, 3) for name, ms in steps.items()})
    turn = iter(range(10**9))
    benchmark(lambda: cascade.run(requests[next(turn) % len(requests)]))


def test_shadow_of_one_request(benchmark, served):
    """What a shadow request costs after its answer: 10,000 works of its pool, both scores."""
    cascade, requests, observers, _ = served
    feed = cascade.run(requests[0])
    (shadow,) = (queue.observer for queue in observers if isinstance(queue.observer, Shadow))
    pool = feed.scored[shadow.pool]
    pool = pool.take(np.arange(min(shadow.at_most, len(pool))))
    benchmark.extra_info.update(works=len(pool))
    with cascade.index.pinned() as view:
        request = feed.request.with_view(view)
        benchmark(lambda: shadow.scorer.score(request, pool))


@pytest.mark.parametrize("dpp", DPPS)
def test_the_same_request_out_of_other_parts(benchmark, served, dpp):
    """The peer of chain_table.py, which with NumPy's DPP answers as karec does."""
    cascade, requests, _, bundle = served
    cascade = comparable(cascade)
    request = replace(requests[0], request_id="0")  # the channel fresh draws by it
    shop = Workshop(cascade, bundle, requests[:2])
    peer = shop.peer(DPPS[dpp])
    benchmark.group = "one request"
    left, _ = benchmark(lambda: peer.run(request, bundle.snapshot.users.row(request.user_number)))
    feed = cascade.run(request)
    ids = np.asarray(bundle.snapshot.works.ids)
    assert [place for place, _ in peer.steps] == [step.place for step in feed.trace.steps]
    assert set(ids[left["recall"]]) >= set(feed.scored["prerank"].ids)
    assert len(left["prerank"]) == len(feed.scored["rank"].ids)
    if dpp == "NumPy":
        # float32 rounds otherwise
        assert np.isin(feed.scored["rank"].ids, ids[left["prerank"]]).mean() > 0.98
        assert np.isin([item.id for item in feed.items], ids[left["rerank"]]).mean() >= 0.8
