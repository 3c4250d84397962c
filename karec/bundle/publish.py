"""Publishes a bundle: writes a temporary folder with a manifest, renames it, moves the link ``current``.

A publisher holds a lock on the root folder that ends with its process; a second one waits. So any temporary
folder was left by a killed publisher, and is removed. Readers need no lock.
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

from karec.bundle.in_use import lock_exclusively
from karec.bundle.manifest import (
    FORMAT,
    MANIFEST,
    SIGNATURE,
    describe_file,
    load_key,
    manifest_of,
    manifest_text,
)
from karec.errors import BundleError
from karec.files import ASIDE, folder_aside, link_aside, remove_folder

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
    """Publishes a new version as ``root/current`` and returns its folder.

    A publisher that is killed leaves ``current`` as it was. One that fails also removes what it wrote.

    Args:
        write: writes the bundle's files into an empty folder. It must not publish into ``root``.
        facts: stored in the manifest.
        keep: the number of newest versions that stay; None: all. This version, ``current`` and versions that
            a process of this machine has open stay too. A version that cannot be removed is a warning.
        signing_key: the PEM file of a private ed25519 key that signs the manifest.

    If ``current`` is a later version already, it stays. Only ``make_current`` selects an older version.

    Raises:
        BundleError: ``model_version`` exists, or the file system refuses an operation (full, read-only,
            without locks). Other exceptions of ``write`` are passed on.
    """
    if keep is not None and keep < 1:
        raise ValueError(f"keep is {keep}, expected at least 1")
    key = None if signing_key is None else load_key(signing_key, "private")
    final = root / f"v{model_version:010d}"
    with lock_publishing(root, f"{final} was not published"):
        if os.path.lexists(final):
            raise BundleError(f"{final} is published already. A version never changes. Publish the next one.")
        written_inode = -1
        try:
            with folder_aside(final) as name:
                written_inode = os.stat(name).st_ino
                write(Path(name))
                _seal(Path(name), model_version, facts, key)
            if _current_version(root) < model_version:
                link_aside(root / CURRENT, final.name)
        except BaseException:
            _undo(final, written_inode)
            raise
        if keep is not None:
            remove_old_versions(root, keep, model_version)
    return final


def make_current(root: Path, model_version: int) -> None:
    """Makes ``model_version`` the current one; it may be older than the current one.

    The next ``publish_folder`` of a later version replaces it. Raises BundleError if the version does not
    exist or the file system refuses an operation.
    """
    folder = root / f"v{model_version:010d}"
    with lock_publishing(root, f"{root / CURRENT} was not moved to {folder.name}"):
        manifest_of(folder, manifest_text(folder))
        link_aside(root / CURRENT, folder.name)


def next_version(root: Path) -> int:
    """Returns the highest published version plus 1, or 1 if there is none."""
    return max(_published(root), default=0) + 1


@contextmanager
def lock_publishing(root: Path, failure: str, *, wait: bool = True) -> Iterator[bool]:
    """Makes the block the only publisher in ``root``; creates ``root`` and removes leftovers of killed
    publishers. Yields False if there is another one and ``wait`` is False. Turns OSErrors into BundleErrors
    that begin with ``failure``."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with lock_exclusively(root, wait=wait) as is_locked:
            if is_locked:
                _remove_leftovers(root)
            yield is_locked
    except OSError as error:
        raise BundleError(f"{failure}: {error}") from error


def _remove_leftovers(root: Path) -> None:
    for path in list(root.iterdir()):
        if LEFTOVER.fullmatch(path.name):
            try:
                if path.is_dir() and not path.is_symlink():
                    remove_folder(path)
                else:
                    path.unlink()
            except OSError as error:
                warnings.warn(f"{path} of a killed publisher could not be removed: {error}", stacklevel=5)


def _undo(final: Path, inode: int) -> None:
    """Removes ``final`` if it is the folder with this inode number and not ``current``."""
    with suppress(OSError):
        if final.stat().st_ino == inode and _target(final.parent / CURRENT) != final.name:
            remove_folder(final)


def remove_old_versions(root: Path, keep: int, model_version: int) -> None:
    """Removes old versions except ``model_version``, which was just published, perhaps after later ones."""
    kept = {model_version, _current_version(root)}
    for version, folder in sorted(_published(root).items(), reverse=True)[keep:]:
        if version in kept:
            continue
        try:
            with lock_exclusively(folder, wait=False) as is_locked:
                if is_locked:
                    remove_folder(folder)
        except OSError as error:
            warnings.warn(
                f"{folder} is older than the {keep} versions to keep but could not be removed: {error}",
                stacklevel=3,
            )


def _published(root: Path) -> dict[int, Path]:
    return {int(path.name[1:]): path for path in root.glob("v*") if path.name[1:].isdigit()}


def _current_version(root: Path) -> int:
    """Returns the version of ``current``; −1 if the link is missing or its target does not exist."""
    target = _target(root / CURRENT)
    versions = {version for version, path in _published(root).items() if path.name == target}
    return max(versions, default=-1)


def _target(link: Path) -> str:
    return os.readlink(link) if link.is_symlink() else ""


def _seal(aside: Path, model_version: int, facts: Mapping[str, Any] | None, key: Any) -> None:
    """Writes the manifest of the files in ``aside``, and the signature if there is a ``key``."""
    files = {str(p.relative_to(aside)): describe_file(p) for p in sorted(aside.rglob("*")) if p.is_file()}
    manifest = {"format": FORMAT, "model_version": model_version, "facts": dict(facts or {}), "files": files}
    text = json.dumps(manifest, indent=1, sort_keys=True).encode()
    (aside / MANIFEST).write_bytes(text)
    if key is not None:
        (aside / SIGNATURE).write_bytes(key.sign(text))
