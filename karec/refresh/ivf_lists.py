"""Builds the IVF lists of an item index, and chooses ``n_probe`` of the source ``model``.

Half of the sampled users choose the number; the other half measures recall@K, the fraction of the K best
items of the exact search that are found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.tower_files import INDEX
from karec.catalog.snapshot import Snapshot
from karec.errors import BundleError
from karec.features.encoder import Encoder
from karec.index import IndexView, ItemIndex
from karec.models.onnx_model import OnnxModel

MIN_ITEMS = 100_000  # fewer are scanned in 0.4 ms
K = 1_000
MIN_RECALL = 0.95  # recall@K
N_USERS = 400  # sampled
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


def user_vectors(
    snapshot: Snapshot, encoder: Encoder, user_tower: OnnxModel, n: int = N_USERS, seed: int = 0
) -> NDArray[Any]:
    """Returns (≤ n, D) vectors of users sampled with ``seed``, at the snapshot's time, without a scene."""
    ids = np.asarray(snapshot.users.ids)
    users = ids[np.random.default_rng(seed).permutation(len(ids))[:n]].tolist()
    features = [encoder.encode_user(snapshot, user, snapshot.time_ms, -1) for user in users]
    return np.concatenate([user_tower.run(inputs, "user_vector")[0] for inputs in features])


def build_measured_lists(index: ItemIndex, vectors: NDArray[Any]) -> MeasuredLists:
    """Builds the lists of ``index`` and chooses the smallest number to read with recall@K ≥ MIN_RECALL.

    ``vectors (U, D)`` of users: the first half chooses, the others measure. Raises BundleError if their
    recall is too low.
    """
    index.build_lists()
    with index.pinned() as view:
        choosing, measuring = np.array_split(vectors, 2)
        n_probe = _smallest_n_probe(view, choosing)
        recalls = _recalls(view, measuring, _exact(view, measuring), n_probe)
    if recalls.mean() < MIN_RECALL:
        raise BundleError(
            f"{INDEX}: recall@{K:,} is {recalls.mean():.3f} over {len(recalls)} users with {n_probe:,} of "
            f"{index.n_lists:,} lists read, expected at least {MIN_RECALL}. Publish without lists (lists = "
            "False); then all scenes search exactly."
        )
    means = {"recall": round(float(recalls.mean()), 4), "lowest": round(float(recalls.min()), 4)}
    return MeasuredLists(INDEX, index.n_lists, n_probe, K, len(recalls), **means)


def _smallest_n_probe(view: IndexView, vectors: NDArray[Any]) -> int:
    """Returns the smallest n_probe whose recall is ERRORS standard errors above MIN_RECALL."""
    exact = _exact(view, vectors)

    def is_enough(n_probe: int) -> bool:
        recalls = _recalls(view, vectors, exact, n_probe)
        return bool(recalls.mean() - ERRORS * recalls.std() / np.sqrt(len(recalls)) >= MIN_RECALL)

    low, high = 0, 1  # low is too few, high may be enough
    while high < view.n_lists and not is_enough(high):
        low, high = high, min(2 * high, view.n_lists)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _exact(view: IndexView, vectors: NDArray[Any]) -> NDArray[Any]:
    return view.search(vectors, K).ids


def _recalls(view: IndexView, vectors: NDArray[Any], exact: NDArray[Any], n_probe: int) -> NDArray[Any]:
    probed = view.search(vectors, K, n_probe=n_probe).ids
    return np.array([np.isin(best, ids).mean() for best, ids in zip(exact, probed, strict=True)])
