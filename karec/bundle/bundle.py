"""Opens a bundle and its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from karec.bundle.in_use import InUse
from karec.bundle.item_types import ItemTypeBundle, item_type_names, open_items
from karec.bundle.manifest import MANIFEST, check_files, check_signature, manifest_of, manifest_text
from karec.bundle.publish import CURRENT
from karec.bundle.smoke import run_smoke, run_smoke_once
from karec.bundle.tower_files import (
    CROSS_WEIGHTS,
    INDEX,
    ITEM_TOWER,
    OTHER_USER_TOWERS,
    USER_TOWER,
    check_version,
    cross_weights_file,
)
from karec.bundle.verify import check_contents
from karec.catalog.once import Once
from karec.errors import BundleError, IndexFormatError

if TYPE_CHECKING:
    from karec.bundle.ids import BundleIds
    from karec.bundle.vector_statistics import VectorStatistics
    from karec.catalog.snapshot import Snapshot
    from karec.features.cross_tables import CrossTables
    from karec.features.encoder import Encoder
    from karec.index import ItemIndex
    from karec.models.onnx_model import OnnxModel

IDS = "ids"  # folder with users.karec and items.karec, if ids are not the numbers of snapshot and index


@dataclass(frozen=True)
class Bundle:
    """An open bundle. A part is loaded on first use and then shared. Any thread."""

    path: Path
    model_version: int
    facts: Mapping[str, Any]
    _in_use: InUse | None = field(default=None, repr=False, compare=False)
    _parts: Once = field(default_factory=Once, init=False, repr=False, compare=False)

    @classmethod
    def open(
        cls,
        root: str | Path,
        verify: bool = True,
        public_key: str | Path | None = None,
        *,
        in_child: bool = False,
    ) -> Bundle:
        """Opens the bundle at ``root``: a bundle's folder, or a folder with the link ``current``.

        Publishers do not remove a bundle that is open (karec/bundle/in_use.py).

        Args:
            verify: compares the SHA-256 of every file (about 1 GB/s), checks the contents of files
                (``karec.bundle.verify``), and runs each model in a child process with limits
                (``karec.bundle.smoke``), once a process for one content. No model is loaded before.
            public_key: the PEM file of the ed25519 key for which the manifest must be signed. Needs
                ``verify``.
            in_child: the child process does all of the verification, so that requests of this process are not
                delayed.

        Raises:
            BundleError: names file and reason.
        """
        if public_key is not None and not verify:
            raise ValueError("public_key needs verify=True: a signature covers only the manifest")
        return _retry_while_current_moves(
            root, lambda folder: cls._open(folder, verify, public_key, in_child)
        )

    @classmethod
    def _open(cls, folder: Path, verify: bool, public_key: str | Path | None, in_child: bool) -> Bundle:
        in_use = InUse(folder)
        text = manifest_text(folder)  # read once: the signed bytes are the ones that are parsed
        if public_key is not None:
            check_signature(folder, text, Path(public_key))
        manifest = manifest_of(folder, text)
        bundle = cls(folder, manifest["model_version"], manifest["facts"], in_use)
        if verify and in_child:
            run_smoke(folder, manifest=text)
        elif verify:
            check_files(folder, manifest["files"])
            check_contents(bundle)
            run_smoke_once(folder, text)
        return bundle

    @classmethod
    def shared(
        cls, root: str | Path, public_key: str | Path | None = None, *, in_child: bool = False
    ) -> Bundle:
        """Returns the one open bundle of this process with this content and ``public_key``.

        The first call opens and verifies it; it stays open until its last reference goes. All holders see
        changes of its ``index``. Any thread.
        """

        def open_once(folder: Path) -> Bundle:
            with _open_lock:
                key = (*_identity(folder), None if public_key is None else Path(public_key).resolve())
                bundle = _open.get(key)
                if bundle is None:
                    bundle = _open[key] = cls.open(folder, public_key=public_key, in_child=in_child)
                return bundle

        return _retry_while_current_moves(root, open_once)

    @property
    def index(self) -> ItemIndex:
        return self._parts.get("index", self._open_index)

    @property
    def n_probe(self) -> int | None:
        """The number of lists that the source ``model`` searches in a scene with ``exact = false``.

        It was measured at publication. None if the index has no lists.
        """
        lists = self.facts.get("lists")
        return None if lists is None else int(lists["n_probe"])

    @property
    def snapshot(self) -> Snapshot:
        from karec.catalog.snapshot import Snapshot

        return self._parts.get("snapshot", lambda: Snapshot.open(self.path / "snapshot"))

    @property
    def encoder(self) -> Encoder:
        from karec.features.encoder import Encoder

        return self._parts.get("encoder", lambda: Encoder.load(self.path / "encoder.npz"))

    @property
    def vector_statistics(self) -> VectorStatistics | None:
        """Statistics of the vectors of ``index``; None without the file."""
        return self._parts.get("vector_statistics", self._open_statistics)

    @property
    def naming(self) -> BundleIds | None:
        """Maps between the platform's ids and the numbers of snapshot and index; None if they are equal."""
        return self._parts.get("naming", self._open_naming)

    def naming_of(self, maps: Sequence[str]) -> BundleIds | None:
        """Returns the id maps of users and, by the first existing file of ``maps``, of items.

        Without such a file, ids of items are numbers. Equal ``maps`` return the same object.
        """
        from karec.bundle.ids import BundleIds
        from karec.index import IdMap
        from karec.index.ids import PlainIds

        if self.naming is None:
            return None
        users = self.naming.users
        paths = [path for path in (self.path / IDS / f"{name}.karec" for name in maps) if path.exists()]

        def open_ids() -> BundleIds:
            return BundleIds(users, IdMap.open(paths[0], verify=False) if paths else PlainIds())

        return self._parts.get(("naming", *maps), open_ids)

    @property
    def user_tower(self) -> OnnxModel:
        return self._model(USER_TOWER)

    @property
    def user_towers(self) -> Mapping[int, OnnxModel]:
        """{model version: user tower}: the bundle's own and each ``user_tower.v<ten digits>.onnx``."""
        return self._parts.get("user_towers", self._open_user_towers)

    @property
    def cross_tables(self) -> Mapping[int, CrossTables]:
        """{model version: maker of the tables of wide towers}; empty if the towers are not wide."""
        return self._parts.get("cross_tables", self._open_cross_tables)

    @property
    def item_tower(self) -> OnnxModel:
        return self._model(ITEM_TOWER)

    @property
    def ranker(self) -> OnnxModel:
        return self._model("ranker.onnx")

    @property
    def item_types(self) -> list[str]:
        """The item types other than works."""
        return item_type_names(self.path)

    def item_type(self, name: str) -> ItemTypeBundle:
        """Returns the bundle for scenes of the item type ``name``. Index and items are opened once.

        Raises LookupError if the bundle has no such item type.
        """
        if name not in self.item_types:
            raise LookupError(
                f"the bundle {self.path} has no items of the type {name!r}; it has {self.item_types}"
            )
        parts = self._parts.get(("item_type", name), lambda: open_items(self, name))
        return ItemTypeBundle(self, name, *parts)

    def _open_index(self) -> ItemIndex:
        from karec.index import ItemIndex

        index = ItemIndex.open(self.path / INDEX)
        check_version(self.path / INDEX, index.model_version, self.model_version)
        return index

    def _open_statistics(self) -> VectorStatistics | None:
        from karec.bundle.vector_statistics import FILE, VectorStatistics

        path = self.path / FILE
        if not path.exists():
            return None
        statistics = VectorStatistics.open(path)
        statistics.check(path, self.model_version, self.index.dim)
        return statistics

    def _open_cross_tables(self) -> Mapping[int, CrossTables]:
        from karec.features.cross_tables import CrossTables

        if not (self.path / CROSS_WEIGHTS).exists():
            if self.index.code_columns:
                raise BundleError(f"{self.path / CROSS_WEIGHTS} is missing, but the index has code columns")
            return MappingProxyType({})
        by_version = {}
        for version in {self.model_version, *self.index.model_versions}:
            path = self.path / cross_weights_file(version, self.model_version)
            tables = CrossTables.load(path, self.encoder)
            if tables.categories != self.index.code_columns:
                raise BundleError(
                    f"{self.path / INDEX}: code columns are {list(self.index.code_columns)}, expected "
                    f"{list(tables.categories)} of {path.name}. Publish the run again."
                )
            by_version[version] = tables
        return MappingProxyType(by_version)

    def _open_naming(self) -> BundleIds | None:
        from karec.bundle.ids import BundleIds
        from karec.index import IdMap

        if not (self.path / IDS).is_dir():
            return None
        try:
            users, items = (
                IdMap.open(self.path / IDS / f"{table}.karec", verify=False) for table in ("users", "items")
            )
            return BundleIds(users, items)
        except (OSError, IndexFormatError) as error:
            raise BundleError(f"{self.path / IDS}: {error}") from error

    def _model(self, name: str) -> OnnxModel:
        return self._parts.get(name, lambda: self._open_model(name))

    def _open_model(self, name: str) -> OnnxModel:
        from karec.models.onnx_model import OnnxModel

        model = OnnxModel(self.path / name)
        check_version(model.path, model.model_version, self.model_version)
        return model

    def _open_user_towers(self) -> Mapping[int, OnnxModel]:
        from karec.models.onnx_model import OnnxModel

        towers = {self.model_version: self.user_tower}
        for path in sorted(self.path.glob(OTHER_USER_TOWERS)):
            tower = OnnxModel(path)
            check_version(path, tower.model_version, self.model_version)
            towers[tower.model_version] = tower
        return MappingProxyType(towers)


_open: WeakValueDictionary[tuple[object, ...], Bundle] = WeakValueDictionary()  # for ``Bundle.shared``
_open_lock = Lock()


def _folder_of(root: str | Path) -> Path:
    """Returns the bundle's folder: ``root`` or the target of ``root/current``."""
    root = Path(root)
    try:
        return (root / CURRENT if (root / CURRENT).exists() else root).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise BundleError(f"{root} is not a bundle: {error}") from error


def _retry_while_current_moves(root: str | Path, open_folder: Callable[[Path], Bundle]) -> Bundle:
    """Opens the bundle's folder; if that fails and ``root`` leads to another folder by now, opens that one.

    A publisher may remove the folder that was ``current`` before it is opened.
    """
    while True:
        folder = _folder_of(root)
        try:
            return open_folder(folder)
        except BundleError:
            if _folder_of(root) == folder:
                raise


def identity_of(root: str | Path) -> tuple[object, ...]:
    """Returns a value that differs for another bundle, also for one written later to the same folder.

    It reads no file. Raises BundleError if the links of ``root`` form a loop.
    """
    return _identity(_folder_of(root))


def _identity(folder: Path) -> tuple[object, ...]:
    try:
        status = (folder / MANIFEST).stat()
    except OSError:  # no manifest: opening it will be refused
        return (folder,)
    return folder, status.st_ino, status.st_mtime_ns
