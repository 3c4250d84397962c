"""A published bundle: everything that one model version serves with, in one folder that never changes.

    ROOT/current            → v0000000007        a symbolic link, swapped by one atomic rename
    ROOT/v0000000007/manifest.json               format, model_version, {file: sha256, bytes}, facts
                    /manifest.txt                the same for C++ hosts: model_version, each file's bytes and XXH64
                    /user_tower.onnx item_tower.onnx ranker.onnx
                    /user_tower.v0000000006.onnx …   optional: of other versions that rows of the index are of
                    /encoder.npz /index.karec /snapshot/…

``publish`` fills a temporary folder, writes the manifest and renames. ``Bundle.open`` refuses a folder whose files
differ from the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from karec._backend import library as _native
from karec._files import folder_aside, link_aside
from karec._once import Once
from karec._sealed_text import line, sealed_text
from karec.errors import BundleError

if TYPE_CHECKING:
    from karec.features.encoder import Encoder
    from karec.index import ItemIndex
    from karec.models.onnx_model import OnnxModel
    from karec.platform.snapshot import Snapshot

FORMAT = 1
MANIFEST = "manifest.json"
HOST_MANIFEST = "manifest.txt"
CURRENT = "current"


@dataclass(frozen=True)
class Bundle:
    """An open bundle. Each part is loaded on first use, by whichever thread asks first, and shared by all holders."""

    path: Path
    model_version: int
    facts: Mapping[str, Any]
    _parts: Once = field(default_factory=Once, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, root: str | Path, verify: bool = True) -> Bundle:
        """The bundle at ``root``: a bundle's folder, or a folder that holds ``current``.

        ``verify`` reads every file and compares its SHA-256 (about 1 GB/s). Raises BundleError naming the file.
        """
        folder = _folder_of(root)
        manifest = _read_manifest(folder)
        if verify:
            _verify(folder, manifest["files"])
        return cls(folder, manifest["model_version"], manifest["facts"])

    @classmethod
    def shared(cls, root: str | Path) -> Bundle:
        """As ``open``, but one object for the whole process as long as anybody holds it: opened and verified once.

        Any thread may call it. What one holder upserts into ``index`` is seen by all.
        """
        folder = _folder_of(root)
        with _open_lock:
            key = _identity(folder)
            found = _open.get(key)
            if found is None:
                found = _open[key] = cls.open(folder)
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


def publish(
    root: Path, model_version: int, write: Callable[[Path], None], facts: Mapping[str, Any] | None = None
) -> Path:
    """Publish what ``write`` puts into an empty folder: add the manifests, then make it ``root/current``. Its folder.

    A publisher that fails or is killed leaves the old ``current`` as it was. Raises BundleError when ``model_version``
    has been published before.
    """
    root.mkdir(parents=True, exist_ok=True)
    final = root / f"v{model_version:010d}"
    if final.exists():
        raise BundleError(f"{final} is published already; a version never changes, publish the next one")
    with folder_aside(final) as name:
        aside = Path(name)
        write(aside)
        (aside / HOST_MANIFEST).write_text(_host_manifest(aside, model_version), encoding="ascii")
        files = {str(p.relative_to(aside)): _fingerprint(p) for p in sorted(aside.rglob("*")) if p.is_file()}
        manifest = {"format": FORMAT, "model_version": model_version, "facts": dict(facts or {}), "files": files}
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
    link_aside(root / CURRENT, final.name)
    return final


def next_version(root: Path) -> int:
    """The model version after the last one published under ``root``; 1 where nothing is."""
    published = [int(path.name[1:]) for path in root.glob("v*") if path.name[1:].isdigit()]
    return max(published, default=0) + 1


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


def _host_manifest(folder: Path, model_version: int) -> str:
    lines = [line("model_version", str(model_version))]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sums = {"bytes": path.stat().st_size, "xxh64": f"{_native.xxh64_of_file(os.fsencode(path)):016x}"}
        lines.append(line("file", str(path.relative_to(folder)), sums))
    return sealed_text("karec-bundle", lines)


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except OSError as error:
        raise BundleError(f"{folder} is not a bundle: {MANIFEST} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    expected = {"format", "model_version", "facts", "files"}
    if not isinstance(manifest, dict) or not expected <= manifest.keys():
        raise BundleError(f"{path} lacks some of {sorted(expected)}")
    kinds = {"model_version": int, "facts": dict, "files": dict}
    for key, kind in kinds.items():
        if not isinstance(manifest[key], kind):
            raise BundleError(f"{path}: {key} is {manifest[key]!r}, expected {kind.__name__}")
    if manifest["format"] != FORMAT:
        raise BundleError(f"{path} is of format {manifest['format']}; this karec reads {FORMAT}")
    return manifest


def _verify(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is in the manifest but not in the bundle")
        if path.stat().st_size != wanted["bytes"]:
            raise BundleError(f"{path} has {path.stat().st_size} bytes, the manifest says {wanted['bytes']}")
        if _fingerprint(path)["sha256"] != wanted["sha256"]:
            raise BundleError(f"{path} is not what was published: its SHA-256 differs from the manifest's")
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    strangers = sorted(present - files.keys() - {MANIFEST})
    if strangers:
        raise BundleError(f"{folder / strangers[0]} is in the bundle but not in its manifest")
