"""What recall costs a request: each channel, the merger, and all of them, by processor time of one core.

    OMP_NUM_THREADS=1 python bench/recall_table.py [WORKS, 1_000_000] [USERS, 20_000]

A platform of the synthetic world, whose communities are found as at publish, and co-watch vectors and item vectors
drawn at random: what they find is no matter here. Quotas add up to more than the 100,000 works that leave recall. The
median of REQUESTS users, drawn with a fixed seed, after WARM; each channel is asked through the checks that the cascade
makes.
The model channel scans all works exactly; bench/ann_table.py has what lists make of it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace

import numpy as np

from karec.features.cowatch import CowatchVectors
from karec.index import ItemIndex
from karec.kernels.encode import Vocabulary
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
from karec.simulate.world import make_world
from karec.stage import Source, merge, recall
from karec.types import Array, Candidates, Request

DIM, WATCHED, LIMIT, REQUESTS, WARM = 64, 20_000, 100_000, 200, 30


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
    vectors = rng.standard_normal((n, DIM), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def channels(snapshot: Snapshot, index: ItemIndex, rng: np.random.Generator) -> list[Source]:
    """In the order in which they are merged."""
    works, watchers = np.unique(snapshot.relations["history"].values, return_counts=True)
    watched = np.sort(works[np.argsort(-watchers, kind="stable")[:WATCHED]])
    vectors = np.concatenate([np.zeros((1, DIM), np.float32), unit_vectors(len(watched), rng)])
    encoder = Encoder(CowatchVectors(Vocabulary(watched), vectors))
    built: dict[str, Source] = {
        "follow": Follow(snapshot, 5_000),
        "social": Social(snapshot, 5_000),
        "community": Community(snapshot, 5_000),
        "city": City(snapshot, 5_000),
        "i2i": ItemToItem(snapshot, encoder, 5_000),  # type: ignore[arg-type]
        "profile": Profile(snapshot, 30_000),
        "model": Model(index, 40_000),
        "popular": Popular(snapshot, 20_000),
        "popular in the age band": Popular(snapshot, 10_000, segment="age_band"),
        "indicators": Indicators(snapshot, 20_000),
        "fresh": Fresh(snapshot, 30_000),
    }
    for name, source in built.items():
        source.name = name
    return list(built.values())


def main(n_works: int, n_users: int) -> None:
    rng = np.random.default_rng(0)
    snapshot = platform(n_works, n_users)
    index = ItemIndex.build(snapshot.works.ids, unit_vectors(len(snapshot.works), rng))
    begin = time.process_time()
    sources = channels(snapshot, index, rng)
    built_s = time.process_time() - begin
    merger = QuotaMerger([source.quota for source in sources], LIMIT, [500] * len(sources))
    spent, sizes = [], []
    with index.pinned() as view:
        for user in rng.choice(snapshot.users.ids, WARM + REQUESTS):
            query = {"user_vector": unit_vectors(1, rng)}
            request = Request(int(user), time_ms=snapshot.time_ms, request_id=str(user)).with_view(view)
            request = request.with_features(query)
            moments, parts = [time.process_time()], []
            for source in sources:
                parts.append(recall(source, request)[0])
                moments.append(time.process_time())
            merged: Candidates = merge(merger, request, parts)[0]
            moments.append(time.process_time())
            spent.append(np.diff(moments) * 1e3)
            sizes.append([*map(len, parts), len(merged)])
    ms, works = np.array(spent[WARM:]), np.median(sizes[WARM:], axis=0)
    print(f"{len(snapshot.works):,} works, {len(snapshot.users):,} users; channels built in {built_s:.1f} s")
    for name, each, n in zip([*(source.name for source in sources), "merge"], ms.T, works, strict=True):
        print(f"{name:24} {np.median(each):7.3f} ms   {n:9,.0f} works")
    without = [at for at, source in enumerate([*sources, merger]) if source.name != "model"]
    print(f"{'all':24} {np.median(ms.sum(axis=1)):7.3f} ms")
    print(f"{'all but model':24} {np.median(ms[:, without].sum(axis=1)):7.3f} ms")


if __name__ == "__main__":
    numbers = [int(given.replace("_", "")) for given in sys.argv[1:]]
    main(numbers[0] if numbers else 1_000_000, numbers[1] if len(numbers) > 1 else 20_000)
