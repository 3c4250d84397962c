"""Builds the IVF lists of an item index, and chooses ``n_probe`` of the source ``model``.

Half of the sampled users choose the number; the other half measures recall@K, the fraction of the K best
items of the exact search that are found. With wide towers both searches have the users' tables. Lists are
chosen without tables, so that a source may have to read most of them; then it scans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.tower_files import CROSS_WEIGHTS, INDEX, USER_TOWER
from karec.catalog.snapshot import Snapshot
from karec.errors import BundleError
from karec.features.cross_tables import CrossTables
from karec.features.encoder import Encoder
from karec.index import IndexView, ItemIndex
from karec.index.code_tables import QueryTables
from karec.models.onnx_model import OnnxModel

MIN_ITEMS = 100_000  # fewer are scanned in 0.4 ms
K = 1_000
MIN_RECALL = 0.95  # recall@K
MIN_RECALL_WIDE = 0.99  # with tables of wide towers
MAX_READ_FRACTION = 0.5  # of the lists; a source that would read more scans
N_USERS = 400  # sampled
SAMPLE = 8  # one item in so many shows if users with tables would read too many lists, at a tenth of the cost
# standard errors by which the choosing half's recall must exceed MIN_RECALL, so that the other half's does
# too
ERRORS = 4
FACT = "lists"  # of the manifest


@dataclass(frozen=True)
class MeasuredLists:
    """Entry of the manifest on the lists in ``file``. ``lowest``: the recall of the user with the lowest."""

    file: str
    n_lists: int
    n_probe: int
    k: int
    users: int
    recall: float
    lowest: float

    def to_facts(self) -> Mapping[str, Any]:
        return {FACT: asdict(self)}


@dataclass(frozen=True, eq=False)
class SampledUsers:
    """Users as queries of one model version.

    vectors  (U, D) float32
    tables   those of each user; None if the towers are not wide
    """

    vectors: NDArray[Any]
    tables: list[QueryTables] | None = None

    @classmethod
    def from_snapshot(
        cls, snapshot: Snapshot, encoder: Encoder, models: Path, n: int = N_USERS, seed: int = 0
    ) -> SampledUsers:
        """Returns at most ``n`` users, sampled with ``seed``, at the snapshot's time, without a scene.

        ``models``: folder of the user tower, and of the cross weights if it is wide.
        """
        ids = np.asarray(snapshot.users.ids)
        users = ids[np.random.default_rng(seed).permutation(len(ids))[:n]].tolist()
        features = [encoder.encode_user(snapshot, user, snapshot.time_ms, -1) for user in users]
        tower = OnnxModel(models / USER_TOWER)
        vectors = np.concatenate([tower.run(inputs, "user_vector")[0] for inputs in features])
        if not (models / CROSS_WEIGHTS).exists():
            return cls(vectors)
        tables = CrossTables.load(models / CROSS_WEIGHTS, encoder)
        return cls(vectors, [tables.make(inputs) for inputs in features])

    def halves(self) -> tuple[SampledUsers, SampledUsers]:
        n = (len(self.vectors) + 1) // 2
        first, last = (None, None) if self.tables is None else (self.tables[:n], self.tables[n:])
        return SampledUsers(self.vectors[:n], first), SampledUsers(self.vectors[n:], last)

    def scores(self, vectors: NDArray[Any], codes: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns (U, N) float32 scores of items with ``vectors (N, D)`` and ``codes`` {category: (N,)}."""
        rows = np.arange(len(vectors))
        index = ItemIndex.build(rows, vectors, dtype="float32", codes=codes)
        tables = [None] * len(self.vectors) if self.tables is None else self.tables
        return np.stack(
            [index.scores(user, ids=rows, tables=own) for user, own in zip(self.vectors, tables, strict=True)]
        )


def build_measured_lists(index: ItemIndex, users: SampledUsers) -> MeasuredLists | None:
    """Builds the lists of ``index`` and chooses the smallest number to read with a high recall@K.

    That is MIN_RECALL, or MIN_RECALL_WIDE with tables. The first half of ``users`` chooses, the others
    measure. Returns None if users with tables would read too many lists. Raises BundleError if the recall of
    users without tables is too low.
    """
    index.build_lists()
    is_wide = users.tables is not None
    min_recall, read = (MIN_RECALL_WIDE, MAX_READ_FRACTION) if is_wide else (MIN_RECALL, 1.0)
    with index.pinned() as view:
        choosing, measuring = users.halves()
        n_probe = _smallest_n_probe(view, choosing, min_recall, max_probe=max(int(read * view.n_lists), 1))
        if n_probe is None:
            return None
        recalls = _recalls(view, measuring, _exact(view, measuring), n_probe)
    if is_wide and recalls.mean() < MIN_RECALL_WIDE:
        return None
    if recalls.mean() < MIN_RECALL:
        raise BundleError(
            f"{INDEX}: recall@{K:,} is {recalls.mean():.3f} over {len(recalls)} users with {n_probe:,} of "
            f"{index.n_lists:,} lists read, expected at least {MIN_RECALL}. Publish without lists (lists = "
            "False); then all scenes search exactly."
        )
    means = {"recall": round(float(recalls.mean()), 4), "lowest": round(float(recalls.min()), 4)}
    return MeasuredLists(INDEX, index.n_lists, n_probe, K, len(recalls), **means)


def would_read_too_many(sample: ItemIndex, users: SampledUsers) -> bool:
    """Builds the lists of ``sample`` and returns True if MAX_READ_FRACTION of them has too low a recall.

    ``sample``: one in SAMPLE of the items of an index. ``users`` have tables.
    """
    sample.build_lists()
    with sample.pinned() as view:
        n_probe, k = max(int(MAX_READ_FRACTION * view.n_lists), 1), max(K // SAMPLE, 1)
        recalls = _recalls(view, users, _exact(view, users, k), n_probe)
    return bool(recalls.mean() + ERRORS * recalls.std() / np.sqrt(len(recalls)) < MIN_RECALL_WIDE)


def _smallest_n_probe(
    view: IndexView, users: SampledUsers, min_recall: float, *, max_probe: int
) -> int | None:
    """Returns the smallest n_probe whose recall is ERRORS standard errors above ``min_recall``.

    None if it is above ``max_probe``.
    """
    exact = _exact(view, users)

    def is_enough(n_probe: int) -> bool:
        recalls = _recalls(view, users, exact, n_probe)
        return bool(recalls.mean() - ERRORS * recalls.std() / np.sqrt(len(recalls)) >= min_recall)

    low, high = 0, 1  # low is too few, high may be enough
    while not is_enough(high):
        if high == max_probe:
            return None
        low, high = high, min(2 * high, max_probe)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _exact(view: IndexView, users: SampledUsers, k: int = K) -> NDArray[Any]:
    return view.search(users.vectors, k, tables=users.tables).ids


def _recalls(view: IndexView, users: SampledUsers, exact: NDArray[Any], n_probe: int) -> NDArray[Any]:
    probed = view.search(users.vectors, exact.shape[1], n_probe=n_probe, tables=users.tables).ids
    return np.array([np.isin(best, ids).mean() for best, ids in zip(exact, probed, strict=True)])
