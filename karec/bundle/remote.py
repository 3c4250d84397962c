"""Bundles in an object store: a publisher uploads versions, hosts pull them into a local folder and verify
them.

    URL/v0000000007/…              the files of the version
    URL/v0000000007/manifest.json  uploaded last: a version without it is incomplete
    URL/current                    the name of the current version and a line end

The local folder is laid out as one of ``karec.bundle.publish``. A version is written aside, compared with its
manifest, synced and renamed; only then the link ``current`` moves. The processes of a host share the folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karec.bundle.manifest import (
    MANIFEST,
    MAX_BYTES,
    SIGNATURE,
    SIGNATURE_BYTES,
    check_signature,
    manifest_of,
)
from karec.bundle.publish import CURRENT, lock_publishing, remove_old_versions
from karec.errors import BundleError, one_line
from karec.files import folder_aside, link_aside
from karec.object_store import ObjectFolder

POLL_S = 1.0  # between two polls of URL/current, by all processes of a host
RETRY_S = 15.0  # after a pull that failed
N_KEPT = 3  # versions in the local folder
NEXT_POLL = ".next-poll"  # its modification time is the time of the next poll
MAX_NAME_BYTES = 64

_log = logging.getLogger("karec.bundle")
_logged: dict[Path, str] = {}  # the last refusal by local folder, so that it is logged once


def local_folder(url: str, cache: Path) -> Path:
    """Returns the folder in ``cache`` that holds the versions of ``url``."""
    words = re.sub(r"[^\w.-]+", "-", ObjectFolder(url).display).strip("-")
    return cache / f"{words}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def upload(folder: Path, url: str) -> None:
    """Uploads the published version in ``folder`` and makes it current unless a later version is.

    An interrupted upload can be repeated. Raises BundleError if the version was uploaded with other content.
    """
    store = ObjectFolder(url)
    folder = folder.resolve()
    try:
        text = (folder / MANIFEST).read_bytes()
        name = f"{folder.name}/{MANIFEST}"
        if store.size(name) is None:
            files = manifest_of(folder, text)["files"]
            for part in [*files, *([SIGNATURE] if (folder / SIGNATURE).exists() else [])]:
                store.upload(folder / part, f"{folder.name}/{part}")
            store.upload(folder / MANIFEST, name)
        elif store.read(name, MAX_BYTES) != text:
            raise BundleError(
                f"{store.display}/{folder.name} has other content. A version never changes. Publish the "
                "next one."
            )
        if store.size(CURRENT) is None or int(_read_current(store)[1:]) < int(folder.name[1:]):
            set_current(url, folder.name)
    except OSError as error:
        raise BundleError(one_line(f"{folder} was not uploaded: {error}")) from error


def set_current(url: str, version: str) -> None:
    """Makes an uploaded version current, for example ``v0000000007``; it may be older than the current
    one."""
    ObjectFolder(url).write(CURRENT, f"{version}\n".encode())


def follow(url: str, root: Path, public_key: Path | None = None) -> None:
    """Pulls the current version of ``url`` into ``root``, if no process of the host polled for ``POLL_S``.

    If that fails, the local version stays current and the reason is logged once. Raises BundleError if there
    is no local version.
    """
    has_version = (root / CURRENT).exists()
    if has_version and not _is_due(root):
        return
    try:
        pull(url, root, public_key, wait=not has_version)
    except BundleError as error:
        if not has_version:
            raise
        _set_next_poll(root, RETRY_S)
        reason = re.sub(r"\d+ ms", "", str(error))  # the time of an attempt differs in each
        if _logged.get(root) != reason:
            _logged[root] = reason
            _log.warning("%s; the previous version stays in service", error)
    else:
        _logged.pop(root, None)


def pull(url: str, root: Path, public_key: Path | None = None, *, wait: bool = True) -> None:
    """Makes the current version of ``url`` the current one in ``root``, after it was compared with its
    manifest.

    Args:
        public_key: the key for which the manifest must be signed.
        wait: waits if another process pulls; else returns at once.

    Raises BundleError of one line. ``root`` keeps its current version then.
    """
    store = ObjectFolder(url)
    with lock_publishing(root, f"{store.display} was not pulled", wait=wait) as is_locked:
        if not is_locked:
            return
        _set_next_poll(root, POLL_S)
        version = _read_current(store)
        if os.path.realpath(root / CURRENT) == os.path.realpath(root / version):
            return
        try:
            text = store.read(f"{version}/{MANIFEST}", MAX_BYTES)
        except FileNotFoundError as error:
            raise BundleError(f"{store.display}/{version} is not complete: it has no {MANIFEST}") from error
        folder = root / version
        if not folder.exists():
            _download(store, text, folder, public_key)
        elif (folder / MANIFEST).read_bytes() != text:
            raise BundleError(
                f"{store.display}/{version} differs from {folder}. A version never changes. Publish the "
                "next one."
            )
        link_aside(root / CURRENT, version)
        remove_old_versions(root, N_KEPT, int(version[1:]))


def _read_current(store: ObjectFolder) -> str:
    try:
        match = re.fullmatch(rb"(v[0-9]{10,})\n", store.read(CURRENT, MAX_NAME_BYTES))
    except ValueError:
        match = None
    if match is None:
        raise BundleError(f"{store.display}/{CURRENT} is not the name of a version, for example v0000000007")
    return match.group(1).decode()


def _download(store: ObjectFolder, text: bytes, folder: Path, public_key: Path | None) -> None:
    """Writes the version with the manifest ``text`` to ``folder``, which appears whole or not at all."""
    place = Path(f"{store.display}/{folder.name}")
    files = manifest_of(place, text)["files"]
    n_bytes = sum(entry["bytes"] for entry in files.values())
    free = shutil.disk_usage(folder.parent).free
    if n_bytes > free:
        raise BundleError(f"{place} has {n_bytes:,} bytes, and {folder.parent} has {free:,} bytes free")
    with folder_aside(folder) as name:
        aside = Path(name)
        (aside / MANIFEST).write_bytes(text)
        if public_key is not None:
            (aside / SIGNATURE).write_bytes(store.read(f"{folder.name}/{SIGNATURE}", SIGNATURE_BYTES))
            check_signature(aside, text, public_key)
        for part, entry in files.items():
            _download_file(store, f"{folder.name}/{part}", aside / part, entry)


def _download_file(store: ObjectFolder, name: str, path: Path, entry: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    n_bytes = 0
    with path.open("xb") as file:
        for piece in store.read_pieces(name, entry["bytes"] + 1):
            file.write(piece)
            digest.update(piece)
            n_bytes += len(piece)
    if n_bytes != entry["bytes"]:
        size = store.size(name)
        raise BundleError(
            f"{store.display}/{name} has {size} bytes, expected {entry['bytes']} by the manifest"
        )
    if digest.hexdigest() != entry["sha256"]:
        raise BundleError(f"{store.display}/{name}: its SHA-256 differs from the manifest's")


def _is_due(root: Path) -> bool:
    try:
        wait_s = (root / NEXT_POLL).stat().st_mtime - time.time()
    except FileNotFoundError:
        return True
    return not 0 < wait_s <= RETRY_S  # a later time shows that the clock was set back


def _set_next_poll(root: Path, seconds: float) -> None:
    path = root / NEXT_POLL
    path.touch()
    moment = time.time() + seconds
    os.utime(path, (moment, moment))
