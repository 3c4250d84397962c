"""A bundle as scenes of one item type other than works read it: ``kinds/NAME/`` holds its items and index.

These items have no towers. Their vectors are in the space of prerank's item vectors
(``karec.refresh.item_types`` makes them), so the bundle's user towers serve every item type. Users, relations
and models exist once for all scenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karec.bundle.tower_files import INDEX, check_version, user_tower_file
from karec.errors import BundleError, IndexFormatError

if TYPE_CHECKING:
    from karec.bundle.ids import BundleIds
    from karec.catalog.snapshot import Snapshot
    from karec.features.cross_tables import CrossTables
    from karec.features.encoder import Encoder
    from karec.index import ItemIndex
    from karec.models.onnx_model import OnnxModel

KINDS = "kinds"
# files with the ids of these items, if ids are strings
MAPS = {"creator": ("creators",), "song": ("songs",)}


class SharedParts(Protocol):
    """The parts of a bundle that serve all item types."""

    @property
    def path(self) -> Path: ...
    @property
    def model_version(self) -> int: ...
    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def encoder(self) -> Encoder: ...
    @property
    def user_tower(self) -> OnnxModel: ...
    @property
    def user_towers(self) -> Mapping[int, OnnxModel]: ...
    @property
    def ranker(self) -> OnnxModel: ...
    def naming_of(self, maps: Sequence[str]) -> BundleIds | None: ...


def item_type_names(folder: Path) -> list[str]:
    """Returns the item types other than works of the bundle in ``folder``."""
    return sorted(path.name for path in (folder / KINDS).glob("*") if path.is_dir())


def open_items(bundle: SharedParts, name: str) -> tuple[ItemIndex, Snapshot]:
    """Returns the mapped index of an item type, and the snapshot with its items in place of works. Raises
    BundleError if the index is damaged."""
    from karec.catalog.item_types import ItemType
    from karec.index import ItemIndex

    folder = bundle.path / KINDS / name
    path = folder / INDEX
    try:
        index = ItemIndex.open(path)
    except (OSError, IndexFormatError) as error:
        raise BundleError(f"{path}: {error}") from error
    tower = user_tower_file(index.model_version, bundle.model_version)
    # in a rolling refresh, other item types keep the earlier model version until all works have the new one
    if not (bundle.path / tower).exists():
        check_version(path, index.model_version, bundle.model_version)
    return index, ItemType.open(folder).to_snapshot(bundle.snapshot, name)


@dataclass(frozen=True)
class ItemTypeBundle:
    """The part of a bundle for scenes of the item type ``name``. It shares index and items with the bundle.

    Vector statistics and tables of wide towers exist only for works.
    """

    bundle: SharedParts
    name: str
    index: ItemIndex = field(repr=False)
    snapshot: Snapshot = field(repr=False)
    vector_statistics: None = field(default=None, init=False)
    cross_tables: Mapping[int, CrossTables] = field(default_factory=dict, init=False)
    n_probe: None = field(default=None, init=False)

    @property
    def path(self) -> Path:
        return self.bundle.path

    @property
    def model_version(self) -> int:
        return self.bundle.model_version

    @property
    def encoder(self) -> Encoder:
        return self.bundle.encoder

    @property
    def user_tower(self) -> OnnxModel:
        return self.bundle.user_tower

    @property
    def user_towers(self) -> Mapping[int, OnnxModel]:
        return self.bundle.user_towers

    @property
    def ranker(self) -> OnnxModel:
        """The bundle's ranker, whose tasks are the labels of this item type.

        Raises LookupError if it was trained without impressions of the type.
        """
        if self.name not in self.encoder.learned_labels:
            raise LookupError(
                f"the bundle's ranker has not learned items of the type {self.name!r}. Train it on "
                "impressions of this type, or leave out the steps ranker, fusion and shadow, and order by "
                "inner_product and blend"
            )
        return self.bundle.ranker.with_tasks(self.encoder.learned_labels[self.name])

    @property
    def naming(self) -> BundleIds | None:
        """Maps of ids as ``Bundle.naming``. Items without a map have their numbers as ids."""
        return self.bundle.naming_of(MAPS.get(self.name, (f"items.{self.name}",)))

    def set_open(self, ids: NDArray[Any]) -> None:
        """Blocks all items except ``ids``, for example open rooms, until the next call.

        It changes only the index of this process. Closed items are blocked before new ones are unblocked, so
        no request sees an item that is in neither list. Cost: O(items).
        """
        with self.index.pinned() as view:
            known = view.ids[view.present]
        self.index.block(np.setdiff1d(known, ids))
        self.index.unblock(np.intersect1d(known, ids))
