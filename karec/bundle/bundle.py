"""An open bundle and its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from karec.bundle.in_use import InUse
from karec.bundle.item_types import ItemTypeBundle, kind_names, open_items
from karec.bundle.manifest import MANIFEST, check_files, manifest_of, manifest_text
from karec.bundle.publish import CURRENT
from karec.bundle.replay_process import replay_once, verify_in_child
from karec.bundle.signing import check_signature
from karec.bundle.vector_spaces import PRERANK, RECALL, Space
from karec.bundle.versions import check_version
from karec.catalog.once import Once
from karec.errors import BundleError, IndexFormatError

if TYPE_CHECKING:
    from karec.bundle.ids import BundleIds
    from karec.bundle.vector_statistics import VectorStatistics
    from karec.catalog.snapshot import Snapshot
    from karec.features.encoder import Encoder
    from karec.index import ItemIndex
    from karec.models.onnx_model import OnnxModel

IDS = "ids"  # users.karec, items.karec: where ids are not the numbers of snapshot and index


@dataclass(frozen=True)
class Bundle:
    """An open bundle. Each part is loaded on first use, by whichever thread asks first, and shared by all
    holders."""

    path: Path
    model_version: int
    facts: Mapping[str, Any]
    _held: InUse | None = field(default=None, repr=False, compare=False)
    _parts: Once = field(default_factory=Once, init=False, repr=False, compare=False)

    @classmethod
    def open(
        cls,
        root: str | Path,
        verify: bool = True,
        public_key: str | Path | None = None,
        *,
        apart: bool = False,
    ) -> Bundle:
        """The bundle at ``root``: a bundle's folder, or a folder that holds ``current``.

        ``verify`` reads every file and compares its SHA-256 (about 1 GB/s), then checks what the files hold,
        each by itself and against the others (``karec.bundle.structure``), which loads no model. Then it
        replays a few requests in a child process (``karec.bundle.replay``), once a process for one content.
        False takes all that on trust. ``apart``: the child does all of it, so that threads of this process
        that serve are not held up. ``public_key``: the PEM file of a public ed25519 key that the manifest
        must be signed for; needs ``verify``. Raises BundleError naming file and reason.

        Publishers may come and go meanwhile; they do not remove a bundle that is open
        (karec/bundle/in_use.py).
        """
        if public_key is not None and not verify:
            raise ValueError(
                "a signature says nothing of files that are not verified: leave out verify=False"
            )
        return _while_current_moves(root, lambda folder: cls._open(folder, verify, public_key, apart))

    @classmethod
    def _open(cls, folder: Path, verify: bool, public_key: str | Path | None, apart: bool) -> Bundle:
        held = InUse(folder)
        text = manifest_text(folder)  # read once: what is signed is what is parsed and replayed
        if public_key is not None:
            check_signature(folder, text, Path(public_key))
        manifest = manifest_of(folder, text)
        bundle = cls(folder, manifest["model_version"], manifest["facts"], held)
        if verify and apart:
            verify_in_child(folder, text)
        elif verify:
            from karec.bundle.structure import check_structure

            check_files(folder, manifest["files"])
            check_structure(bundle, manifest["files"].keys())
            replay_once(folder, text)
        return bundle

    @classmethod
    def shared(cls, root: str | Path, public_key: str | Path | None = None, *, apart: bool = False) -> Bundle:
        """As ``open``, but one object for the whole process as long as anybody holds it: opened and verified
        once.

        Any thread may call it. What one holder upserts into ``index`` is seen by all. A bundle that was
        opened with one public key is not taken for another, nor for one without.
        """

        def found(folder: Path) -> Bundle:
            with _open_lock:
                key = (*_identity(folder), None if public_key is None else Path(public_key).resolve())
                bundle = _open.get(key)
                if bundle is None:
                    bundle = _open[key] = cls.open(folder, public_key=public_key, apart=apart)
                return bundle

        return _while_current_moves(root, found)

    @property
    def index(self) -> ItemIndex:
        return self.index_of(PRERANK)

    @property
    def recall_index(self) -> ItemIndex | None:
        """The works' vectors in recall's own space; None where the bundle has none.

        Who writes to ``index`` while it serves writes the same works here: ``upsert`` with a vector of this
        space, ``remove``, ``block``.
        """
        return self.index_of(RECALL) if (self.path / RECALL.index).exists() else None

    @property
    def n_probe(self) -> int | None:
        """How many lists ``model`` reads of the index that it searches, where a scene says ``exact = false``.

        Measured when the bundle was published; None where that index has no lists.
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
        """Of the vectors of ``index``; None where the bundle has none, as one of an earlier karec."""
        return self._parts.get("vector_statistics", self._open_statistics)

    @property
    def naming(self) -> BundleIds | None:
        """Between the platform's ids and the numbers of snapshot and index; None where they are the same."""
        return self._parts.get("naming", self._open_naming)

    def naming_of(self, maps: Sequence[str]) -> BundleIds | None:
        """As ``naming``, with items that the first map of ``maps`` names which is there, else with plain
        numbers."""
        from karec.bundle.ids import BundleIds
        from karec.index import IdMap
        from karec.index.ids import PlainIds

        if self.naming is None:
            return None
        found = [path for path in (self.path / IDS / f"{name}.karec" for name in maps) if path.exists()]
        items = IdMap.open(found[0], verify=False) if found else PlainIds()
        return BundleIds(self.naming.users, items)

    @property
    def user_tower(self) -> OnnxModel:
        return self._model(PRERANK.own)

    @property
    def user_towers(self) -> Mapping[int, OnnxModel]:
        """{model version: user tower}: the bundle's own, and each ``user_tower.v<ten digits>.onnx``, of
        others."""
        return self.user_towers_of(PRERANK)

    @property
    def recall_user_towers(self) -> Mapping[int, OnnxModel]:
        """As ``user_towers``, of recall's own space; empty where the bundle has none."""
        return self.user_towers_of(RECALL) if (self.path / RECALL.own).exists() else MappingProxyType({})

    @property
    def item_tower(self) -> OnnxModel:
        return self.item_tower_of(PRERANK)

    @property
    def ranker(self) -> OnnxModel:
        return self._model("ranker.onnx")

    @property
    def kinds(self) -> list[str]:
        """The kinds of items beside works."""
        return kind_names(self.path)

    def kind(self, name: str) -> ItemTypeBundle:
        """The bundle as scenes of the kind ``name`` see it; its index and items are opened on first use and
        shared.

        LookupError: the bundle has no such kind.
        """
        if name not in self.kinds:
            raise LookupError(
                f"the bundle {self.path} has no items of the kind {name!r}; it has {self.kinds}"
            )
        return ItemTypeBundle(self, name, *self._parts.get(("kind", name), lambda: open_items(self, name)))

    def index_of(self, space: Space) -> ItemIndex:
        return self._parts.get(space.index, lambda: self._open_index(space))

    def user_towers_of(self, space: Space) -> Mapping[int, OnnxModel]:
        return self._parts.get(space.user_tower, lambda: self._open_user_towers(space))

    def item_tower_of(self, space: Space) -> OnnxModel:
        return self._model(space.item)

    def _open_index(self, space: Space) -> ItemIndex:
        from karec.index import ItemIndex

        index = ItemIndex.open(self.path / space.index)
        check_version(self.path / space.index, index.model_version, self.model_version)
        return index

    def _open_statistics(self) -> VectorStatistics | None:
        from karec.bundle.vector_statistics import FILE, VectorStatistics

        path = self.path / FILE
        if not path.exists():
            return None
        statistics = VectorStatistics.open(path)
        statistics.check(path, self.model_version, self.index.dim)
        return statistics

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

    def _open_user_towers(self, space: Space) -> Mapping[int, OnnxModel]:
        from karec.models.onnx_model import OnnxModel

        towers = {self.model_version: self._model(space.own)}
        for path in sorted(self.path.glob(space.others)):
            tower = OnnxModel(path)
            check_version(path, tower.model_version, self.model_version)
            towers[tower.model_version] = tower
        return MappingProxyType(towers)


_open: WeakValueDictionary[tuple[object, ...], Bundle] = WeakValueDictionary()  # for ``Bundle.shared``
_open_lock = Lock()


def _folder_of(root: str | Path) -> Path:
    """The bundle's own folder: ``root``, or what ``root/current`` points at."""
    root = Path(root)
    try:
        return (root / CURRENT if (root / CURRENT).exists() else root).resolve()
    except (OSError, RuntimeError) as error:  # links that lead to each other
        raise BundleError(f"{root} is not a bundle: {error}") from error


def _while_current_moves(root: str | Path, opened: Callable[[Path], Bundle]) -> Bundle:
    """``opened(folder)`` of the bundle's folder; again where that fails and ``root`` leads to another one by
    now.

    The folder that was ``current`` a moment ago may be retired before it is opened.
    """
    while True:
        folder = _folder_of(root)
        try:
            return opened(folder)
        except BundleError:
            if _folder_of(root) == folder:
                raise


def identity_of(root: str | Path) -> tuple[object, ...]:
    """Tells the bundle that ``root`` leads to now from any other, in another folder or written to the same
    one later.

    No file is read. BundleError: links in ``root`` lead to each other.
    """
    return _identity(_folder_of(root))


def _identity(folder: Path) -> tuple[object, ...]:
    try:
        status = (folder / MANIFEST).stat()
    except OSError:  # there is none: refused when it is opened
        return (folder,)
    return folder, status.st_ino, status.st_mtime_ns
