"""What steering of exposure costs a request, and what prices as offsets of the index would cost.

    OMP_NUM_THREADS=1 python bench/exposure_cost.py [works, 1_000_000]

The scene has three targets (a type, a tag, an age), a cap by creator, floors for new works and new creators,
and a spread over creators and works; its prices come from 2,000 feeds. Measured, median of many, one thread,
candidates drawn anew for each request, so that columns are read from memory and not from a cache:

    step       exposure_prices, and the step exposure at 1,000 and 5,000 candidates and at 100 before rerank's
    DPP;
               "behind freshness and quota": those two have read upload_ms and creator_id of the same
               candidates just before, as in the starting karec.toml
    nothing    the same with prices of 0
    counting   the observer, for each feed, and its publication every ten feeds; both off the request's path
    offsets    ``index.adjust`` for all works of a group: what each change of a price would write; a search
    before and
               after it
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import workloads

from karec._clock import DAY_MS, HOUR_MS
from karec.ecosystem.constraints import Cap, Floor, Spread, Target
from karec.ecosystem.exposure import Exposure, ExposurePrices
from karec.ecosystem.steering import Steering
from karec.index import IndexView, ItemIndex
from karec.types import Candidates, Request

NOW = 1_000 * DAY_MS
WANTED_MS = 0.3
TARGETS = (Target({"1": 0.3}, column="type"), Target({"3": 0.2}, column="tag"), Target(0.3, age_hours=72))
CAPS = (Cap("creator_id", 0.01),)
FLOORS = (Floor(20, 100_000, new_work_hours=24), Floor(50, 100_000, new_creator_days=30))
SPREAD = (Spread(1.0, "creator_id"), Spread(1.0))


def median_ms(
    call: Callable[[int], object], times: int, before: Callable[[int], object] | None = None
) -> float:
    spent = []
    for i in range(times):
        if before is not None:
            before(i)
        start = time.perf_counter()
        call(i)
        spent.append(time.perf_counter() - start)
    return float(np.median(spent)) * 1e3


def library(works: int) -> ItemIndex:
    """Creators of twenty works, who began within the last 1,000 days and upload evenly since."""
    rng = np.random.default_rng(0)
    creators = rng.integers(0, max(works // 20, 1), works)
    began = rng.uniform(0, 1000 * 24, creators.max() + 1)
    columns = {
        "creator_id": creators,
        "type": (rng.random(works) < 0.2).astype(np.int8),
        "tag": rng.integers(0, 30, works).astype(np.int32),
        "upload_ms": NOW - (began[creators] * rng.random(works) * HOUR_MS).astype(np.int64),
    }
    vectors = rng.standard_normal((works, workloads.DIM), dtype=np.float32)
    return ItemIndex.build(rng.permutation(works * 3)[:works], vectors, columns=columns)


@dataclass
class Requests:
    view: IndexView
    rng: np.random.Generator

    def asked(self, i: int) -> Request:
        return Request(i, 10, time_ms=NOW + i * 20, request_id=str(i)).with_view(self.view)

    def some(self, n: int) -> Candidates:
        ids = self.view.ids[self.rng.choice(self.view.n_rows, n, replace=False)]
        scores = self.rng.standard_normal(n).astype(np.float32)
        return Candidates.of(ids, scores).with_rows(self.view.lookup(ids))

    def step_ms(self, steering: Steering, n: int, *, behind: bool = False) -> float:
        each = [self.some(n) for _ in range(20)]
        hydrator, step = ExposurePrices(steering), Exposure(steering)
        ready = [self.asked(i).with_features(hydrator.hydrate_request(self.asked(i))) for i in range(20)]

        def read(i: int) -> None:
            for column in ("upload_ms", "creator_id") if behind else ():
                self.view.gather(column, each[i % 20].rows)

        return median_ms(lambda i: step.score(ready[i % 20], each[i % 20]), 400, read)


def lived(requests: Requests, index: ItemIndex) -> Steering:
    """Prices after 2,000 feeds of works at random; what counting them took is printed."""
    steering = Steering(
        index, targets=TARGETS, caps=CAPS, floors=FLOORS, spread=SPREAD, places_a_day=1_000_000, explore=1
    )
    feeds = [requests.some(10) for _ in range(2_000)]
    counting = median_ms(lambda i: steering.show(requests.asked(i), feeds[i]), len(feeds))
    publishing = []
    for i in range(100):
        steering.show(requests.asked(i), feeds[i])
        start = time.perf_counter()
        steering.settle()
        publishing.append((time.perf_counter() - start) * 1e3)
    newest = steering.newest
    told = (
        f"of {sum(len(each) for _, each in newest.columns):,} creators, of {sum(map(len, newest.works)):,} "
        f"works"
    )
    print(f"prices of targets {newest.groups.round(2).tolist()}, {told}")
    print(
        f"counting a feed {counting:.3f} ms, publishing prices {np.median(publishing):.3f} ms, off the "
        f"request's path"
    )
    return steering


def offsets(index: ItemIndex, rng: np.random.Generator) -> None:
    """A price as an offset of every work of its group."""
    query = rng.standard_normal(workloads.DIM, dtype=np.float32)
    rows = rng.choice(index.n_rows, 100_000, replace=False).astype(np.int32)
    before = median_ms(lambda _: index.search(query, rows=rows, k=5_000), 30)
    young = index.columns["upload_ms"] > NOW - 72 * HOUR_MS
    for name, member in (("type 1", index.columns["type"] == 1), ("age 72 h", young)):
        group = index.ids[member]
        ms = median_ms(lambda i, group=group: index.adjust(group, offset=0.1 + i * 1e-3), 10)
        print(f"offsets of the {len(group):,} works of {name}: {ms:.1f} ms for each change of its price")
    after = median_ms(lambda _: index.search(query, rows=rows, k=5_000), 30)
    print(f"a search of 100,000 rows: {before:.2f} ms before, {after:.2f} ms after the offsets")


def main() -> None:
    works = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    index = library(works)
    print(f"{works:,} works, one thread")
    with index.pinned() as view:
        requests = Requests(view, np.random.default_rng(1))
        still, moved = Steering(index, targets=TARGETS, caps=CAPS), lived(requests, index)
        spent = {}
        for n in (1_000, 5_000, 100):
            spent[n] = requests.step_ms(moved, n)
            print(
                f"exposure, {n:5,} candidates: {spent[n]:.3f} ms, with prices of 0 "
                f"{requests.step_ms(still, n):.3f} ms"
            )
        hydrator = ExposurePrices(moved)
        drawing = median_ms(lambda i: hydrator.hydrate_request(requests.asked(i)), 400)
        print(f"exposure_prices, with the draw of what to explore: {drawing:.3f} ms")
        behind = requests.step_ms(moved, 5_000, behind=True)
        print(f"exposure, 5,000 candidates, behind freshness and quota: {behind:.3f} ms")
        for name, ms in (
            ("1,000", spent[1_000]),
            ("5,000", spent[5_000]),
            ("5,000 behind freshness and quota", behind),
        ):
            total = ms + spent[100] + drawing
            verdict = "held" if total <= WANTED_MS else "MISSED"
            print(
                f"a request that steers {name} in prerank and 100 in rerank: {total:.3f} ms, ≤ {WANTED_MS} "
                f"{verdict}"
            )
        spread = Steering(index, spread=SPREAD)
        for i in range(2_000):
            spread.show(requests.asked(i), requests.some(10))
        spread.settle()
        ms = requests.step_ms(spread, 100) + median_ms(
            lambda i: ExposurePrices(spread).hydrate_request(requests.asked(i)), 400
        )
        print(f"a spread alone on 100 works in rerank, as in the starting karec.toml: {ms:.3f} ms")
    offsets(index, np.random.default_rng(2))


if __name__ == "__main__":
    main()
