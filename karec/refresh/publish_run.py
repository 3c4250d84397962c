"""From what was learned to what serves: models, encoder, snapshot and a fresh index become one published
bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from karec.bundle import Bundle, publish_folder
from karec.bundle.bundle import IDS
from karec.bundle.item_types import KINDS
from karec.bundle.vector_spaces import PRERANK, RECALL, Space
from karec.bundle.vector_statistics import FILE, VectorStatistics
from karec.catalog.schema import COMMUNITY
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.errors import BundleError, DataError
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.models.trees import copy_model
from karec.refresh.communities import NONE, communities, unbound
from karec.refresh.item_types import KindOfWorks, kind_index, songs_and_creators
from karec.refresh.item_vectors import build_index
from karec.refresh.ivf_lists import FROM, build_measured_lists, user_vectors
from karec.times import Progress

KEEP = 10  # versions that stay published
WORKS = "work"  # what ``items`` of a scene says of works
NO_KINDS: Mapping[str, KindOfWorks] = MappingProxyType({})
COMMUNITIES = "communities"  # fact of the manifest: the highest id of a community that was ever given
UNBOUND = "unbound"  # fact of the manifest: follows and friendships that bind nobody, by reason
MODELS = (PRERANK.own, PRERANK.item, "ranker.onnx")


def publish_bundle(
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
    kinds: Mapping[str, KindOfWorks] = NO_KINDS,
) -> Path:
    """Publish the models and the encoder of the run folder ``run``, serving ``snapshot``, as
    ``root/current``. ``ids`` is a folder with the maps of the platform's ids, where they are not the
    snapshot's numbers.

    The snapshot gets the users' column ``community`` (``refresh.communities``), whose ids are those of the
    bundle before as far as its communities are; the manifest's fact ``communities`` is the highest id that
    was ever given, ``unbound`` how many follows and friendships bind nobody: loops, and people who are no
    users. ``grouped`` False leaves communities out, for a bundle that no scene with the channel ``community``
    is served from. Where the run has recall towers, the bundle has recall's own vectors too. The statistics
    of the item vectors are always written, so that a scene may begin to centre or whiten without another
    publication: .1 s for 1e5 of 64. From ``karec.refresh.ivf_lists.FROM`` works on, the index that the
    channel ``model`` searches gets lists, for scenes that say ``exact = false``, and the manifest says what
    recall@1000 users get; ``lists`` False leaves them out. Songs and creators are published as kinds of items
    where works have these roles, and ``kinds``, which take the place of those of the same name: scenes
    recommend them (``item_type = "song"``).

    Returns the bundle's folder. The model version is the one that training wrote into the models. ``keep``
    versions stay published, as ``karec.bundle.publish`` says. Raises DataError when the encoder reads
    counters by user and scene and the snapshot has none, and BundleError as ``publish``, or where that recall
    is below .95.
    """
    check_names(kinds)
    encoder = Encoder.load(run / "encoder.npz")
    check_counted_by_scene(encoder, snapshot)
    facts: dict[str, Any] = {UNBOUND: unbound(snapshot)}
    if grouped:
        snapshot, facts[COMMUNITIES] = with_communities(snapshot, root)
    index = build_index(snapshot, encoder, OnnxModel(run / PRERANK.item, threads=0), progress=progress)
    recall = _recall_index(run, snapshot, encoder, progress)
    if lists:
        space, searched = (PRERANK, index) if recall is None else (RECALL, recall)
        facts |= measured_lists(searched, snapshot, encoder, run, space)
    library = Library(index, recall, index, facts)
    return publish_library(
        run, snapshot, root, library, ids=ids, keep=keep, signing_key=signing_key, kinds=kinds
    )


@dataclass(frozen=True, eq=False)
class Library:
    """What is published of works' vectors: in prerank's space, in recall's own or None, and those that kinds
    of items are made of; ``facts`` for the manifest; ``towers`` {file of the bundle: the user tower of an
    earlier version}."""

    index: ItemIndex
    recall: ItemIndex | None
    of_kinds: ItemIndex
    facts: Mapping[str, Any]
    towers: Mapping[str, Path] = field(default_factory=dict)


def publish_library(
    run: Path,
    snapshot: Snapshot,
    root: Path,
    library: Library,
    *,
    ids: Path | None,
    keep: int,
    signing_key: Path | None,
    kinds: Mapping[str, KindOfWorks],
) -> Path:
    """The models and the encoder of ``run``, ``snapshot`` and ``library`` as one bundle; its folder."""
    item_tower = OnnxModel(run / PRERANK.item)
    facts = {"tasks": list(item_tower.tasks), "works": len(snapshot.works), "users": len(snapshot.users)}
    made = {**songs_and_creators(snapshot), **kinds}

    def write(folder: Path) -> None:
        for name in MODELS:
            copy_model(run / name, folder / name)
        shutil.copyfile(run / "encoder.npz", folder / "encoder.npz")
        library.index.save(folder / PRERANK.index)
        VectorStatistics.of(library.index, folder / PRERANK.index).save(folder / FILE)
        if library.recall is not None:
            for name in (RECALL.own, RECALL.item):
                shutil.copyfile(run / name, folder / name)
            library.recall.save(folder / RECALL.index)
        for name, tower in library.towers.items():
            shutil.copyfile(tower, folder / name)
        _save_kinds(made, folder / KINDS, snapshot, library.of_kinds)
        snapshot.save(folder / "snapshot")
        if ids is not None:
            shutil.copytree(ids, folder / IDS)

    version, all_facts = item_tower.model_version, {**facts, **library.facts}
    return publish_folder(root, version, write, all_facts, keep=keep, signing_key=signing_key)


def check_names(kinds: Mapping[str, KindOfWorks]) -> None:
    """ValueError: a kind's name is none."""
    for name in kinds:
        if not name.isidentifier() or name == WORKS:
            raise ValueError(
                f"a kind of items is named {name!r}: expected letters, digits and _, and not {WORKS!r}"
            )


def measured_lists(
    index: ItemIndex, snapshot: Snapshot, encoder: Encoder, models: Path, space: Space
) -> Mapping[str, Any]:
    """Puts the works of ``index`` into lists, where they are so many, and gives the facts that say so.

    ``models``: the folder of the user tower whose vectors ``index`` meets.
    """
    if len(index) < FROM or len(snapshot.users) < 2:  # of users one chooses, one judges
        return {}
    asked = user_vectors(snapshot, encoder, OnnxModel(models / space.own))
    return build_measured_lists(index, asked, space.index).facts()


def _save_kinds(made: Mapping[str, KindOfWorks], folder: Path, snapshot: Snapshot, index: ItemIndex) -> None:
    for name, kind in made.items():
        place = folder / name
        place.mkdir(parents=True)
        kind.kind.save(place)
        kind_index(kind, snapshot, index).save(place / PRERANK.index)


def _recall_index(
    run: Path, snapshot: Snapshot, encoder: Encoder, progress: Progress | None
) -> ItemIndex | None:
    """The works' vectors by the recall tower of ``run``; None where it has none. Steps read no column
    there."""
    if not (run / RECALL.item).exists():
        return None
    tower = OnnxModel(run / RECALL.item, threads=0)
    return build_index(snapshot, encoder, tower, columns={}, progress=progress)


def with_communities(snapshot: Snapshot, root: Path) -> tuple[Snapshot, int]:
    """The snapshot with the column ``community``, and the highest id that a publication gave, −1 for none."""
    try:
        bundle = Bundle.open(root, verify=False)
        former, given = bundle.snapshot, int(bundle.facts.get(COMMUNITIES, NONE))
    except (BundleError, DataError):  # the first one, or one that cannot be read: ids begin at 0
        former, given = None, NONE
    found = communities(snapshot, former, given)
    if found is None:
        return snapshot, given
    users = Table(snapshot.users.ids, {**snapshot.users.columns, COMMUNITY: found})
    return replace(snapshot, users=users), int(found.max(initial=given))


def check_counted_by_scene(encoder: Encoder, snapshot: Snapshot) -> None:
    """DataError: the encoder reads counters by user and scene that the snapshot has not: without them every
    user would look new to every scene, as no user in training did.
    """
    if encoder.scene_counters.counted and snapshot.user_scene_counters is None:
        raise DataError(
            "the snapshot has no user_scene_counters, but the encoder reads "
            f"{list(encoder.scene_counters.counted)} by user and scene: advance the snapshot that training "
            "began with (platform.folds.advance counts them)"
        )
