"""What the rank stage of a published cascade costs, part by part, and what cheaper rankers keep of its order.

    OMP_NUM_THREADS=1 python bench/rank_table.py demo/karec.toml [--whole FILE] [--model FILE …]

The cascade of --scene (the file's first by default) runs --requests requests of users drawn with a fixed
seed, at the snapshot's moment. Their pools, as they came to rank, are ranked again --rounds times: the parts
of the step ``ranker``, then in turns the whole model, which is the bundle's ranker or --whole, and each
--model, another form or precision of it, of the same encoder; training leaves some in its run folder. Of the
whole model also its trees alone, and all of it in ONNX Runtime, which must give the same bits. Processor time
of the one thread, the median and the least; for trees alone also nanoseconds a tree and work; then which
share of the best 10 and 100 by the whole model is among those of the other, by the scene's fusion. Pools of
the largest size alone count.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import thread_time
from typing import NamedTuple, TypeVar

import numpy as np
import onnxruntime as ort

from karec.cascade import Cascade
from karec.config import load_cascade
from karec.models.onnx_model import OnnxModel
from karec.models.trees import load_trees
from karec.rank.fusion import Fusion
from karec.rank.ranker import FusedScore, Ranker
from karec.types import Array, Request

BEST = (10, 100)
ALONE, TREES = "the whole model, trees in ONNX Runtime too", "its trees alone"
Inputs = Mapping[str, Array]
T = TypeVar("T")


class Pool(NamedTuple):
    request: Request
    ids: Array
    inputs: Inputs


class Clock:
    """Milliseconds of this thread's processor time, by what they were spent on."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}

    def of(self, what: str, run: Callable[[], T]) -> T:
        start = thread_time()
        result = run()
        self.ms.setdefault(what, []).append((thread_time() - start) * 1e3)
        return result

    def row(self, what: str) -> str:
        return f"{what:<48}{np.median(self.ms[what]):>8.2f}{np.min(self.ms[what]):>8.2f}"


def encoded(step: Ranker, request: Request, ids: Array, clock: Clock) -> Inputs:
    """What the step ``ranker`` gives its model, and what each part of it costs."""
    assert request.time_ms is not None
    user, moment = request.features, request.time_ms
    items = clock.of("features of the works", lambda: step._items(request.live, ids, moment))
    crosses = clock.of("cross features", lambda: step.encoder.encode_crosses(user, items))
    inputs = {**user, **items, **crosses}
    return {
        **inputs,
        "dense": clock.of("plain columns, which trees alone read", lambda: step.encoder.dense(inputs)),
    }


def pools_of(cascade: Cascade, step: Ranker, n: int, time_ms: int, users: Array) -> list[Pool]:
    """Those of ``n`` users that have as many works as the largest, encoded."""
    drawn = np.random.default_rng(0).choice(users, min(n, len(users)), replace=False)
    pools = []
    for user in drawn:
        feed = cascade.run(Request(int(user), scene=cascade.scene, time_ms=time_ms))
        ids = feed.scored["rank"].ids
        pools.append(Pool(feed.request, ids, encoded(step, feed.request, ids, Clock())))
    most = max(len(pool.ids) for pool in pools)
    return [pool for pool in pools if len(pool.ids) == most]


def best(scores: Array, k: int) -> Array:
    return np.argsort(-scores, kind="stable")[:k]


def kept(reference: Sequence[Array], found: Sequence[Array]) -> str:
    shares = [
        np.mean(
            [len(np.intersect1d(best(a, k), best(b, k))) / k for a, b in zip(reference, found, strict=True)]
        )
        for k in BEST
    ]
    return "".join(f"{share:>10.4f}" for share in shares)


def scores_of(model: OnnxModel, fusion: Fusion, pools: Sequence[Pool]) -> list[Array]:
    return [fusion(model.run(pool.inputs, "logits")[0], model.tasks) for pool in pools]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--scene")
    parser.add_argument("--whole", type=Path)
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with arguments.config.open("rb") as file:
        scene = arguments.scene or next(iter(tomllib.load(file)["scenes"]))
    with load_cascade(arguments.config, scene) as loaded:
        snapshot = loaded.bundle.snapshot
        cascade = replace(loaded, observers=())  # its requests are none of the platform's
        (steps,) = (stage.steps for stage in cascade.stages if stage.name == "rank")
        step = next(step for step in steps if isinstance(step, Ranker))
        fusion = next(step for step in steps if isinstance(step, FusedScore)).fusion
        users = np.asarray(snapshot.users.ids)
        pools = pools_of(cascade, step, arguments.requests, int(snapshot.time_ms), users)
        report(step, fusion, pools, arguments)


def in_onnx_runtime(path: Path) -> Callable[[Inputs], Array]:
    """The model at ``path`` without karec's library: logits of inputs, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options)
    names = [each.name for each in session.get_inputs()]
    return lambda inputs: np.asarray(session.run(["logits"], {name: inputs[name] for name in names})[0])


def report(step: Ranker, fusion: Fusion, pools: Sequence[Pool], arguments: argparse.Namespace) -> None:
    n, clock = len(pools[0].ids), Clock()
    whole = step.ranker if arguments.whole is None else OnnxModel(arguments.whole)
    models = {"the whole model": whole} | {str(path): OnnxModel(path) for path in arguments.model}
    alone, stored = in_onnx_runtime(whole.path), load_trees(whole.path)
    trees = () if stored is None else stored.trees
    for _ in range(arguments.rounds):
        for pool in pools:
            encoded(step, pool.request, pool.ids, clock)
            if trees:
                given = pool.inputs
                logits = clock.of(ALONE, lambda given=given: alone(given))
                clock.of(TREES, lambda given=given: [each.scores(given[each.input]) for each in trees])
                assert np.array_equal(logits, whole.run(given, "logits")[0]), "other bits than ONNX Runtime's"
            for name, model in models.items():
                clock.of(name, lambda model=model, pool=pool: model.run(pool.inputs, "logits"))
    reference = scores_of(whole, fusion, pools)
    print(
        f"{len(pools)} pools of {n} works, {arguments.rounds} rounds\n{'ms':<48}{'median':>8}{'least':>8}",
        end="",
    )
    print("".join(f"{f'top {k}':>10}" for k in BEST))
    for name in clock.ms:
        print(
            clock.row(name)
            + (kept(reference, scores_of(models[name], fusion, pools)) if name in models else "")
        )
    if trees:
        ns = np.median(clock.ms[TREES]) * 1e6 / n / whole.trees
        print(f"{whole.trees} trees, {ns:.2f} ns a tree and work; all else as ONNX Runtime does it")


if __name__ == "__main__":
    main()
