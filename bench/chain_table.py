"""A whole request beside the same request out of NumPy, FAISS, pyversity and ONNX Runtime, step by step.

    karec demo --works 1000000 --users 20000 --out DIR
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python bench/chain_table.py DIR/karec.toml --lists

Milliseconds of the process's processor time, medians over requests of other users at the snapshot's moment.
Both sides run on one thread, interleaved: a few users by karec, the same users by each peer. The peer is made
of the settings of the cascade's own steps and of the bundle's own data and models. What could be done in
several ways was tried in all of them, and what depends on the machine is tried in each run, before the first
request; the quickest serves:

    recall         rows in dicts of arrays, read in turns by a stable sort; repeats by an array of all works
    (np.unique
                   took ten times as long)
    nearest        NumPy on all works; FAISS flat; at the recall that the cascade's own channel has at its
    quota FAISS
                   IVFFlat, IVF SQ8, and NumPy on the lists of IVFFlat; one NumPy scan that gives the inner
                   products too
    inner product  NumPy's gather at once and in blocks, FAISS's fvec_inner_products_by_idx; search_subset and
                   IDSelector, which select by a heap, are slower: bench/scoring_table.py
    DPP            pyversity, which has neither ridge nor window; and a second peer with one of NumPy, written
    as well
                   as we could, by updates of a D × D matrix
    ONNX Runtime   one thread; with and without arena and memory pattern, denormals as zero
    features       karec's encoder on both sides: none of those packages has one

Steps that steer exposure are left out on both sides, and DPP compares works by their vectors alone: peers
have no more.

Goals: the peer with pyversity takes 8 times karec's time, and 15 times without the ranker (its step left out
on both sides). Below it is said how many of the works after recall, prerank and rerank are the same.
``OPENBLAS_CORETYPE`` gives NumPy another kernel: the better peer counts. ``KAREC_FORCE_ISA`` holds karec, and
not its peers, to another instruction set. ``--lists``: the channel ``model`` scores the lists of works
nearest to the user.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
from chain_peer import DPPS, Peer, Workshop, comparable
from chain_ways import faiss
from request_table import opened, requests_of

from karec.cascade import Cascade
from karec.recommendation import Recommendation
from karec.types import Array, Request

IN_A_ROW = 4  # requests of one side, before the other's
WARM = 4
SHARED = {"recall": "prerank", "prerank": "rank"}  # works after a stage: the pool of the next one


@dataclass
class Taken:
    """Of one side, a row a request: milliseconds of each step and of the whole; ids after recall, prerank,
    rerank."""

    steps: list[list[float]] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    kept: list[dict[str, Array]] = field(default_factory=list)

    def median(self, left_out: list[int]) -> float:
        """Of the whole request without the steps at ``left_out``."""
        return float(np.median(np.array(self.whole) - np.array(self.steps)[:, left_out].sum(axis=1)))


def of_karec(cascade: Cascade, request: Request, taken: Taken) -> Recommendation:
    begin = time.process_time()
    feed = cascade.run(request)
    taken.whole.append((time.process_time() - begin) * 1e3)
    taken.steps.append([step.ms for step in feed.trace.steps])
    kept = {name: np.asarray(feed.scored[pool].ids) for name, pool in SHARED.items()}
    taken.kept.append(kept | {"rerank": np.array([item.id for item in feed.items])})
    return feed


def of_peer(peer: Peer, shop: Workshop, request: Request, taken: Taken) -> None:
    users, ids = shop.snapshot.users, np.asarray(shop.snapshot.works.ids)
    begin = time.process_time()
    left, ms = peer.run(request, users.row(request.user_number))
    taken.whole.append((time.process_time() - begin) * 1e3)
    taken.steps.append(ms)
    taken.kept.append({name: ids[left[name]] for name in (*SHARED, "rerank")})


def measured(cascade: Cascade, shop: Workshop, requests: list[Request]) -> tuple[list[str], dict[str, Taken]]:
    """(places of the steps, {side: what it took}), karec first."""
    plain = replace(cascade, clock=time.process_time)
    peers = {name: shop.peer(select) for name, select in DPPS.items()}
    sides = {name: Taken() for name in ("karec", *peers)}
    places: list[str] = []
    for at in range(0, len(requests), IN_A_ROW):
        for name, taken in list(sides.items())[:: 1 if at // IN_A_ROW % 2 else -1]:
            for request in requests[at : at + IN_A_ROW]:
                if name == "karec":
                    places = [step.place for step in of_karec(plain, request, taken).trace.steps]
                else:
                    of_peer(peers[name], shop, request, taken)
    for name, peer in peers.items():
        steps = [place for place, _ in peer.steps]
        assert steps == places, f"{name} has the steps {steps}, karec {places}"
    for taken in sides.values():
        for each in (taken.steps, taken.whole, taken.kept):
            del each[:WARM]
    return places, sides


def table(places: list[str], sides: dict[str, Taken]) -> None:
    print(f"{'step':24}" + "".join(f"{name:>12}" for name in sides) + f"{'times':>10}")
    medians = {name: np.median(taken.steps, axis=0) for name, taken in sides.items()}
    for at, place in enumerate(places):
        row(place, [float(each[at]) for each in medians.values()])
    wholes = {
        "the whole request": [],
        "without the ranker": [at for at, place in enumerate(places) if place == "rank.ranker"],
        "without any DPP": [at for at, place in enumerate(places) if place.endswith(".dpp")],
        "without both": [
            at for at, place in enumerate(places) if place == "rank.ranker" or place.endswith(".dpp")
        ],
    }
    goals = {"the whole request": 8, "without the ranker": 15}
    for name, left_out in wholes.items():
        row(name, [taken.median(left_out) for taken in sides.values()], goals.get(name))


def row(name: str, ms: list[float], goal: int | None = None) -> None:
    ratios = [peer / max(ms[0], 1e-3) for peer in ms[1:]]
    told = "" if goal is None else f"  goal {goal}" + ("" if ratios[0] >= goal else ": missed")
    print(
        f"{name:24}"
        + "".join(f"{each:12.2f}" for each in ms)
        + "".join(f"{each:10.1f}" for each in ratios)
        + told
    )


def alike(sides: dict[str, Taken]) -> None:
    """How many works there were, and which share of karec's the peer has too, medians."""
    for name, taken in list(sides.items())[1:]:
        for stage in taken.kept[0]:
            pairs = [(a[stage], b[stage]) for a, b in zip(sides["karec"].kept, taken.kept, strict=True)]
            sizes = [int(np.median([len(each) for each in side])) for side in zip(*pairs, strict=True)]
            share = np.median([np.isin(a, b).mean() for a, b in pairs])
            print(
                f"after {stage:8} karec {sizes[0]:7,}   with {name}'s DPP {sizes[1]:7,}   the same "
                f"{share:.3f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="the karec.toml beside which its bundles lie")
    parser.add_argument("--scene", default="home")
    parser.add_argument("--requests", type=int, default=36)
    parser.add_argument("--lists", action="store_true", help="model recall by lists of works")
    arguments = parser.parse_args()
    if faiss is not None:
        faiss.omp_set_num_threads(1)
    cascade, bundle = opened(arguments.config, arguments.scene, arguments.lists)
    cascade = comparable(cascade)
    drawn = requests_of(bundle, arguments.scene, WARM + arguments.requests)
    requests = [replace(request, request_id=str(at)) for at, request in enumerate(drawn)]  # fresh draws by it
    assert cascade.index is not None
    with cascade.index.pinned() as view:
        print(
            f"{len(view):,} works, scene {arguments.scene}, {len(requests) - WARM} users, karec with "
            f"{view.isa}"
        )
    of_faiss, kernel = getattr(faiss, "__version__", "none"), os.environ.get("OPENBLAS_CORETYPE", "as found")
    print(
        f"FAISS {of_faiss}, NumPy {np.__version__} (OPENBLAS_CORETYPE {kernel}), ONNX Runtime "
        f"{ort.__version__}"
    )
    print("the ways tried:")
    shop = Workshop(cascade, bundle, requests[:8])
    places, sides = measured(cascade, shop, requests)
    print("processor time, ms, medians; peers are named by their DPP; times: of each peer, karec = 1")
    table(places, sides)
    alike(sides)


if __name__ == "__main__":
    main()
