"""A new model version beside the one that serves: published at once, and rolled in work by work while it
serves.

Published  The models and the snapshot of the new version; the vectors of the version before, as far as works
           have them; and the user towers of both, so that each row meets the user vector of its own version.
           A sample of works, and those that had no vector, are of the new version from the start.
One scale  On the sample both versions have vectors: scores of the version before are brought to the new one's
           scale by a straight line (``refresh.calibration``), which the index applies in every search, in
           recall and prerank.
Then       ``karec refresh`` moves the other works (``refresh.rolling``). When no row of the version before is
           left, no user vector of it is made.
Cost       The item tower over the sample, in place of the whole library: seconds, however many works there
           are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.vector_spaces import PRERANK, RECALL, SPACES, Space, space_id_of
from karec.catalog.snapshot import Snapshot
from karec.errors import BundleError
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.refresh.calibration import line_between
from karec.refresh.communities import unbound
from karec.refresh.follow import LibraryFollower
from karec.refresh.item_types import ROLES, KindOfWorks
from karec.refresh.item_vectors import item_vectors, served_columns
from karec.refresh.ivf_lists import user_vectors
from karec.refresh.library_state import MADE, known_of
from karec.refresh.publish_run import (
    COMMUNITIES,
    KEEP,
    NO_KINDS,
    UNBOUND,
    Library,
    check_counted_by_scene,
    check_names,
    measured_lists,
    publish_library,
    with_communities,
)
from karec.times import Progress

SAMPLE = 16_384  # works whose vectors are of the new version from the start


def roll_in(
    run: Path,
    snapshot: Snapshot,
    root: Path,
    progress: Progress | None = None,
    *,
    ids: Path | None = None,
    keep: int = KEEP,
    signing_key: Path | None = None,
    lists: bool = True,
    kinds: Mapping[str, KindOfWorks] = NO_KINDS,
    sample: int = SAMPLE,
) -> Path:
    """As ``publish_bundle``, beside the version that ``root/current`` serves; the new bundle's folder.

    BundleError: nothing is published yet; the version before is still being rolled in; the run reads features
    by another encoder than it, so that one of the two user towers would read wrong codes; only one of the two
    has recall's own space; it has kinds of items beside songs and creators, whose vectors a refresh cannot
    make.
    """
    check_names(kinds)
    before = rolled_in(root)
    _check_beside(before, run, kinds)
    encoder = Encoder.load(run / "encoder.npz")
    check_counted_by_scene(encoder, snapshot)
    snapshot, given = with_communities(snapshot, root)
    new = OnnxModel(run / PRERANK.item).model_version
    facts: dict[str, Any] = {COMMUNITIES: given, UNBOUND: unbound(snapshot)}
    facts |= {MADE: {str(before.model_version): _oldest(before)}}
    spaces = [space for space in SPACES if (run / space.item).exists()]
    mixed, towers = {}, {}
    for space in spaces:
        columns = served_columns(snapshot) if space is PRERANK else {}
        index = mixed[space] = _carried(before, space, snapshot, columns)
        if lists and space is spaces[-1]:
            facts |= measured_lists(index, snapshot, encoder, before.path, space)
        _mix(index, before, run, space, snapshot, encoder, columns, sample, progress)
        if before.model_version in index.model_versions:
            towers[space.user_tower_of(before.model_version, new)] = before.path / space.own
    works = mixed[PRERANK]
    of_kinds = _carried(before, PRERANK, snapshot, {}) if len(works.model_versions) > 1 else works
    library = Library(works, mixed.get(RECALL), of_kinds, facts, towers)
    return publish_library(
        run, snapshot, root, library, ids=ids, keep=keep, signing_key=signing_key, kinds=kinds
    )


def rolled_in(root: Path) -> Bundle:
    """The bundle in service, whose works have vectors of one version. BundleError: nothing is published yet;
    the version before is still being rolled in.
    """
    before = Bundle.open(root)
    LibraryFollower().catch_up(before)
    if len(before.index.model_versions) > 1:
        raise BundleError(
            f"{before.path} holds vectors of model versions {list(before.index.model_versions)}: let karec "
            "refresh end its round before another version rolls in"
        )
    return before


def _check_beside(before: Bundle, run: Path, kinds: Mapping[str, KindOfWorks]) -> None:
    if (run / "encoder.npz").read_bytes() != (before.path / "encoder.npz").read_bytes():
        raise BundleError(
            f"{run / 'encoder.npz'} is another encoder than that of {before.path}: towers of both versions "
            f"read one "
            "user's inputs. Train with --log, which keeps the encoder, or publish the whole library at once"
        )
    if (run / RECALL.item).exists() != (before.recall_index is not None):
        raise BundleError(
            f"{run} and {before.path}: one of them has recall's own space and the other has none; publish "
            "the whole library at once"
        )
    others = sorted({*before.kinds, *kinds} - ROLES.keys())
    if others:
        raise BundleError(
            f"{before.path} or the new version has the kinds {others}, whose vectors a refresh cannot make: "
            "publish the whole library at once"
        )


def _oldest(before: Bundle) -> int:
    known = known_of(before)
    return int(known.moments[known.works > 0].min(initial=before.snapshot.time_ms))


def _carried(
    before: Bundle, space: Space, snapshot: Snapshot, columns: Mapping[str, NDArray[Any]]
) -> ItemIndex:
    """The vectors of the works of ``snapshot`` that ``before`` has, under the columns of the new snapshot."""
    index = before.index_of(space)
    rows = np.asarray(index.lookup(np.asarray(snapshot.works.ids)), np.int32)
    there = rows >= 0
    (version,) = index.versions
    return ItemIndex.build(
        np.asarray(snapshot.works.ids)[there],
        index.embeddings(rows[there]),
        dtype="float16" if index.dtype == np.float16 else "float32",
        columns={name: column[there] for name, column in columns.items()},
        model_version=version.number,
        space_id=version.space_id or space_id_of(before.path / space.item),
    )


def _mix(
    index: ItemIndex,
    before: Bundle,
    run: Path,
    space: Space,
    snapshot: Snapshot,
    encoder: Encoder,
    columns: Mapping[str, NDArray[Any]],
    sample: int,
    progress: Progress | None,
) -> None:
    """Puts the new version's vectors of the sample into ``index``, and brings both versions to one scale."""
    known = np.asarray(index.lookup(np.asarray(snapshot.works.ids)))
    old = np.flatnonzero(known >= 0)
    drawn = np.sort(np.random.default_rng(0).permutation(old)[:sample])
    at = np.union1d(drawn, np.flatnonzero(known < 0))
    tower, vectors = OnnxModel(run / space.item, threads=0), []
    for piece in item_vectors(snapshot, encoder, tower, at, snapshot.time_ms):
        vectors.append(piece)
        if progress is not None:
            progress(sum(map(len, vectors)), len(at), "item tower over a sample")
    made = np.concatenate(vectors) if vectors else np.zeros((0, index.dim), np.float32)
    if made.shape[1] != index.dim:
        raise BundleError(
            f"{tower.path} makes vectors of {made.shape[1]} numbers, {before.path / space.index} has "
            f"{index.dim}: publish the whole library at once"
        )
    both = np.searchsorted(at, drawn)
    before_them = index.embeddings(known[drawn].astype(np.int32))
    ids, served = np.asarray(snapshot.works.ids)[at], {name: column[at] for name, column in columns.items()}
    index.upsert(ids, made, served, tower.model_version, space_id_of(tower.path))
    if before.model_version in index.model_versions:
        asked = (user_vectors(snapshot, encoder, OnnxModel(each / space.own)) for each in (before.path, run))
        scale, offset = line_between(next(asked) @ before_them.T, next(asked) @ made[both].T)
        index.calibrate(before.model_version, scale=scale, offset=offset)
