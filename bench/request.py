"""Whole requests and their steps, compared with the same request in NumPy, Numba, FAISS and ONNX Runtime.

    pytest bench/request.py --cascade DIR/karec.toml      # this bundle instead of a small world
    pytest bench/request.py --cascade DIR/karec.toml --pages 1000 -k oracle    # conditions, 1,000 pages each

The models of the small world are trained for one epoch: the cost of a request does not depend on their
quality. Side effects do not run.
"""

from __future__ import annotations

import cProfile
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from chain.builder import ChainBuilder, make_comparable
from chain.oracle import make_oracle
from workloads import train_world

import karec._native
from karec.bundle import Bundle
from karec.config import load_cascade, open_bundle, scene_names
from karec.models.onnx_model import OnnxModel
from karec.pipeline.types import Request
from karec.steps.hydrators.ranker import Ranker
from karec.steps.sources.model import Model
from karec.where import Where

N_REQUESTS, ROUNDS = 24, 24
WHOLE = "whole request"
KINDS = ("native", "ONNX Runtime", "NumPy")
CALL_S = 3e-7  # what cProfile adds to a call of a C function


@pytest.fixture(scope="module")
def scene(world):
    with open_scene(world) as opened:
        yield opened


@contextmanager
def open_scene(world):
    """Yields (cascade, bundle, requests of different users)."""
    bundle, name = open_bundle(world), scene_names(world)[0]
    users = np.random.default_rng(0).choice(np.asarray(bundle.snapshot.users.ids), N_REQUESTS)
    requests = [
        Request(int(user), scene=name, time_ms=bundle.snapshot.time_ms, request_id=str(number))
        for number, user in enumerate(users)
    ]
    with load_cascade(world, name, bundle) as cascade:
        yield search_by_lists(replace(cascade, side_effects=(), clock=time.process_time)), bundle, requests


def search_by_lists(cascade, **changes):
    """Returns the cascade with a source `model` that searches lists of items, as in a large bundle.

    ``changes``: other attributes of the source, for example ``exact=True``.
    """
    sources = tuple(copy(source) for source in cascade.recall.sources)
    for source in sources:
        if isinstance(source, Model):
            vars(source).update({"exact": False, **changes})
    return replace(cascade, recall=replace(cascade.recall, sources=sources))


def size_of(bundle: Bundle) -> str:
    return f"{len(bundle.snapshot.works):,} items, {len(bundle.snapshot.users):,} users"


def test_request_as_configured(benchmark, scene):
    cascade, bundle, requests = scene
    turn = iter(range(10**9))
    info = {"kernel": "request: as configured", "size": size_of(bundle), "calls": 1, "items": 1}
    benchmark.extra_info.update(info)
    benchmark.pedantic(lambda: cascade.run(requests[next(turn) % N_REQUESTS]), rounds=ROUNDS, warmup_rounds=4)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_request_with_a_condition(benchmark, scene, share):
    """The newest items, a ``share`` of all."""
    cascade, _, _ = scene
    since = np.quantile(cascade.index.columns["upload_ms"], 1.0 - share)
    where = Where(column="upload_ms", at_least=int(since))
    run_in_turns(benchmark, scene, f"where, {share:.1%} of the items", where=where)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("column", ["upload_ms", "creator_id"])
def test_pages_are_those_of_the_oracle(pytestconfig, world, column, share):
    """Items of the newest uploads, or of the creators with the largest ids, a ``share`` of all."""
    bundle, name = open_bundle(world), scene_names(world)[0]
    values = np.asarray(bundle.snapshot.works[column])
    since = int(np.quantile(values, 1.0 - share))
    where, n_pages = Where(column=column, at_least=since), pytestconfig.getoption("pages")
    users = np.random.default_rng(1).choice(np.asarray(bundle.snapshot.users.ids), n_pages)
    with load_cascade(world, name, bundle) as configured:
        cascade = replace(configured, side_effects=())
        oracle, by_lists = make_oracle(cascade, bundle.snapshot, values >= since), search_by_lists(cascade)
        recalls, n_equal, n_full = [], 0, 0
        for number, user in enumerate(users.tolist()):
            request = Request(user, scene=name, time_ms=bundle.snapshot.time_ms, request_id=str(number))
            expected = [item.item_id for item in oracle.run(request)]
            request = replace(request, where=where)
            n_equal += [item.item_id for item in cascade.run(request)] == expected
            found = {item.item_id for item in by_lists.run(request)}
            recalls.append(len(found & {*expected}) / max(len(expected), 1))
            n_full += len(expected) == request.k
    print(
        f"{column}, {np.mean(values >= since):.2%} of the items: {n_equal} of {n_pages} pages are equal, "
        f"{n_full} are full; pages by lists have {np.mean(recalls):.4f} of their items",
        flush=True,
    )
    assert n_equal == n_pages and np.mean(recalls) >= 0.99


@pytest.mark.parametrize("field", ["exclude_ids", "only_ids"])
def test_request_with_a_list_of_ids(benchmark, scene, field):
    """100,000 ids, or a third of all."""
    cascade, _, _ = scene
    ids = np.random.default_rng(0).permutation(cascade.index.ids)[: min(100_000, len(cascade.index) // 3)]
    run_in_turns(benchmark, scene, f"{field}, {len(ids):,} ids", **{field: ids.tolist()})


@pytest.mark.parametrize("width", [256, 1024])
def test_request_with_content_vectors(benchmark, scene, pytestconfig, tmp_path, width):
    """Models that read vectors of the items, in turns with those of the same world without vectors."""
    if pytestconfig.getoption("cascade"):
        pytest.skip("the other bundle has no world")
    with open_scene(train_world(tmp_path, width)) as (cascade, _, _):
        run_in_turns(benchmark, scene, f"content vectors of {width:,}", cascade)


def test_request_with_row_sums(benchmark, scene):
    """In turns with requests whose ranker ONNX Runtime computes alone."""
    cascade, bundle, requests = scene
    if not bundle.ranker.row_sums_bytes:
        pytest.skip("the ranker has no row sums")
    stages = tuple(
        replace(stage, steps=tuple(map(without_row_sums, stage.steps))) for stage in cascade.stages
    )
    plain = replace(cascade, stages=stages)
    run_in_turns(benchmark, (plain, bundle, requests), "row sums", cascade)
    pages = [[[item.item_id for item in way.run(r).items] for r in requests] for way in (plain, cascade)]
    print(f"{sum(map(list.__eq__, *pages))} of {len(requests)} pages are equal", flush=True)


def without_row_sums(step):
    """Returns the step, or a step ``ranker`` of the same model that ONNX Runtime computes alone."""
    if not isinstance(step, Ranker):
        return step
    plain = copy(step)
    plain.ranker = OnnxModel(step.ranker.path, plain=True)
    return plain


def run_in_turns(benchmark, scene, name, changed=None, **restriction):
    """Runs requests with the restriction, on ``changed`` if given, in turns with those of the scene."""
    cascade, bundle, requests = scene
    changed = changed or cascade
    seconds, turn = [], iter(range(10**9))

    def run_without():
        request = requests[next(turn) % N_REQUESTS]
        start = time.process_time()
        cascade.run(request)
        seconds.append(time.process_time() - start)
        return (request,), {}

    def run(request):
        return changed.run(replace(request, **restriction))

    benchmark.pedantic(run, setup=run_without, rounds=ROUNDS, warmup_rounds=4)
    baselines = {"without": float(np.median(seconds))}
    info = {"kernel": f"request: {name}", "size": size_of(bundle), "calls": 1, "items": 1}
    benchmark.extra_info.update(info, baselines=baselines)


def test_rank_of_own_items(benchmark, scene):
    """1,000 items of the caller, compared with the run time of the steps in these requests."""
    cascade, bundle, requests = scene
    ids = tuple(np.random.default_rng(0).permutation(cascade.index.ids)[:1_000].tolist())
    seconds, turn = [], iter(range(10**9))

    def run():
        request = requests[next(turn) % N_REQUESTS]
        page = cascade.run(replace(request, k=len(ids), item_ids=ids, first_stage="rank"))
        seconds.append(sum(step.ms for step in page.trace.steps) * 1e-3)

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=4)
    info = {
        "kernel": f"request: rank {len(ids):,} own items",
        "size": size_of(bundle),
        "calls": 1,
        "items": 1,
    }
    benchmark.extra_info.update(info, baselines={"its steps": float(np.median(seconds))})


@pytest.mark.parametrize("by_lists", [False, True], ids=["exact", "lists"])
def test_request_and_chain(benchmark, scene, by_lists):
    """Each round runs one user's request by the chain and by karec.

    A bundle of wide towers may have lists without ``n_probe``: its requests are exact. Here they read the
    lists that hold twice the quota.
    """
    configured, bundle, requests = scene
    if by_lists and not configured.index.n_lists:
        pytest.skip("the bundle has no lists of items")
    changes = {"n_probe": bundle.n_probe or 1} if by_lists else {"exact": True}
    cascade = make_comparable(search_by_lists(configured, **changes))
    chain = ChainBuilder(cascade, bundle, requests[:4]).chain()
    seconds, sizes, pages = defaultdict(lambda: defaultdict(list)), defaultdict(list), []
    turn, name = iter(range(10**9)), "lists" if by_lists else "exact"

    def add(side, whole, steps):
        for place, step_seconds in steps.items():
            seconds[place][side].append(step_seconds)
        seconds[WHOLE][side].append(whole)
        seconds[f"{WHOLE} without the ranker"][side].append(whole - steps.get("rank.ranker", 0.0))

    def run_chain():
        request = requests[next(turn) % N_REQUESTS]
        row = bundle.snapshot.users.row(request.user_number)
        start = time.process_time()
        rows, ms = chain.run(request, row)
        whole = time.process_time() - start
        add("chain", whole, {place: step * 1e-3 for (place, _), step in zip(chain.steps, ms, strict=True)})
        return (request, np.asarray(bundle.snapshot.works.ids)[rows]), {}

    def run(request, ids):
        start = time.process_time()
        page = cascade.run(request)
        whole = time.process_time() - start
        steps = {step.place: step.ms * 1e-3 for step in page.trace.steps}  # the last round of a step
        add("", whole, steps)
        for step in page.trace.steps:
            sizes[step.place].append(max(step.n_in, step.n_out, 1))
        pages.append((page.candidates.ids, ids))

    run_chain(), run(*run_chain()[0])  # compiles
    seconds.clear()
    benchmark.pedantic(run, setup=run_chain, rounds=2 * ROUNDS)
    n_equal = sum(np.array_equal(*page) for page in pages)
    n_same_items = np.mean([np.isin(*page).mean() for page in pages])
    print(f"{name}: {n_equal} of {len(pages)} pages are equal, {n_same_items:.3f} of their items", flush=True)
    assert n_same_items >= 0.8
    parts = []
    for place, sides in seconds.items():
        n = float(np.median(sizes[place])) if place in sizes else 1.0
        medians = {side: float(np.median(times)) for side, times in sides.items() if side}
        times = {"seconds": float(np.median(sides[""])), "items": n, "baselines": medians}
        parts.append({"kernel": f"request, {name}: {place}", "size": f"{n:,.0f}", **times})
    benchmark.extra_info.update(parts=parts)


def kind_of(code) -> str:
    """Returns the kind of a profiled function: native code, ONNX Runtime, NumPy, or Python."""
    name = code if isinstance(code, str) else code.co_name
    kinds = {
        "karec._native": "native",
        "run_kernel": "native",
        "onnxruntime": "ONNX Runtime",
        "numpy": "NumPy",
    }
    if not isinstance(code, str) and name != "run_kernel":
        return "Python"
    return next((kind for part, kind in kinds.items() if part in name), "Python")


def show_kernels_to_profiler(monkeypatch) -> None:
    """Wraps kernels in Python functions.

    cProfile does not see Cython and Numba functions, nor native methods with named arguments.
    """

    def wrap(kernel):
        def run_kernel(*arguments, **options):
            return kernel(*arguments, **options)

        return run_kernel

    for face in (karec._native.ItemIndex, karec._native.IndexView):
        monkeypatch.setattr(face, "dpp_select", wrap(face.dpp_select))
    for module in [module for name, module in sys.modules.items() if name.startswith("karec.")]:
        for name, value in list(vars(module).items()):
            if type(value).__name__ in ("cython_function_or_method", "CPUDispatcher"):
                monkeypatch.setattr(module, name, wrap(value))


def test_request_by_kind(benchmark, scene, monkeypatch):
    """Native code and ONNX Runtime release the GIL. Python is the rest of the time without profiler."""
    cascade, bundle, requests = scene
    whole, kinds, turn = [], defaultdict(list), iter(range(10**9))
    show_kernels_to_profiler(monkeypatch)

    def run(request):
        start = time.process_time()
        cascade.run(request)
        whole.append(time.process_time() - start)

    def profile():
        request, spent = requests[next(turn) % N_REQUESTS], dict.fromkeys(KINDS, 0.0)
        profiler = cProfile.Profile(time.process_time)
        profiler.runcall(cascade.run, request)
        for entry in profiler.getstats():
            if (kind := kind_of(entry.code)) != "Python":
                spent[kind] += max(entry.inlinetime - entry.callcount * CALL_S, 0.0)
        for kind, seconds in spent.items():
            kinds[kind].append(seconds)
        return (request,), {}

    benchmark.pedantic(run, setup=profile, rounds=ROUNDS)
    medians = {kind: float(np.median(seconds)) for kind, seconds in kinds.items()}
    medians["Python"] = max(float(np.median(whole)) - sum(medians.values()), 1e-9)
    parts = [
        {"kernel": f"request: in {kind}", "size": size_of(bundle), "seconds": seconds, "items": 1}
        for kind, seconds in medians.items()
    ]
    benchmark.extra_info.update(parts=parts)
