"""A bundle as the scenes of one kind of items see it: ``kinds/NAME/`` holds the kind's items and their index.

Items other than works have no towers of their own. Their vectors lie in the space of prerank's item vectors
(``karec.refresh.item_types`` makes them), so that the bundle's user towers serve every kind, and its users,
friends and models are there once for all scenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karec.bundle.vector_spaces import PRERANK
from karec.bundle.versions import check_version
from karec.errors import BundleError, IndexFormatError

if TYPE_CHECKING:
    from karec.bundle.ids import BundleIds
    from karec.catalog.snapshot import Snapshot
    from karec.features.encoder import Encoder
    from karec.index import ItemIndex
    from karec.models.onnx_model import OnnxModel

KINDS = "kinds"
# maps of ids that name items, where their ids are texts
MAPS = {"creator": ("creators",), "song": ("songs",)}


class Whole(Protocol):
    """What a bundle has for items of every kind."""

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
    def naming_of(self, maps: Sequence[str]) -> BundleIds | None: ...


def kind_names(folder: Path) -> list[str]:
    """The kinds that the bundle in ``folder`` holds beside works."""
    return sorted(path.name for path in (folder / KINDS).glob("*") if path.is_dir())


def open_items(bundle: Whole, name: str) -> tuple[ItemIndex, Snapshot]:
    """The index of a kind, mapped, and the platform with its items for works. BundleError: damaged."""
    from karec.catalog.item_types import ItemType
    from karec.index import ItemIndex

    folder = bundle.path / KINDS / name
    path = folder / PRERANK.index
    try:
        index = ItemIndex.open(path)
    except (OSError, IndexFormatError) as error:
        raise BundleError(f"{path}: {error}") from error
    tower = PRERANK.user_tower_of(index.model_version, bundle.model_version)
    # while another version rolls in, kinds stay behind until works are through
    if not (bundle.path / tower).exists():
        check_version(path, index.model_version, bundle.model_version)
    return index, ItemType.open(folder).to_snapshot(bundle.snapshot)


@dataclass(frozen=True)
class ItemTypeBundle:
    """What a scene of the kind ``name`` reads in place of the bundle. Cheap to make: index and items are the
    bundle's.

    What is of works alone is not there: no ranker, no recall space, no statistics of vectors.
    """

    bundle: Whole
    name: str
    index: ItemIndex = field(repr=False)
    snapshot: Snapshot = field(repr=False)
    recall_index: None = field(default=None, init=False)
    vector_statistics: None = field(default=None, init=False)
    n_probe: None = field(default=None, init=False)
    recall_user_towers: Mapping[int, OnnxModel] = field(
        default_factory=lambda: MappingProxyType({}), init=False
    )

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
    def ranker(self) -> Any:
        """LookupError: the bundle's ranker knows works."""
        raise LookupError(
            f"the bundle's ranker knows works and no items of the kind {self.name!r}: leave out the steps "
            "ranker, fusion, rank_log and shadow, and order by inner_product and blend"
        )

    @property
    def naming(self) -> BundleIds | None:
        """As ``Bundle.naming``; items that have no map of ids are named by their numbers."""
        return self.bundle.naming_of(MAPS.get(self.name, ()))

    def show_only(self, ids: NDArray[Any]) -> None:
        """From the next request on scenes find ``ids`` alone, as rooms that are on, until the next call.
        O(items).

        Nothing is published: the others are blocked in the index of this process. Who goes is blocked before
        who comes is let in, so that no request sees an item that is in neither list.
        """
        with self.index.pinned() as view:
            known = view.ids[view.present]
        self.index.block(np.setdiff1d(known, ids))
        self.index.unblock(np.intersect1d(known, ids))
