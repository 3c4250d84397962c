"""Reads and checks ``manifest.json``: the files of a bundle, with their sizes and SHA-256."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karec.errors import BundleError, one_line
from karec.files import parse_json, read_bytes

FORMAT = 1
MANIFEST = "manifest.json"
MAX_BYTES = 1 << 20  # of a manifest; enough for seven thousand files
SIGNATURE = "manifest.sig"  # optional: ``karec.bundle.verify``
MAX_DEPTH = 64  # nested folders


def fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def manifest_text(folder: Path) -> bytes:
    """Returns the bytes of the manifest of the bundle in ``folder``. Raises BundleError."""
    try:
        return read_bytes(folder / MANIFEST, MAX_BYTES)
    except OSError as error:
        raise BundleError(
            f"{folder} is not a bundle: {MANIFEST} cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise BundleError(f"{folder / MANIFEST} is not a manifest: {error}") from error


def manifest_of(folder: Path, text: bytes) -> dict[str, Any]:
    """Returns the checked contents of ``text``, the manifest of the bundle in ``folder``.

    Raises BundleError.
    """
    path = folder / MANIFEST
    try:
        manifest = parse_json(text)
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    types = {"format": int, "model_version": int, "facts": dict, "files": dict}
    if not isinstance(manifest, dict) or not types.keys() <= manifest.keys():
        raise BundleError(f"{path} lacks some of {sorted(types)}")
    for key, type_ in types.items():
        if not isinstance(manifest[key], type_) or isinstance(manifest[key], bool):
            raise BundleError(f"{path}: {key} is {repr(manifest[key])[:60]}, expected {type_.__name__}")
    if manifest["format"] != FORMAT:
        raise BundleError(f"{path} is of format {manifest['format']}; this karec reads {FORMAT}")
    if not -(2**63) <= manifest["model_version"] < 2**63:
        raise BundleError(f"{path}: model_version is {manifest['model_version']}, expected an int64")
    for name, entry in manifest["files"].items():
        _check_entry(path, name, entry)
    return manifest


def _check_entry(path: Path, name: str, entry: Any) -> None:
    """Raises BundleError if ``name`` is not a plain path within the bundle, or size or hash is missing."""
    parts = name.split("/")
    if (
        not name.isprintable()
        or len(name) > 1000
        or any(part in ("", ".", "..") for part in parts)
        or len(parts) > MAX_DEPTH
    ):
        raise BundleError(f"{path} names the file {name[:60]!r}, which is no path within the bundle")
    has_size = (
        isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and not isinstance(entry["bytes"], bool)
    )
    if not has_size or entry["bytes"] < 0:
        raise BundleError(f"{path}: the entry of {name!r} has no bytes, a whole number")
    if not isinstance(entry.get("sha256"), str) or not re.fullmatch("[0-9a-f]{64}", entry["sha256"]):
        raise BundleError(f"{path}: the entry of {name!r} has no sha256, 64 hexadecimal digits")


def check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises BundleError if ``folder`` does not contain exactly the ``files`` of its manifest, unchanged."""
    try:
        for name, entry in files.items():
            _check_file(folder, folder / name, entry)
        unlisted = sorted(_entries(folder) - files.keys() - {MANIFEST, SIGNATURE})
    except OSError as error:
        raise BundleError(one_line(f"{error.filename or folder} cannot be read: {error.strerror}")) from error
    if unlisted:
        raise BundleError(one_line(f"{folder / unlisted[0]} is in the bundle but not in its manifest"))


def _check_file(folder: Path, path: Path, entry: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise BundleError(f"{path} is in the manifest but not in the bundle, or no regular file")
    if not Path(os.path.realpath(path)).is_relative_to(folder):
        raise BundleError(f"{path} is a symbolic link, or in one, that leads out of the bundle")
    if path.stat().st_size != entry["bytes"]:
        raise BundleError(f"{path} has {path.stat().st_size} bytes, the manifest says {entry['bytes']}")
    if fingerprint(path)["sha256"] != entry["sha256"]:
        raise BundleError(f"{path} is not what was published: its SHA-256 differs from the manifest's")


def _entries(folder: Path) -> set[str]:
    """Returns the paths of all entries except folders; links are not followed.

    A folder below ``MAX_DEPTH`` is returned as an entry and not read.
    """
    paths = set()
    folders = [""]
    while folders:
        base = folders.pop()
        with os.scandir(folder / base) as entries:
            for entry in entries:
                name = f"{base}{entry.name}"
                if entry.is_dir(follow_symlinks=False) and name.count("/") < MAX_DEPTH:
                    folders.append(f"{name}/")
                else:
                    paths.add(name)
    return paths
