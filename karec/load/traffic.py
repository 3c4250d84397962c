"""What is asked: a feed for a user drawn at random, or the exposures of a feed that came before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from msgspec import DecodeError, Struct, json

from karec.client.calls import Naming
from karec.client.messages import Id, Request
from karec.load.target import EVENTS, RECOMMEND, Target

REMEMBERED = 1000  # feeds whose exposures are not reported yet


@dataclass(frozen=True)
class Asked:
    """What each request says; ``events_share``: of all requests, 0 … 1."""

    users: Sequence[Id]
    scene: str | None = None
    k: int | None = None
    deadline_ms: float | None = None
    events_share: float = 0.0


class Sent(NamedTuple):
    """``user``: whom the feed is for; None: it reports the events whose ids are ``first`` … ``last``."""

    bytes: bytes
    user: Id | None
    first: int = 0
    last: int = -1


class Told(Struct):
    """What the report reads of an answer, of either kind. ``user`` None: it is none of /v1/recommend."""

    user: Id | None = None
    scene: str | None = None
    degraded: list[str] = []
    items: list[_Shown] = []
    refused: dict[str, int] = {}
    events: int = 0


class _Shown(Struct):
    id: Id


class Traffic:
    """Draws requests one after another, and learns from the answers which exposures to report."""

    def __init__(self, target: Target, asked: Asked, rng: np.random.Generator, expected: int) -> None:
        self._asked = asked
        self._feed_head, self._events_head = target.head(RECOMMEND), target.head(EVENTS)
        self._users = rng.integers(len(asked.users), size=max(expected, 1)).tolist()
        self._reports = (rng.random(max(expected, 1)) < asked.events_share).tolist()
        self._naming, self._feeds = Naming(), deque[tuple[Id, Told]](maxlen=REMEMBERED)

    def request(self, number: int) -> Sent:
        """Request ``number`` of those expected. Before the first answer there is nothing to report: a feed is
        asked."""
        if self._reports[number] and self._feeds:
            rows = list(self._naming.named(_exposures(*self._feeds.popleft())))
            first, last = UUID(rows[0]["id"]).int, UUID(rows[-1]["id"]).int
            return Sent(_whole(self._events_head, {"events": rows}), None, first, last)
        asked = self._asked
        user = asked.users[self._users[number]]
        request = Request(user=user, scene=asked.scene, k=asked.k, deadline_ms=asked.deadline_ms)
        return Sent(_whole(self._feed_head, request), user)

    def told(self, sent: Sent, body: bytes) -> Told | None:
        """An answer with status 200. None: it is no answer to what was sent (not JSON, another user, a work
        twice)."""
        try:
            told = json.decode(body, type=Told)
        except DecodeError:
            return None
        if sent.user is None:
            return told
        if told.user != sent.user or len({item.id for item in told.items}) < len(told.items):
            return None
        if self._asked.events_share and told.items:
            self._feeds.append((sent.user, told))
        return told


def _exposures(user: Id, feed: Told) -> Iterator[dict[str, Any]]:
    for position, item in enumerate(feed.items):
        yield {"kind": "exposure", "user": user, "work": item.id, "scene": feed.scene, "position": position}


def _whole(head: bytes, body: object) -> bytes:
    encoded = json.encode(body)
    return b"%b%d\r\n\r\n%b" % (head, len(encoded), encoded)
