"""The oracle of a condition: pages whose lists are filtered before any source counts an item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chain.sources import SOURCE_MAKERS, RequestState, RowMerger, SourceCall
from karec.catalog.snapshot import Snapshot
from karec.features.user_vectors import user_query, user_tables
from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.sources.model import Model


class FilteredSource(Source):
    """A source of the chain over filtered lists."""

    is_verified = True

    def __init__(self, source: Source, call: SourceCall, snapshot: Snapshot) -> None:
        self.name, self.quota = source.name, source.quota
        self.call, self.works, self.users = call, snapshot.works, snapshot.users

    def recall(self, request: Request) -> Candidates:
        rows = self.call(RequestState(request, self.users.row(request.user_number)))[: self.quota]
        return Candidates.from_ids(np.asarray(self.works.ids)[rows])


class AllowedItems(Source):
    """The given items, all of them or those nearest to the user by a scan."""

    is_verified = True

    def __init__(self, name: str, ids: Array, quota: int | None = None) -> None:
        self.name, self.ids, self.quota = name, ids, len(ids) if quota is None else quota

    def recall(self, request: Request) -> Candidates:
        if self.quota >= len(self.ids):
            return Candidates.from_ids(self.ids)
        query, tables = user_query(request), user_tables(request)
        result = request.index.search(query, self.quota, ids=self.ids, tables=tables)
        return Candidates.from_ids(result.ids, result.scores).with_rows(result.rows)


def make_oracle(cascade: Cascade, snapshot: Snapshot, allowed: Array) -> Cascade:
    """Returns ``cascade`` restricted to the works of ``allowed`` (works,) bool. It takes no condition."""
    recall, merger = cascade.recall, RowMerger(len(snapshot.works))
    assert cascade.index is not None and recall.whole is not None and recall.whole.limit is not None
    ids = np.asarray(snapshot.works.ids)[allowed]
    ids = ids[np.argsort(cascade.index.lookup(ids), kind="stable")]  # ties are in the order of the index
    if len(ids) <= recall.whole.limit:
        return replace(cascade, recall=Recall((AllowedItems("all", ids),), recall.whole))
    sources = tuple(
        AllowedItems(source.name, ids, source.quota)
        if isinstance(source, Model)
        else FilteredSource(source, SOURCE_MAKERS[type(source)](source, snapshot, merger, allowed), snapshot)
        for source in recall.sources
    )
    return replace(cascade, recall=Recall(sources, recall.merger))
