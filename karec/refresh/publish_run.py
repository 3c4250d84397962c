"""Publishes a trained run: models, encoder, snapshot and a new index become one bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from karec.bundle import Bundle, publish_folder
from karec.bundle.bundle import IDS
from karec.bundle.item_types import KINDS
from karec.bundle.tower_files import CROSS_WEIGHTS, INDEX, ITEM_TOWER, USER_TOWER
from karec.bundle.vector_statistics import FILE, VectorStatistics
from karec.catalog.schema import COMMUNITY
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.errors import BundleError, DataError
from karec.features.cross_tables import CrossWeights
from karec.features.encoder import Encoder, read_run_encoder
from karec.files import read_json
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.models.trees import copy_model
from karec.refresh.communities import NONE, communities, ignored_pairs
from karec.refresh.item_types import DerivedItemType, build_item_type_index, songs_and_creators
from karec.refresh.item_vectors import build_index
from karec.refresh.ivf_lists import (
    MIN_ITEMS,
    SAMPLE,
    SampledUsers,
    build_measured_lists,
    would_read_too_many,
)
from karec.times import Progress

KEEP = 10  # versions that stay published
WORKS = "work"  # item type of works in a scene
NO_ITEM_TYPES: Mapping[str, DerivedItemType] = MappingProxyType({})
COMMUNITIES = "communities"  # manifest fact: the highest community id that was ever used
REFRESH_HOURS = "refresh_hours"  # manifest fact: features.refresh_hours of the training
UNBOUND = "unbound"  # manifest fact: numbers of follows and friendships without an edge, by reason
MODELS = (USER_TOWER, ITEM_TOWER, "ranker.onnx")


def publish(
    run: Path,
    snapshot: Snapshot,
    root: Path,
    progress: Progress | None = None,
    *,
    ids: Path | None = None,
    keep: int = KEEP,
    signing_key: Path | None = None,
    lists: bool = True,
    grouped: bool = True,
    item_types: Mapping[str, DerivedItemType] = NO_ITEM_TYPES,
) -> Path:
    """Publishes the run folder ``run`` with ``snapshot`` as ``root/current``. Returns the folder.

    The model version is the one that training wrote into the models. Statistics of the item vectors are
    always written, so that a scene can center or whiten without another publication (0.1 s for 1e5 items of
    64 dimensions).

    Args
      ids          folder with the maps of the platform's ids, if they are not the snapshot's numbers
      keep         number of versions that stay published, see ``karec.bundle.publish``
      lists        from ``ivf_lists.MIN_ITEMS`` works on, build lists of the index, for sources ``model`` with
                   ``exact = false``; the manifest has their recall@1000
      grouped      add the users' column ``community`` (``refresh.communities``), which the source
                   ``community`` needs. Ids continue those of the previous bundle
      item_types   derived item types, in addition to songs and creators, which are published if works have
                   the columns; scenes recommend them (``item_type = "song"``)

    Raises DataError if the encoder reads counters by user and scene and the snapshot has none, BundleError
    like ``publish`` or if recall is below 0.95.
    """
    check_names(item_types)
    encoder = read_run_encoder(run, snapshot)
    check_scene_counters(encoder, snapshot)
    facts: dict[str, Any] = {UNBOUND: ignored_pairs(snapshot)}
    if grouped:
        snapshot, facts[COMMUNITIES] = with_communities(snapshot, root)
    item_tower, categories = OnnxModel(run / ITEM_TOWER, threads=0), table_categories(run, encoder)
    index = build_index(snapshot, encoder, item_tower, categories, progress)
    if lists:
        facts |= measured_lists(index, snapshot, encoder, run)
    library = LibraryVectors(index, index, facts)
    return publish_library(
        run, snapshot, root, library, ids=ids, keep=keep, signing_key=signing_key, item_types=item_types
    )


@dataclass(frozen=True, eq=False)
class LibraryVectors:
    """Vectors of works to publish.

    index          may have rows of two model versions
    type_vectors   those from which item types are derived
    facts          for the manifest
    files          {file of the bundle: user tower or cross weights of an earlier version}
    """

    index: ItemIndex
    type_vectors: ItemIndex
    facts: Mapping[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)


def publish_library(
    run: Path,
    snapshot: Snapshot,
    root: Path,
    library: LibraryVectors,
    *,
    ids: Path | None,
    keep: int,
    signing_key: Path | None,
    item_types: Mapping[str, DerivedItemType],
) -> Path:
    """Publishes ``run``, ``snapshot`` and ``library`` as one bundle. Returns its folder."""
    item_tower = OnnxModel(run / ITEM_TOWER)
    facts = {"tasks": list(item_tower.tasks), "works": len(snapshot.works), "users": len(snapshot.users)}
    if (run / "run.json").exists():  # models of other trainings have none
        facts[REFRESH_HOURS] = read_json(run / "run.json")["settings"]["features"]["refresh_hours"]

    def write(folder: Path) -> None:
        for name in MODELS:
            copy_model(run / name, folder / name)
        read_run_encoder(run, snapshot).for_serving().save(folder / "encoder.npz")
        if (run / CROSS_WEIGHTS).exists():
            shutil.copyfile(run / CROSS_WEIGHTS, folder / CROSS_WEIGHTS)
        library.index.save(folder / INDEX)
        VectorStatistics.from_index(library.index, folder / INDEX).save(folder / FILE)
        for name, file in library.files.items():
            shutil.copyfile(file, folder / name)
        _save_item_types(item_types, folder / KINDS, snapshot, library.type_vectors)
        snapshot.save(folder / "snapshot")
        if ids is not None:
            shutil.copytree(ids, folder / IDS)

    version, all_facts = item_tower.model_version, {**facts, **library.facts}
    return publish_folder(root, version, write, all_facts, keep=keep, signing_key=signing_key)


def check_names(item_types: Mapping[str, DerivedItemType]) -> None:
    """Raises ValueError if the name of an item type is not an identifier or is that of works."""
    for name in item_types:
        if not name.isidentifier() or name == WORKS:
            raise ValueError(
                f"name of an item type is {name!r}, expected letters, digits and _, and not {WORKS!r}"
            )


def table_categories(run: Path, encoder: Encoder) -> tuple[str, ...]:
    """Returns the categories with tables, the code columns of an index; none if the towers are not wide."""
    weights = CrossWeights.load(run / CROSS_WEIGHTS, encoder)
    return () if weights is None else weights.categories(encoder)


def measured_lists(index: ItemIndex, snapshot: Snapshot, encoder: Encoder, models: Path) -> Mapping[str, Any]:
    """Builds the lists of ``index`` if it is large enough. Returns the manifest facts on them.

    ``models``: folder of the user tower that is used with ``index``. No facts if a source would read most
    lists; then it scans.
    """
    if len(index) < MIN_ITEMS or len(snapshot.users) < 2:  # one user chooses, one measures
        return {}
    users = SampledUsers.from_snapshot(snapshot, encoder, models)
    if users.tables is not None:
        ids = np.random.default_rng(0).permutation(index.ids)[: -(-len(index) // SAMPLE)]
        rows, categories = snapshot.works.lookup(ids), index.schema.code_columns
        codes = encoder.item_codes(snapshot, rows, categories)
        sample = ItemIndex.build(ids, index.embeddings(index.lookup(ids)), codes=codes)
        if would_read_too_many(sample, users):
            return {}
    measured = build_measured_lists(index, users)
    return {} if measured is None else measured.to_facts()


def _save_item_types(
    item_types: Mapping[str, DerivedItemType], folder: Path, snapshot: Snapshot, index: ItemIndex
) -> None:
    """Saves songs, creators and ``item_types``. The latter have their works, which a refresh reads."""
    for name, derived in {**songs_and_creators(snapshot), **item_types}.items():
        type_folder = folder / name
        type_folder.mkdir(parents=True)
        (derived if name in item_types else derived.item_type).save(type_folder)
        build_item_type_index(derived, snapshot, index).save(type_folder / INDEX)


def with_communities(snapshot: Snapshot, root: Path) -> tuple[Snapshot, int]:
    """Returns the snapshot with the column ``community``, and the highest id ever used, or −1."""
    try:
        bundle = Bundle.open(root, verify=False)
        former, highest_id = bundle.snapshot, int(bundle.facts.get(COMMUNITIES, NONE))
    except (BundleError, DataError):  # first publication, or not readable: ids start at 0
        former, highest_id = None, NONE
    members = communities(snapshot, former, highest_id)
    if members is None:
        return snapshot, highest_id
    users = Table(snapshot.users.ids, {**snapshot.users.columns, COMMUNITY: members})
    return replace(snapshot, users=users), int(members.max(initial=highest_id))


def check_scene_counters(encoder: Encoder, snapshot: Snapshot) -> None:
    """Raises DataError if the encoder reads counters by user and scene that the snapshot lacks.

    Without them each user would look new in each scene, unlike in training.
    """
    if encoder.scene_counters.counted and snapshot.user_scene_counters is None:
        raise DataError(
            "snapshot: user_scene_counters are missing, but the encoder reads "
            f"{list(encoder.scene_counters.counted)} by user and scene. Advance the snapshot that training "
            "started with (karec.aggregates.advance counts them)."
        )
