"""Sends an open-loop load to a running service: the time of every request is fixed before the first one.

    python bench/service/load.py http://127.0.0.1:8080 --rate 50 --users demo/karec.toml --seconds 60

Latency counts from the fixed time, so a slow service neither receives fewer requests nor hides its queue
(no coordinated omission). Requests arrive at a constant rate, or with --poisson as a Poisson process.
Goodput: pages per second with status 200 within --deadline-ms. One process sends some hundred requests per
second; `late_fraction` is the part that it sent more than 5 ms after their time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

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
    poisson: bool = False
    events_fraction: float = 0.0  # part of the requests that report the impressions of an earlier page


@dataclass
class Load:
    """One run of a plan and its results."""

    plan: Plan
    latency_ms: list[float] = field(default_factory=list)  # of pages with status 200
    statuses: Counter[str] = field(default_factory=Counter)
    n_late: int = 0
    acknowledged: list[str] = field(default_factory=list)  # ids of the events that a 200 confirmed
    pages: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))

    async def run(self) -> dict[str, Any]:
        plan, rng = self.plan, np.random.default_rng(0)
        n = rng.poisson(plan.rate * plan.seconds) if plan.poisson else int(plan.rate * plan.seconds)
        due_s = np.sort(rng.uniform(0.0, plan.seconds, n)) if plan.poisson else np.arange(n) / plan.rate
        users = rng.integers(len(plan.users), size=n).tolist()
        is_report = (rng.random(n) < plan.events_fraction).tolist()
        async with httpx.AsyncClient(base_url=plan.url, timeout=None) as http, asyncio.TaskGroup() as group:
            start = time.perf_counter() + 0.05
            for due, user, report in zip(due_s.tolist(), users, is_report, strict=True):
                await asyncio.sleep(start + due - time.perf_counter())
                self.n_late += time.perf_counter() - start - due > LATE_S
                group.create_task(self._send(http, start + due, plan.users[user], is_report=report))
        return self.to_dict()

    async def _send(self, http: httpx.AsyncClient, due: float, user: int | str, *, is_report: bool) -> None:
        events = _impressions(self.pages.popleft()) if is_report and self.pages else []
        request = {"user_id": user, "deadline_ms": self.plan.deadline_ms}
        path, body = ("/v1/events", {"events": events}) if events else ("/v1/recommend", request)
        try:
            async with asyncio.timeout(due + TIMEOUT_S - time.perf_counter()):
                response = await http.post(path, json=body)
        except (TimeoutError, httpx.TransportError):
            status = "no answer"
        else:
            status = str(response.status_code)
            if status == "200" and events and response.json()["events"] == len(events):
                self.acknowledged += [event["event_id"] for event in events]
            elif status == "200" and not events:
                status = self._take_page(response.json(), user, (time.perf_counter() - due) * 1e3)
        self.statuses[status] += 1

    def _take_page(self, page: dict[str, Any], user: int | str, latency_ms: float) -> str:
        ids = [item["item_id"] for item in page["items"]]
        if page["user_id"] != user or len(set(ids)) < len(ids):
            return "wrong page"
        self.latency_ms.append(latency_ms)
        self.pages.append(page)
        return "200"

    def to_dict(self) -> dict[str, Any]:
        ms, n = np.array(self.latency_ms), sum(self.statuses.values())
        result = {f"p{q}_ms": round(float(np.percentile(ms, q)), 3) for q in (50, 90, 99, 100) if len(ms)}
        n_good = int((ms <= (self.plan.deadline_ms or np.inf)).sum())
        result |= {"goodput_per_s": n_good / self.plan.seconds, "late_fraction": self.n_late / max(n, 1)}
        return result | {"statuses": dict(self.statuses), "events_acknowledged": len(self.acknowledged)}


def _impressions(page: dict[str, Any]) -> list[dict[str, Any]]:
    event = {"event": "impression", "user_id": page["user_id"], "time_ms": time.time_ns() // 1_000_000}
    return [event | {"event_id": str(uuid4()), "item_id": item["item_id"]} for item in page["items"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--users", type=Path, required=True, help="a karec.toml: the users of its bundle")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--deadline-ms", type=float, help="sent with each request (default: none)")
    parser.add_argument("--poisson", action="store_true", help="random arrivals (default: constant rate)")
    parser.add_argument("--events-fraction", type=float, default=0.0, help="requests that report a page")
    options = vars(parser.parse_args())
    bundle = open_bundle(options["users"])
    ids = bundle.snapshot.users.ids.tolist()
    options["users"] = ids if bundle.naming is None else list(bundle.naming.users.names(ids))
    print(json.dumps(asyncio.run(Load(Plan(**options)).run()), indent=1))
