"""What recall costs a request: each channel, the merger, and all of them, by processor time of one core.

    OMP_NUM_THREADS=1 python bench/recall_table.py [WORKS, 1_000_000] [USERS, 20_000]

A platform of the synthetic world, whose communities are found as at publish; item and user vectors that lie
as a tower's do, in lists of which as many are read as publishing would choose; co-watch vectors drawn at
random, since what they find is no matter here. Quotas add up to more than the 100,000 works that leave
recall. The median of REQUESTS users, drawn with a fixed seed, after WARM; each channel is asked through the
checks that the cascade makes. The model channel is asked both ways in every request, by lists and by an exact
scan, in turns first, and merged with each; the sums are of one way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import workloads

from karec._asked import merge, recall
from karec.features.cowatch import CowatchVectors
from karec.features.vocabulary import Vocabulary
from karec.index import ItemIndex
from karec.lab.simulate.world import make_world
from karec.platform.folds.advance import advance
from karec.platform.snapshot import Snapshot
from karec.platform.table import Table
from karec.recall.city import City
from karec.recall.community import Community
from karec.recall.follow import Follow
from karec.recall.fresh import Fresh
from karec.recall.i2i import ItemToItem
from karec.recall.merger import QuotaMerger
from karec.recall.model import Model
from karec.recall.popular import Indicators, Popular
from karec.recall.profile import Profile
from karec.recall.social import Social
from karec.refresh.communities import communities
from karec.refresh.lists import ASKED, build_measured_lists
from karec.stage import Source
from karec.types import Array, Candidates, Request

WATCHED, LIMIT, REQUESTS, WARM = 20_000, 100_000, 200, 30
LISTS, EXACT = "model, by lists", "model, exact scan"


@dataclass(frozen=True)
class Encoder:
    """As much of one as the channel i2i reads."""

    cowatch: CowatchVectors


def platform(n_works: int, n_users: int) -> Snapshot:
    """At the end of the world's days: a few of its works are not published by then."""
    dataset = make_world(int(1.03 * n_works), n_users, max(20 * n_users, 100)).dataset
    snapshot = advance(dataset.snapshot, dataset.exposures, dataset.valid_until_ms).released()
    found = communities(snapshot)
    assert found is not None
    return replace(snapshot, users=Table(snapshot.users.ids, {**snapshot.users.columns, "community": found}))


def unit_vectors(n: int, rng: np.random.Generator) -> Array:
    vectors = rng.standard_normal((n, workloads.DIM), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def channels(snapshot: Snapshot, index: ItemIndex, n_probe: int, rng: np.random.Generator) -> list[Source]:
    """In the order in which they are merged, the model both ways."""
    works, watchers = np.unique(snapshot.relations["history"].values, return_counts=True)
    watched = np.sort(works[np.argsort(-watchers, kind="stable")[:WATCHED]])
    vectors = np.concatenate([np.zeros((1, workloads.DIM), np.float32), unit_vectors(len(watched), rng)])
    encoder = Encoder(CowatchVectors(Vocabulary(watched), vectors))
    built: dict[str, Source] = {
        "follow": Follow(snapshot, 5_000),
        "social": Social(snapshot, 5_000),
        "community": Community(snapshot, 5_000),
        "city": City(snapshot, 5_000),
        "i2i": ItemToItem(snapshot, encoder, 5_000),  # type: ignore[arg-type]
        "profile": Profile(snapshot, 30_000),
        LISTS: Model(index, 40_000, exact=False, n_probe=n_probe),
        EXACT: Model(index, 40_000),
        "popular": Popular(snapshot, 20_000),
        "popular in the age band": Popular(snapshot, 10_000, segment="age_band", by_scene=True),
        "indicators": Indicators(snapshot, 20_000),
        "fresh": Fresh(snapshot, 30_000),
    }
    for name, source in built.items():
        source.name = name
    return list(built.values())


def main(n_works: int, n_users: int) -> None:
    rng = np.random.default_rng(0)
    snapshot = platform(n_works, n_users)
    vectors, queries = workloads.tower_like(len(snapshot.works), ASKED + WARM + REQUESTS)
    index = ItemIndex.build(snapshot.works.ids, vectors)
    measured = build_measured_lists(index, queries[:ASKED], "the index")
    begin = time.process_time()
    sources = channels(snapshot, index, measured.n_probe, rng)
    built_s = time.process_time() - begin
    of_way = {
        way: [source for source in sources if source.name not in {LISTS, EXACT} - {way}]
        for way in (LISTS, EXACT)
    }
    mergers = {
        way: QuotaMerger([source.quota for source in each], LIMIT, [500] * len(each))
        for way, each in of_way.items()
    }
    spent: dict[str, list[float]] = {}
    sizes: dict[str, list[int]] = {}
    with index.pinned() as view:
        for turn, (user, query) in enumerate(
            zip(rng.choice(snapshot.users.ids, WARM + REQUESTS), queries[ASKED:], strict=True)
        ):
            request = Request(int(user), time_ms=snapshot.time_ms, request_id=str(user)).with_view(view)
            request = request.with_features({"user_vector": query[None]})
            found: dict[str, Candidates] = {}

            def ask(name: str, how: Callable[[], Candidates], found: dict[str, Candidates] = found) -> None:
                moment = time.process_time()
                found[name] = how()
                spent.setdefault(name, []).append((time.process_time() - moment) * 1e3)
                sizes.setdefault(name, []).append(len(found[name]))

            for source in sources[:: 1 if turn % 2 else -1]:
                ask(source.name, lambda s=source, r=request: recall(s, r)[0])  # type: ignore[misc]
            for way, each in list(of_way.items())[:: 1 if turn % 2 else -1]:
                parts = [found[source.name] for source in each]
                ask(f"merge, {way}", lambda m=mergers[way], r=request, p=parts: merge(m, r, p)[0])  # type: ignore[misc]
    ms = {name: np.array(each[WARM:]) for name, each in spent.items()}
    print(
        f"{len(snapshot.works):,} works, {len(snapshot.users):,} users, {index.isa}; channels in "
        f"{built_s:.1f} s; "
        f"{measured.n_probe} of {measured.n_lists:,} lists at least, recall@{measured.k:,} "
        f"{measured.recall:.3f}"
    )
    for name in [*(source.name for source in sources), *(f"merge, {way}" for way in of_way)]:
        n = np.median(sizes[name][WARM:])
        print(f"{name:26} {np.median(ms[name]):7.3f} ms   least {ms[name].min():7.3f}   {n:9,.0f} works")
    for way, each in of_way.items():
        whole = ms[f"merge, {way}"] + sum(ms[source.name] for source in each)
        print(f"{f'all, {way}':26} {np.median(whole):7.3f} ms   least {whole.min():7.3f}")


if __name__ == "__main__":
    numbers = [int(given.replace("_", "")) for given in sys.argv[1:]]
    main(numbers[0] if numbers else 1_000_000, numbers[1] if len(numbers) > 1 else 20_000)
