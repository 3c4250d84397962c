"""First pages of an arm's last day as their users would see them: what each work is, who found it, why it may
be there.

    OUT/ARM/feeds.json   {"format": 1, "feeds": [feed, …]}, as the report's key ``feeds`` (docs/formats.md)

The users are the same in every arm: of those who might come on the last day one who was shown little in the
weeks before, one who is in the middle, one who was shown much. Reasons are read off what the platform knows
of the user.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from karec._clock import HOUR_MS
from karec._files import write_text_aside
from karec.cascade import Cascade
from karec.lab.simulate.population import PAGE, Population
from karec.platform.snapshot import Snapshot
from karec.recommendation import Recommendation
from karec.types import Array, Request

FORMAT = 1
FEEDS = "feeds.json"
# shown before, as a quantile of those who might come
KNOWN = {"little": 0.1, "as much as most": 0.5, "much": 0.9}


def feeds_of(
    arm: str, cascade: Cascade, snapshot: Snapshot, population: Population, day: int
) -> list[dict[str, Any]]:
    """What ``cascade`` answers on ``day`` (from 0) to three users, each at the first moment when they might
    come.

    ``snapshot``: what the cascade's bundle knows. Nothing is logged, and nothing counts as shown.
    """
    feeds = []
    of = population.visits
    for about, visit in _visits(population, day).items():
        user = int(population.snapshot.users.ids[of.user[visit]])
        request = Request(user, PAGE, cascade.scene, int(of.start_ms[visit]), request_id=f"feed-{day}-{user}")
        works = works_of(cascade.run(request), snapshot)
        feeds.append({"arm": arm, "user": user, "day": day + 1, "shown_before": about, "works": works})
    return feeds


def _visits(population: Population, day: int) -> dict[str, int]:
    """{how much the user was shown before: row of a potential session}, of different users of ``day``."""
    of = population.visits
    rows = np.arange(len(of.day))[of.of_day(day)]
    users, first = np.unique(of.user[rows], return_index=True)
    if not len(users):
        return {}
    before = population.snapshot.users.lookup(population.world.dataset.exposures.user_id)
    order = np.argsort(np.bincount(before, minlength=len(population.comers))[users], kind="stable")
    visits: dict[str, int] = {}
    for about, share in KNOWN.items():
        visit = int(rows[first[order[int(share * len(users))]]])
        if visit not in visits.values():
            visits[about] = visit
    return visits


def works_of(feed: Recommendation, snapshot: Snapshot) -> list[dict[str, Any]]:
    """The works of ``feed`` from the first place on, as the report's ``feeds`` have them."""
    works = snapshot.works
    at = works.lookup(feed.candidates.ids)
    places = _ranked(feed)
    reasons = reasons_of(feed.request.user_number, at, snapshot)
    return [
        {
            "song": int(works["song_id"][row]),
            "creator": int(works["creator_id"][row]),
            "type": snapshot.labels["type"][int(works["type"][row])],
            "age_h": round(((feed.request.time_ms or 0) - int(works["upload_ms"][row])) / HOUR_MS, 1),
            "found_by": list(item.recalled_by),
            "ranked": places.get(item.id),
            "why": why,
        }
        for row, item, why in zip(at.tolist(), feed.items, reasons, strict=True)
    ]


def reasons_of(user: int, works: Array, snapshot: Snapshot) -> list[list[str]]:
    """What the platform knows that speaks for each of ``works``, rows of ``snapshot``, to ``user``: by whom
    it is, and with how many of the works that the user enjoyed last it has creator, song or tag in common.
    """
    table, row = snapshot.works, int(snapshot.users.lookup(np.array([user]))[0])
    lists = {name: _list(snapshot, name, row) for name in ("follows", "friends", "history")}
    enjoyed = table.lookup(lists["history"])
    enjoyed = enjoyed[enjoyed >= 0]
    creators, tags = table["creator_id"], table["tag"]
    tag_names = snapshot.labels["tag"]
    told = []
    for work in works.tolist():
        creator, tag = int(creators[work]), int(tags[work])
        same = {
            "of this creator": int((creators[enjoyed] == creator).sum()),
            "of this song": int((table["song_id"][enjoyed] == table["song_id"][work]).sum()),
            f"of {tag_names[tag]}": int((tags[enjoyed] == tag).sum()),
        }
        by = [*(["follows the creator"] if creator in lists["follows"] else [])]
        by += ["by a friend"] if creator in lists["friends"] else []
        told.append(
            [*by, *(f"enjoyed {n} {what}" for what, n in same.items() if n)]
            or ["nothing known speaks for it"]
        )
    return told


def _list(snapshot: Snapshot, name: str, row: int) -> Array:
    """The ids that the relation ``name`` holds for a user row; none for a user who is not known."""
    known = name in snapshot.relations and row >= 0
    return np.asarray(snapshot.relations[name].of(row)) if known else np.empty(0, np.int64)


def _ranked(feed: Recommendation) -> dict[int | str, int]:
    """{work: its place by the ranker's fused score}; empty where no stage is named rank."""
    if "rank" not in feed.scored:
        return {}
    ranked = feed.scored["rank"]
    return {
        work: place
        for place, work in enumerate(ranked.ids[np.argsort(-ranked.scores, kind="stable")].tolist(), 1)
    }


def write_feeds(place: Path, feeds: Sequence[Mapping[str, Any]]) -> None:
    write_text_aside(place / FEEDS, json.dumps({"format": FORMAT, "feeds": list(feeds)}, indent=1))


def read_feeds(out: Path, arms: Iterable[str]) -> list[dict[str, Any]]:
    """The feeds of ``arms`` of the simulation ``out``; none of an arm that an older version played."""
    parts = [out / arm / FEEDS for arm in arms]
    return [
        feed
        for part in parts
        if part.exists()
        for feed in json.loads(part.read_text(encoding="utf-8"))["feeds"]
    ]
