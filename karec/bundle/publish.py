"""Publishing: a folder written aside, two manifests, one rename, one link; then old versions go.

One publisher works in a root at a time, under a lock on the root's folder that ends with its process: a
second one waits until the first is done or dead. So what lies aside in the root when a publisher begins is a
dead one's, and goes. Readers take no part in that: they open what ``current`` names, whenever they like.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from karec import _native
from karec.bundle.in_use import alone_in
from karec.bundle.manifest import FORMAT, MANIFEST, SIGNATURE, fingerprint, manifest_of, manifest_text
from karec.bundle.sealed_text import format_line, seal_lines
from karec.bundle.signing import read_signing_key
from karec.errors import BundleError
from karec.files import ASIDE, folder_aside, link_aside, remove_folder

HOST_MANIFEST = "manifest.txt"
CURRENT = "current"
LEFTOVER = re.compile(rf"(v[0-9]{{10,}}|{CURRENT}){ASIDE}")


def publish_folder(
    root: Path,
    model_version: int,
    write: Callable[[Path], None],
    facts: Mapping[str, Any] | None = None,
    *,
    keep: int | None = None,
    signing_key: Path | None = None,
) -> Path:
    """Publish what ``write`` puts into an empty folder: add the manifests, then make it ``root/current``. Its
    folder.

    Where ``current`` names a later version already, it stays there: ``make_current`` alone moves it back.
    ``keep`` versions stay, the highest; of the others, this one, ``current`` and what a process of this
    machine has open stay too, and one that cannot be removed is warned of. None keeps all. ``signing_key``:
    the PEM file of a private ed25519 key, which signs the manifest.

    A publisher that is killed leaves ``current`` as it was. One that fails also removes what it wrote.
    BundleError: ``model_version`` has been published before, or the file system refuses something (full,
    read-only, without locks); it tells what and where. What ``write`` raises else is passed on. ``write``
    must not publish into the same root.
    """
    if keep is not None and keep < 1:
        raise ValueError(f"keep is {keep}; at least one version stays published")
    key = None if signing_key is None else read_signing_key(signing_key)
    final = root / f"v{model_version:010d}"
    with _only_publisher(root, f"{final} was not published"):
        if os.path.lexists(final):
            raise BundleError(f"{final} is published already; a version never changes, publish the next one")
        written = -1
        try:
            with folder_aside(final) as name:
                written = os.stat(name).st_ino
                write(Path(name))
                _seal(Path(name), model_version, facts, key)
            if _current_version(root) < model_version:
                link_aside(root / CURRENT, final.name)
        except BaseException:
            _undo(final, written)
            raise
        if keep is not None:
            _retire(root, keep, model_version)
    return final


def make_current(root: Path, model_version: int) -> None:
    """``root/current`` names ``model_version``, a published version that may be older than the one that it
    named.

    The next ``publish`` of a later version moves it on. BundleError: there is no such version, or as for
    ``publish``.
    """
    folder = root / f"v{model_version:010d}"
    with _only_publisher(root, f"{root / CURRENT} was not moved to {folder.name}"):
        manifest_of(folder, manifest_text(folder))
        link_aside(root / CURRENT, folder.name)


def next_version(root: Path) -> int:
    """The model version after the last one published under ``root``; 1 where nothing is."""
    return max(_published(root), default=0) + 1


@contextmanager
def _only_publisher(root: Path, failed: str) -> Iterator[None]:
    """The block is the only publisher in ``root``, which is there, without leftovers. An OSError is a
    BundleError."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with alone_in(root, wait=True):
            _remove_leftovers(root)
            yield
    except OSError as error:
        raise BundleError(f"{failed}: {error}") from error


def _remove_leftovers(root: Path) -> None:
    for path in list(root.iterdir()):
        if LEFTOVER.fullmatch(path.name):
            try:
                if path.is_dir() and not path.is_symlink():
                    remove_folder(path)
                else:
                    path.unlink()
            except OSError as error:
                warnings.warn(
                    f"{path} was left by a publisher that was killed, and stays: {error}", stacklevel=5
                )


def _undo(final: Path, written: int) -> None:
    """Remove ``final`` if it is the folder of that inode number, unless ``current`` names it by now."""
    with suppress(OSError):
        if final.stat().st_ino == written and _target(final.parent / CURRENT) != final.name:
            remove_folder(final)


def _retire(root: Path, keep: int, model_version: int) -> None:
    """``model_version`` is the one that has just been published, perhaps late: it stays this time."""
    staying = {model_version, _current_version(root)}
    for version, folder in sorted(_published(root).items(), reverse=True)[keep:]:
        if version in staying:
            continue
        try:
            with alone_in(folder, wait=False) as alone:
                if alone:
                    remove_folder(folder)
        except OSError as error:
            warnings.warn(
                f"{folder} is older than the {keep} versions to keep, but stays: {error}", stacklevel=3
            )


def _published(root: Path) -> dict[int, Path]:
    return {int(path.name[1:]): path for path in root.glob("v*") if path.name[1:].isdigit()}


def _current_version(root: Path) -> int:
    """The version that ``current`` names; −1 where it names none that is there."""
    names = {version for version, path in _published(root).items() if path.name == _target(root / CURRENT)}
    return max(names, default=-1)


def _target(link: Path) -> str:
    return os.readlink(link) if link.is_symlink() else ""


def _seal(aside: Path, model_version: int, facts: Mapping[str, Any] | None, key: Any) -> None:
    """Write both manifests of what lies in ``aside``, and the signature where there is a ``key``."""
    (aside / HOST_MANIFEST).write_text(_host_manifest(aside, model_version), encoding="ascii")
    files = {str(p.relative_to(aside)): fingerprint(p) for p in sorted(aside.rglob("*")) if p.is_file()}
    manifest = {"format": FORMAT, "model_version": model_version, "facts": dict(facts or {}), "files": files}
    text = json.dumps(manifest, indent=1, sort_keys=True).encode()
    (aside / MANIFEST).write_bytes(text)
    if key is not None:
        (aside / SIGNATURE).write_bytes(key.sign(text))


def _host_manifest(folder: Path, model_version: int) -> str:
    lines = [format_line("model_version", str(model_version))]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sums = {"bytes": path.stat().st_size, "xxh64": f"{_native.xxh64_of_file(os.fsencode(path)):016x}"}
        lines.append(format_line("file", str(path.relative_to(folder)), sums))
    return seal_lines("karec-bundle", lines)
