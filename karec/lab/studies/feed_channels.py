"""What each recall channel gives to feeds: the works that it found, those that only it found, and feeds
without it.

found     share of the feeds' places whose work the channel found
sole      share whose work no other channel found
changed   share whose work the feed no longer holds when the channel finds nothing
worth     the mean true value of the feeds' works, less that of the feeds without the channel; where the truth
          is known

Means over users; intervals, 95 %, resample users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.catalog.dataset import Dataset
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.tables import format_measure
from karec.lab.studies.recall import Truth, values_of
from karec.pipeline.cascade import Cascade, Recall
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Page, Request
from karec.times import Progress

RESAMPLES = 1000
HEAD = ("channel", "found", "only it found", "feed changes without it")
WORTH = "true value lost without it"


class FindsNothing(Source):
    """In the place of a channel that is left out."""

    is_verified = True

    def __init__(self, left_out: Source) -> None:
        self.name, self.quota = left_out.name, left_out.quota

    def recall(self, request: Request) -> Candidates:
        return Candidates.empty()


def channels_of_feeds(feeds: Sequence[Page], resamples: int = RESAMPLES) -> dict[str, dict[str, Any]]:
    """{channel: {"found", "sole"}}, each {"value", "ci"}, of feeds of different users; {} where all are
    empty."""
    full = [feed for feed in feeds if len(feed)]
    if not full:
        return {}
    bootstrap = UserBootstrap(np.arange(len(full)), resamples, 0)
    shares: dict[str, dict[str, Any]] = {}
    for bit, channel in enumerate(full[0].source_names):
        found = np.array([np.mean(feed.candidates.sources >> np.uint32(bit) & np.uint32(1)) for feed in full])
        sole = np.array([np.mean(feed.candidates.sources == 1 << bit) for feed in full])
        shares[channel] = {
            "found": bootstrap.mean_with_interval(found),
            "sole": bootstrap.mean_with_interval(sole),
        }
    return shares


def channels_left_out(
    cascade: Cascade,
    bundle: Bundle,
    dataset: Dataset,
    *,
    n_users: int,
    k: int = 10,
    truth: Truth | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """{"users", "k", "channels": {channel: {"found", "sole", "changed", "worth"}}}, for users drawn from
    ``seed``.

    One feed for each user with all channels and one without each. ``worth`` is there where ``truth`` is.
    """
    cascade = replace(cascade, side_effects=(), naming=None)
    rows = np.random.default_rng(seed).permutation(len(bundle.snapshot.users))[:n_users]
    without = {source.name: _without(cascade, source) for source in cascade.recall.sources}
    feeds, lost = [], {name: np.zeros((2, len(rows))) for name in without}
    for at, row in enumerate(rows.tolist()):
        user = int(bundle.snapshot.users.ids[row])
        moment = bundle.snapshot.time_ms
        request = Request(user, k=k, scene=cascade.scene, time_ms=moment, request_id=f"channels-{user}")
        feeds.append(cascade.run(request))
        for name, other in without.items():
            feed = other.run(request)
            lost[name][0, at] = np.mean(~np.isin(feeds[-1].candidates.ids, feed.candidates.ids))
            if truth is not None:
                whole, less = (
                    values_of(truth, dataset, bundle, row, cascade, each.candidates.ids)
                    for each in (feeds[-1], feed)
                )
                lost[name][1, at] = _mean(whole) - _mean(less)
        if progress is not None:
            progress(at + 1, len(rows), "feeds without each channel")
    if not any(len(feed) for feed in feeds):
        raise DataError("every feed is empty: no channel found anything")
    bootstrap = UserBootstrap(np.arange(len(rows)), resamples, seed)
    channels = channels_of_feeds(feeds, resamples)
    for name, (changed, worth) in lost.items():
        channels[name]["changed"] = bootstrap.mean_with_interval(changed)
        if truth is not None:
            channels[name]["worth"] = bootstrap.mean_with_interval(worth)
    return {"users": len(rows), "k": k, "channels": channels}


def feed_channel_rows(
    channels: Mapping[str, Mapping[str, Any]],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(head, rows) of a table: of as many measures as there are."""
    first = next(iter(channels.values()), {})
    measures = [name for name in ("found", "sole", "changed", "worth") if name in first]
    head = (*HEAD, WORTH)[: len(measures) + 1]
    rows = [
        (
            channel,
            *(
                format_measure(of[name]["value"], of[name]["ci"], 4 if name == "worth" else 3)
                for name in measures
            ),
        )
        for channel, of in channels.items()
    ]
    return head, rows


def _without(cascade: Cascade, left_out: Source) -> Cascade:
    sources = tuple(
        FindsNothing(source) if source is left_out else source for source in cascade.recall.sources
    )
    return replace(cascade, recall=Recall(sources, cascade.recall.merger))


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0
