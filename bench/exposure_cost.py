"""What steering of exposure costs a request, and what prices as offsets of the index would cost.

    OMP_NUM_THREADS=1 python bench/exposure_cost.py [works, 1_000_000]

The scene has three targets (a type, a tag, an age), a cap by creator and floors for new works and new creators; its
prices come from 2,000 feeds. Measured, median of many, one thread:

    step       exposure_prices and the step exposure: at 1,000 and 5,000 candidates, and at 100 before rerank's DPP
    nothing    the same with prices of 0
    counting   the observer, for each feed, off the request's path; with its publication every ten feeds
    offsets    ``index.adjust`` for all works of the groups whose price moved: what each change of a price would write,
               and a search before and after it
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import workloads

from karec._clock import DAY_MS, HOUR_MS
from karec.ecosystem.constraints import Cap, Floor, Target
from karec.ecosystem.exposure import Exposure, ExposurePrices
from karec.ecosystem.steering import Steering
from karec.index import ItemIndex
from karec.types import Candidates, Request

NOW = 1_000 * DAY_MS
WANTED_MS = 0.3
TARGETS = (Target({"1": 0.3}, column="type"), Target({"3": 0.2}, column="tag"), Target(0.3, age_hours=72))
CAPS = (Cap("creator_id", 0.01),)
FLOORS = (Floor(20, 100_000, new_work_hours=24), Floor(50, 100_000, new_creator_days=30))


def median_ms(call: Callable[[int], object], times: int) -> float:
    spent = []
    for i in range(times):
        start = time.perf_counter()
        call(i)
        spent.append(time.perf_counter() - start)
    return float(np.median(spent)) * 1e3


def library(works: int) -> ItemIndex:
    """Uploads spread over 100 days, a hundredth of them a day; one creator has 20 works."""
    rng = np.random.default_rng(0)
    columns = {
        "creator_id": rng.integers(0, max(works // 20, 1), works),
        "type": (rng.random(works) < 0.2).astype(np.int8),
        "tag": rng.integers(0, 30, works).astype(np.int32),
        "upload_ms": NOW - (rng.uniform(0, 100 * 24, works) * HOUR_MS).astype(np.int64),
    }
    vectors = rng.standard_normal((works, workloads.DIM), dtype=np.float32)
    return ItemIndex.build(rng.permutation(works * 3)[:works], vectors, columns=columns)


def main() -> None:
    works = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    index = library(works)
    ids, rng = index.ids, np.random.default_rng(1)
    print(f"{works:,} works, one thread")
    with index.pinned() as view:

        def asked(i: int) -> Request:
            return Request(i, 10, time_ms=NOW + i * 20, request_id=str(i)).with_view(view)

        def some(n: int) -> Candidates:
            rows = rng.choice(works, n, replace=False).astype(np.int32)
            return Candidates.of(ids[rows], rng.standard_normal(n).astype(np.float32)).with_rows(view.lookup(ids[rows]))

        still = Steering(index, targets=TARGETS, caps=CAPS)
        moved = Steering(index, None, None, TARGETS, CAPS, FLOORS, 1_000_000, explore=1)
        feeds = [some(10) for _ in range(2_000)]
        counting = median_ms(lambda i: moved.show(asked(i), feeds[i]), 1_999)
        moved.show(asked(1_999), feeds[-1])
        publishing = []
        for i in range(100):
            moved.show(asked(i), feeds[i])
            start = time.perf_counter()
            moved.settle()
            publishing.append((time.perf_counter() - start) * 1e3)
        newest = moved.newest
        held = f"{len(newest.columns['creator_id']):,} creators have one, {len(newest.behind.ids):,} works are behind a floor"
        print(f"prices of {newest.groups.round(2).tolist()}; {held}")
        both = 0.0
        for n in (1_000, 5_000, 100):
            each = [some(n) for _ in range(20)]
            for name, steering in (("prices of 0", still), ("prices", moved)):
                hydrator, step = ExposurePrices(steering), Exposure(steering)

                def request(i: int, hydrator: ExposurePrices = hydrator) -> Request:
                    return asked(i).with_features(hydrator.hydrate_request(asked(i)))

                def score(i: int, step: Exposure = step, each: list[Candidates] = each) -> object:
                    return step.score(ready[i % 20], each[i % 20])

                ready = [request(i) for i in range(20)]
                ms = median_ms(score, 400)
                print(f"step exposure, {n:5,} candidates, {name:12} {ms:7.3f} ms")
                both += ms if name == "prices" and n != 1_000 else 0.0
        drawing = median_ms(lambda i: ExposurePrices(moved).hydrate_request(asked(i)), 400)
        print(f"step exposure_prices, with the draw of what to explore {drawing:7.3f} ms")
        total = both + drawing
        verdict = "held" if total <= WANTED_MS else "MISSED"
        print(
            f"a request that steers in prerank (5,000) and in rerank (100) {total:7.3f} ms, wanted ≤ {WANTED_MS}: {verdict}"
        )
        print(
            f"counting a feed, off the request's path {counting:.3f} ms; publishing prices {np.median(publishing):.3f} ms"
        )
    offsets(index, rng)


def offsets(index: ItemIndex, rng: np.random.Generator) -> None:
    """A price as an offset of every work of its group."""
    query = rng.standard_normal(workloads.DIM, dtype=np.float32)
    rows = rng.choice(index.n_rows, 100_000, replace=False).astype(np.int32)
    before = median_ms(lambda _: index.search(query, rows=rows, k=5_000), 30)
    for name, member in (
        ("type 1", index.columns["type"] == 1),
        ("72 h", index.columns["upload_ms"] > NOW - 72 * HOUR_MS),
    ):
        group = index.ids[member]
        ms = median_ms(lambda i, group=group: index.adjust(group, offset=0.1 + i * 1e-3), 10)
        print(f"offsets of the {len(group):,} works of {name}: {ms:.1f} ms for each change of its price")
    after = median_ms(lambda _: index.search(query, rows=rows, k=5_000), 30)
    print(f"a search of 100,000 rows: {before:.2f} ms before, {after:.2f} ms after the offsets")


if __name__ == "__main__":
    main()
