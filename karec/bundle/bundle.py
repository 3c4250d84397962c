"""An open bundle and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from karec._once import Once
from karec.bundle.manifest import MANIFEST, check_files, read_manifest
from karec.bundle.publishing import CURRENT
from karec.bundle.replay_process import replay_once
from karec.bundle.signing import check_signature
from karec.errors import BundleError, IndexFormatError

if TYPE_CHECKING:
    from karec.bundle.naming import IdNaming
    from karec.features.encoder import Encoder
    from karec.index import ItemIndex
    from karec.models.onnx_model import OnnxModel
    from karec.platform.snapshot import Snapshot

IDS = "ids"  # users.karec, items.karec: where ids are not the numbers of snapshot and index


@dataclass(frozen=True)
class Bundle:
    """An open bundle. Each part is loaded on first use, by whichever thread asks first, and shared by all holders."""

    path: Path
    model_version: int
    facts: Mapping[str, Any]
    _parts: Once = field(default_factory=Once, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, root: str | Path, verify: bool = True, public_key: str | Path | None = None) -> Bundle:
        """The bundle at ``root``: a bundle's folder, or a folder that holds ``current``.

        ``verify`` reads every file and compares its SHA-256 (about 1 GB/s). Raises BundleError naming the file.
        It also replays a few requests in a child process (``karec.bundle.replay``), once a process for one content.
        ``public_key``: the PEM file of a public ed25519 key that the manifest must be signed for; needs ``verify``.
        """
        folder = _folder_of(root)
        if public_key is not None:
            if not verify:
                raise ValueError("a signature says nothing of files that are not verified: leave out verify=False")
            check_signature(folder, Path(public_key))
        manifest = read_manifest(folder)
        if verify:
            check_files(folder, manifest["files"])
            replay_once(folder)
        return cls(folder, manifest["model_version"], manifest["facts"])

    @classmethod
    def shared(cls, root: str | Path, public_key: str | Path | None = None) -> Bundle:
        """As ``open``, but one object for the whole process as long as anybody holds it: opened and verified once.

        Any thread may call it. What one holder upserts into ``index`` is seen by all. A bundle that was opened with one
        public key is not taken for another, nor for one without.
        """
        folder = _folder_of(root)
        with _open_lock:
            key = (*_identity(folder), None if public_key is None else Path(public_key).resolve())
            found = _open.get(key)
            if found is None:
                found = _open[key] = cls.open(folder, public_key=public_key)
            return found

    @property
    def index(self) -> ItemIndex:
        return self._parts.get("index", self._open_index)

    @property
    def snapshot(self) -> Snapshot:
        from karec.platform.snapshot import Snapshot

        return self._parts.get("snapshot", lambda: Snapshot.open(self.path / "snapshot"))

    @property
    def encoder(self) -> Encoder:
        from karec.features.encoder import Encoder

        return self._parts.get("encoder", lambda: Encoder.load(self.path / "encoder.npz"))

    @property
    def naming(self) -> IdNaming | None:
        """Between the platform's ids and the numbers of snapshot and index; None where they are the same."""
        return self._parts.get("naming", self._open_naming)

    @property
    def user_tower(self) -> OnnxModel:
        return self._model("user_tower.onnx")

    @property
    def user_towers(self) -> Mapping[int, OnnxModel]:
        """{model version: user tower}: the bundle's own, and each ``user_tower.v<ten digits>.onnx``, of others."""
        return self._parts.get("user_towers", self._open_user_towers)

    @property
    def item_tower(self) -> OnnxModel:
        return self._model("item_tower.onnx")

    @property
    def ranker(self) -> OnnxModel:
        return self._model("ranker.onnx")

    def _open_index(self) -> ItemIndex:
        from karec.index import ItemIndex

        index = ItemIndex.open(self.path / "index.karec")
        self._same_version("index.karec", index.model_version)
        return index

    def _open_naming(self) -> IdNaming | None:
        from karec.bundle.naming import IdNaming
        from karec.ids import IdMap

        if not (self.path / IDS).is_dir():
            return None
        try:
            return IdNaming(
                *(IdMap.open(self.path / IDS / f"{table}.karec", verify=False) for table in ("users", "items"))
            )
        except (OSError, IndexFormatError) as error:
            raise BundleError(f"{self.path / IDS}: {error}") from error

    def _model(self, name: str) -> OnnxModel:
        return self._parts.get(name, lambda: self._open_model(name))

    def _open_model(self, name: str) -> OnnxModel:
        from karec.models.onnx_model import OnnxModel

        model = OnnxModel(self.path / name)
        self._same_version(name, model.model_version)
        return model

    def _open_user_towers(self) -> Mapping[int, OnnxModel]:
        from karec.models.onnx_model import OnnxModel

        towers = {self.model_version: self.user_tower}
        for path in sorted(self.path.glob("user_tower.v*.onnx")):
            tower = OnnxModel(path)
            if path.name != f"user_tower.v{tower.model_version:010d}.onnx" or tower.model_version in towers:
                raise BundleError(
                    f"{path} is of model version {tower.model_version}, its bundle of {self.model_version}: the tower "
                    "of another version N is called user_tower.vN.onnx, N in ten digits"
                )
            towers[tower.model_version] = tower
        return MappingProxyType(towers)

    def _same_version(self, name: str, version: int) -> None:
        if version != self.model_version:
            raise BundleError(f"{self.path / name} is of model version {version}, its bundle of {self.model_version}")


_open: WeakValueDictionary[tuple[object, ...], Bundle] = WeakValueDictionary()  # for ``Bundle.shared``
_open_lock = Lock()


def _folder_of(root: str | Path) -> Path:
    """The bundle's own folder: ``root``, or what ``root/current`` points at."""
    root = Path(root)
    return (root / CURRENT if (root / CURRENT).exists() else root).resolve()


def _identity(folder: Path) -> tuple[object, ...]:
    """Tells a bundle from another that was written to the same folder later."""
    path = folder / MANIFEST
    if not path.exists():
        return (folder,)
    status = path.stat()
    return folder, status.st_ino, status.st_mtime_ns
