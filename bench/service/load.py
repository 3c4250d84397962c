"""Open-loop load on a running service: every request's moment is fixed before the first one is sent.

    python bench/service/load.py http://127.0.0.1:8080 --rate 50 --users demo/karec.toml --seconds 60

Latency is counted from a request's moment: a slow service does not receive fewer requests. Goodput is the
number of pages per second with status 200 within --deadline-ms of their moment. One process sends some
hundred requests per second; `late_share` is the fraction that it sent more than 5 ms after their moment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np

from karec.config import open_bundle

LATE_S, TIMEOUT_S = 0.005, 10.0


@dataclass(frozen=True)
class Plan:
    url: str
    users: Sequence[int | str]
    rate: float
    seconds: float
    deadline_ms: float | None = None
    events_share: float = 0.0  # fraction of the requests that report the impressions of a page


@dataclass
class Load:
    """One run of a plan and its results. The id of an event is `source << 64 | number`."""

    plan: Plan
    latency_ms: list[float] = field(default_factory=list)  # of pages with status 200
    statuses: Counter[str] = field(default_factory=Counter)
    late: int = 0
    source: int = field(default_factory=lambda: int.from_bytes(os.urandom(8)))
    n_events: int = 0
    acknowledged: list[int] = field(default_factory=list)  # numbers of the events that a 200 confirmed
    pages: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))

    async def play(self) -> dict[str, Any]:
        plan, rng = self.plan, np.random.default_rng(0)
        due = np.sort(rng.uniform(0.0, plan.seconds, rng.poisson(plan.rate * plan.seconds)))
        users = rng.integers(len(plan.users), size=len(due)).tolist()
        reports = (rng.random(len(due)) < plan.events_share).tolist()
        async with httpx.AsyncClient(base_url=plan.url, timeout=None) as http, asyncio.TaskGroup() as group:
            start = time.perf_counter() + 0.05
            for at, user, report in zip(due.tolist(), users, reports, strict=True):
                await asyncio.sleep(start + at - time.perf_counter())
                self.late += time.perf_counter() - start - at > LATE_S
                group.create_task(self._send(http, start + at, plan.users[user], report))
        return self.report()

    async def _send(self, http: httpx.AsyncClient, due: float, user: int | str, report: bool) -> None:
        events = self._events(self.pages.popleft()) if report and self.pages else []
        wanted = {"user_id": user} | (
            {"deadline_ms": deadline} if (deadline := self.plan.deadline_ms) else {}
        )
        path, body = ("/v1/events", {"events": events}) if events else ("/v1/recommend", wanted)
        try:
            async with asyncio.timeout(due + TIMEOUT_S - time.perf_counter()):
                answer = await http.post(path, json=body)
        except (TimeoutError, httpx.TransportError):
            status = "no answer"
        else:
            status = str(answer.status_code)
            if status == "200" and events and answer.json()["events"] == len(events):
                self.acknowledged += [UUID(event["id"]).int % 2**64 for event in events]
            elif status == "200" and not events:
                status = self._take_page(answer.json(), user, (time.perf_counter() - due) * 1e3)
        self.statuses[status] += 1

    def _events(self, page: dict[str, Any]) -> list[dict[str, Any]]:
        first, ids = self.source << 64 | self.n_events, [item["item_id"] for item in page["items"]]
        self.n_events += len(ids)
        event = {"kind": "exposure", "user": page["user_id"], "time_ms": time.time_ns() // 1_000_000}
        return [event | {"id": str(UUID(int=first + at)), "work": each} for at, each in enumerate(ids)]

    def _take_page(self, page: dict[str, Any], user: int | str, latency_ms: float) -> str:
        ids = [item["item_id"] for item in page["items"]]
        if page["user_id"] != user or len(set(ids)) < len(ids):
            return "wrong page"
        self.latency_ms.append(latency_ms)
        self.pages.append(page)
        return "200"

    def report(self) -> dict[str, Any]:
        ms, n = np.array(self.latency_ms), sum(self.statuses.values())
        goodput = (ms <= (self.plan.deadline_ms or np.inf)).sum() / self.plan.seconds
        found = {f"p{q}_ms": round(float(np.percentile(ms, q)), 3) for q in (50, 90, 99, 100) if len(ms)}
        found |= {"goodput_per_s": float(goodput), "late_share": self.late / max(n, 1)}
        return found | {"statuses": dict(self.statuses), "events_acknowledged": len(self.acknowledged)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--users", type=Path, required=True, help="a karec.toml: the users of its bundle")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--deadline-ms", type=float)
    parser.add_argument("--events-share", type=float, default=0.0)
    given = vars(parser.parse_args())
    bundle = open_bundle(given["users"])
    ids = bundle.snapshot.users.ids.tolist()
    given["users"] = ids if bundle.naming is None else list(bundle.naming.users.names(ids))
    print(json.dumps(asyncio.run(Load(Plan(**given)).play()), indent=1))
