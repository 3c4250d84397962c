"""Publishes a new model version next to the serving one; its vectors replace the old ones while it serves.

Published     Models and snapshot of the new version, the item vectors of the old version, and the user towers
              of both, so that each row is scored by the user vector of its version. A sample of works, and
              those without a vector, have the new version from the start.
Calibration   Vectors of both versions have length 1, but one version's cosines may be higher or more spread,
              which would favor its items. The sample has vectors of both versions, from which ``fit_line``
              fits a linear map of old scores to the new scale. The index applies the map in each search.
Refresh       ``karec refresh`` moves the other works (``refresh.rolling``). When the last row of the old
              version is gone, its user vector is no longer computed.
Cost          The item tower over the sample instead of the whole library: seconds for any library.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.tower_files import (
    CROSS_WEIGHTS,
    INDEX,
    ITEM_TOWER,
    USER_TOWER,
    cross_weights_file,
    space_id_of,
    user_tower_file,
)
from karec.catalog.snapshot import Snapshot
from karec.errors import BundleError
from karec.features.encoder import Encoder, read_run_encoder
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.refresh.communities import ignored_pairs
from karec.refresh.follow import LibraryFollower
from karec.refresh.item_types import DerivedItemType
from karec.refresh.item_vectors import item_vectors, served_columns
from karec.refresh.ivf_lists import SampledUsers
from karec.refresh.library_state import REFRESHED, vector_states
from karec.refresh.publish_run import (
    COMMUNITIES,
    KEEP,
    NO_ITEM_TYPES,
    UNBOUND,
    LibraryVectors,
    check_names,
    check_scene_counters,
    measured_lists,
    publish_library,
    table_categories,
    with_communities,
)
from karec.times import Progress

SAMPLE = 16_384  # works that have vectors of the new version from the start
# of the cosines, for the calibration; the relation of two versions is not quite linear, and the top decides
LEVELS = np.linspace(0.9, 0.999, 21)


def publish_next_version(
    run: Path,
    snapshot: Snapshot,
    root: Path,
    progress: Progress | None = None,
    *,
    ids: Path | None = None,
    keep: int = KEEP,
    signing_key: Path | None = None,
    item_types: Mapping[str, DerivedItemType] = NO_ITEM_TYPES,
    sample: int = SAMPLE,
) -> Path:
    """Publishes like ``karec.publish``, next to the serving version. Returns the folder.

    Raises BundleError if nothing is published yet; the previous version is not fully refreshed; or the run
    has another encoder, so one of the two user towers would read wrong codes.
    """
    check_names(item_types)
    before = open_refreshed_bundle(root)
    encoder = read_run_encoder(run, snapshot)
    categories = _check_compatible(before, run, encoder)
    check_scene_counters(encoder, snapshot)
    snapshot, highest_id = with_communities(snapshot, root)
    new_version = OnnxModel(run / ITEM_TOWER).model_version
    facts: dict[str, Any] = {COMMUNITIES: highest_id, UNBOUND: ignored_pairs(snapshot)}
    facts |= {REFRESHED: {str(before.model_version): _oldest_vector_ms(before)}}
    columns = served_columns(snapshot)
    codes = encoder.item_codes(snapshot, np.arange(len(snapshot.works)), categories)
    index = _previous_index(before, snapshot, columns, codes)
    facts |= measured_lists(index, snapshot, encoder, before.path)
    _add_sample(index, before, run, snapshot, encoder, columns, codes, sample, progress)
    files = {}
    if before.model_version in index.model_versions:
        files[user_tower_file(before.model_version, new_version)] = before.path / USER_TOWER
        if categories:
            files[cross_weights_file(before.model_version, new_version)] = before.path / CROSS_WEIGHTS
    type_vectors = _previous_index(before, snapshot, {}, {}) if len(index.model_versions) > 1 else index
    library = LibraryVectors(index, type_vectors, facts, files)
    return publish_library(
        run, snapshot, root, library, ids=ids, keep=keep, signing_key=signing_key, item_types=item_types
    )


def open_refreshed_bundle(root: Path) -> Bundle:
    """Returns the current bundle, whose works have vectors of one version.

    Raises BundleError if nothing is published yet or the current version is not fully refreshed.
    """
    before = Bundle.open(root)
    LibraryFollower().catch_up(before)
    if len(before.index.model_versions) > 1:
        raise BundleError(
            f"{before.path}: vectors have model versions {list(before.index.model_versions)}, expected one. "
            "Let karec refresh finish its round before publishing another version."
        )
    return before


def _check_compatible(before: Bundle, run: Path, encoder: Encoder) -> tuple[str, ...]:
    """Returns the categories with tables, which both versions share."""
    ours, theirs = (encoder.for_serving().to_arrays(), before.encoder.for_serving().to_arrays())
    if ours.keys() != theirs.keys() or not all(np.array_equal(ours[name], theirs[name]) for name in ours):
        raise BundleError(
            f"{run / 'encoder.npz'}: not the encoder of {before.path}, but the towers of both versions read "
            "the same user inputs. Train with --log and without --warm-start or --from-scratch, which keeps "
            "the encoder, or publish the whole library at once."
        )
    old, new = (table_categories(folder, encoder) for folder in (before.path, run))
    if old != new:
        raise BundleError(
            f"{run / CROSS_WEIGHTS}: tables are of {list(new)}, expected {list(old)} as in {before.path}. "
            "Publish the whole library at once."
        )
    return new


def _oldest_vector_ms(before: Bundle) -> int:
    states = vector_states(before)
    return int(states.times_ms[states.has_vector > 0].min(initial=before.snapshot.time_ms))


def _previous_index(
    before: Bundle,
    snapshot: Snapshot,
    columns: Mapping[str, NDArray[Any]],
    codes: Mapping[str, NDArray[Any]],
) -> ItemIndex:
    """Returns an index of the vectors that ``before`` has for works of ``snapshot``, with the new columns."""
    index = before.index
    rows = np.asarray(index.lookup(np.asarray(snapshot.works.ids)), np.int32)
    is_found = rows >= 0
    (version,) = index.versions
    return ItemIndex.build(
        np.asarray(snapshot.works.ids)[is_found],
        index.embeddings(rows[is_found]),
        dtype="float16" if index.dtype == np.float16 else "float32",
        columns=_take(columns, is_found),
        model_version=version.number,
        space_id=version.space_id or space_id_of(before.path / ITEM_TOWER),
        codes=_take(codes, is_found),
    )


def _take(columns: Mapping[str, NDArray[Any]], rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: column[rows] for name, column in columns.items()}


def _add_sample(
    index: ItemIndex,
    before: Bundle,
    run: Path,
    snapshot: Snapshot,
    encoder: Encoder,
    columns: Mapping[str, NDArray[Any]],
    codes: Mapping[str, NDArray[Any]],
    sample: int,
    progress: Progress | None,
) -> None:
    """Adds the new version's vectors of the sample to ``index`` and calibrates the old version's scores."""
    old_rows = np.asarray(index.lookup(np.asarray(snapshot.works.ids)))
    has_old = np.flatnonzero(old_rows >= 0)
    sampled = np.sort(np.random.default_rng(0).permutation(has_old)[:sample])
    encoded = np.union1d(sampled, np.flatnonzero(old_rows < 0))
    tower, vectors = OnnxModel(run / ITEM_TOWER, threads=0), []
    for chunk in item_vectors(snapshot, encoder, tower, encoded, snapshot.time_ms):
        vectors.append(chunk)
        if progress is not None:
            progress(sum(map(len, vectors)), len(encoded), "item tower over a sample")
    new_vectors = np.concatenate(vectors) if vectors else np.zeros((0, index.dim), np.float32)
    if new_vectors.shape[1] != index.dim:
        raise BundleError(
            f"{tower.path}: vectors have {new_vectors.shape[1]} dimensions, expected {index.dim} as in "
            f"{before.path / INDEX}. Publish the whole library at once."
        )
    sampled_rows = np.searchsorted(encoded, sampled)
    old_vectors = index.embeddings(old_rows[sampled].astype(np.int32))
    ids, space_id = np.asarray(snapshot.works.ids)[encoded], space_id_of(tower.path)
    new_columns, new_codes = _take(columns, encoded), _take(codes, encoded)
    index.upsert(ids, new_vectors, new_columns, tower.model_version, space_id, new_codes)
    if before.model_version in index.model_versions:
        sampled_codes = _take(codes, sampled)
        old_scores, new_scores = (
            SampledUsers.from_snapshot(snapshot, encoder, folder).scores(vectors, sampled_codes)
            for folder, vectors in ((before.path, old_vectors), (run, new_vectors[sampled_rows]))
        )
        scale, offset = fit_line(old_scores, new_scores)
        index.calibrate(before.model_version, scale=scale, offset=offset)


def fit_line(old: NDArray[Any], new: NDArray[Any]) -> tuple[float, float]:
    """Returns (scale > 0, offset): old·scale + offset is on the scale of ``new``, both (users, items).

    It is the least squares line through the LEVELS quantiles of the scores, means over users. (1, 0) if all
    scores are equal.
    """
    x, y = (np.quantile(scores, LEVELS, axis=1).mean(axis=1) for scores in (old, new))
    if not x.std() > 0 or not y.std() > 0:
        return 1.0, 0.0
    scale, offset = np.polyfit(x, y, 1)
    return float(scale), float(offset)
