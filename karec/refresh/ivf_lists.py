"""The lists of the index that the channel ``model`` searches, and how many of them it has to read, measured
on users.

Half of the asked users choose the number, the other half says what it gives: recall@K, the share of the exact
search's K best works that are found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot
from karec.errors import BundleError
from karec.features.encoder import Encoder
from karec.index import IndexView, ItemIndex
from karec.models.onnx_model import OnnxModel

FROM = 100_000  # works: fewer are scanned in .4 ms
K = 1_000
LEAST = 0.95  # recall@K
ASKED = 400  # users
# standard errors that the choosing half's recall lies above LEAST, so that the other half's does too
ERRORS = 4
FACT = "lists"  # of the manifest


@dataclass(frozen=True)
class MeasuredLists:
    """What the manifest says of the lists in ``file``. ``lowest``: the recall of the user who was served
    worst."""

    file: str
    n_lists: int
    n_probe: int
    k: int
    users: int
    recall: float
    lowest: float

    def facts(self) -> Mapping[str, Any]:
        return {FACT: asdict(self)}


def user_vectors(
    snapshot: Snapshot, encoder: Encoder, user_tower: OnnxModel, n: int = ASKED, seed: int = 0
) -> NDArray[Any]:
    """(≤ n, D) of users drawn from ``seed``, at the snapshot's moment, outside of any scene."""
    ids = np.asarray(snapshot.users.ids)
    asked = ids[np.random.default_rng(seed).permutation(len(ids))[:n]].tolist()
    features = [encoder.encode_user(snapshot, user, snapshot.time_ms, -1) for user in asked]
    return np.concatenate([user_tower.run(each, "user_vector")[0] for each in features])


def build_measured_lists(index: ItemIndex, vectors: NDArray[Any], file: str) -> MeasuredLists:
    """Puts the works of ``index`` into lists, as few of which are to be read as recall@K ≥ LEAST needs.

    ``vectors`` (U, D) of users: the first half chooses, the others are what is reported. BundleError: their
    recall is below LEAST.
    """
    index.build_lists()
    with index.pinned() as view:
        choosing, judging = np.array_split(vectors, 2)
        n_probe = _fewest(view, choosing)
        recalls = _recalls(view, judging, _exact(view, judging), n_probe)
    if recalls.mean() < LEAST:
        raise BundleError(
            f"{file}: recall@{K:,} is {recalls.mean():.3f} over {len(recalls)} users where {n_probe:,} of "
            f"{index.n_lists:,} lists are read, below {LEAST}: publish it without lists (lists = False), so "
            "that every scene searches exactly"
        )
    means = {"recall": round(float(recalls.mean()), 4), "lowest": round(float(recalls.min()), 4)}
    return MeasuredLists(file, index.n_lists, n_probe, K, len(recalls), **means)


def _fewest(view: IndexView, vectors: NDArray[Any]) -> int:
    """The fewest lists whose recall lies ERRORS standard errors above LEAST. O(log(lists)) searches a
    user."""
    exact = _exact(view, vectors)

    def enough(n_probe: int) -> bool:
        recalls = _recalls(view, vectors, exact, n_probe)
        return bool(recalls.mean() - ERRORS * recalls.std() / np.sqrt(len(recalls)) >= LEAST)

    least, most = 0, 1  # too few, perhaps enough
    while most < view.n_lists and not enough(most):
        least, most = most, min(2 * most, view.n_lists)
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most


def _exact(view: IndexView, vectors: NDArray[Any]) -> NDArray[Any]:
    return view.search(vectors, K).ids


def _recalls(view: IndexView, vectors: NDArray[Any], exact: NDArray[Any], n_probe: int) -> NDArray[Any]:
    found = view.search(vectors, K, n_probe=n_probe).ids
    return np.array([np.isin(wanted, ids).mean() for wanted, ids in zip(exact, found, strict=True)])
