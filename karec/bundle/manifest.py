"""``manifest.json``: which files a bundle has, their sizes and their SHA-256."""

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
MOST_BYTES = 1 << 20  # of a manifest, some seven thousand files
SIGNATURE = "manifest.sig"  # may be there: ``karec.bundle.signing``
DEEPEST = 64  # folders, one in another


def fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def manifest_text(folder: Path) -> bytes:
    """The bytes of the manifest of the bundle in ``folder``. Raises BundleError."""
    try:
        return read_bytes(folder / MANIFEST, MOST_BYTES)
    except OSError as error:
        raise BundleError(
            f"{folder} is not a bundle: {MANIFEST} cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise BundleError(f"{folder / MANIFEST} is not what a manifest may be: {error}") from error


def manifest_of(folder: Path, text: bytes) -> dict[str, Any]:
    """What ``text``, the manifest of the bundle in ``folder``, says, its entries checked. Raises
    BundleError."""
    path = folder / MANIFEST
    try:
        manifest = parse_json(text)
    except ValueError as error:
        raise BundleError(f"{path} is not JSON that a manifest may hold: {error}") from error
    expected = {"format", "model_version", "facts", "files"}
    if not isinstance(manifest, dict) or not expected <= manifest.keys():
        raise BundleError(f"{path} lacks some of {sorted(expected)}")
    kinds = {"format": int, "model_version": int, "facts": dict, "files": dict}
    for key, kind in kinds.items():
        if not isinstance(manifest[key], kind) or isinstance(manifest[key], bool):
            raise BundleError(f"{path}: {key} is {repr(manifest[key])[:60]}, expected {kind.__name__}")
    if manifest["format"] != FORMAT:
        raise BundleError(f"{path} is of format {manifest['format']}; this karec reads {FORMAT}")
    if not -(2**63) <= manifest["model_version"] < 2**63:
        raise BundleError(f"{path}: model_version is {manifest['model_version']}, expected an int64")
    for name, entry in manifest["files"].items():
        _check_entry(path, name, entry)
    return manifest


def _check_entry(path: Path, name: str, entry: Any) -> None:
    """BundleError unless ``name`` is a path within the bundle's folder, as a publisher writes it, with size
    and sum."""
    parts = name.split("/")
    if (
        not name.isprintable()
        or len(name) > 1000
        or any(part in ("", ".", "..") for part in parts)
        or len(parts) > DEEPEST
    ):
        raise BundleError(f"{path} names the file {name[:60]!r}, which is no path within the bundle")
    whole = (
        isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and not isinstance(entry["bytes"], bool)
    )
    if not whole or entry["bytes"] < 0:
        raise BundleError(f"{path}: the entry of {name!r} has no bytes, a whole number")
    if not isinstance(entry.get("sha256"), str) or not re.fullmatch("[0-9a-f]{64}", entry["sha256"]):
        raise BundleError(f"{path}: the entry of {name!r} has no sha256, 64 hexadecimal digits")


def check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """BundleError unless ``folder`` holds the manifest's files with their bytes, within itself, and nothing
    else."""
    try:
        for name, wanted in files.items():
            _check_file(folder, folder / name, wanted)
        strangers = sorted(_entries(folder) - files.keys() - {MANIFEST, SIGNATURE})
    except OSError as error:
        raise BundleError(one_line(f"{error.filename or folder} cannot be read: {error.strerror}")) from error
    if strangers:
        raise BundleError(one_line(f"{folder / strangers[0]} is in the bundle but not in its manifest"))


def _check_file(folder: Path, path: Path, wanted: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise BundleError(f"{path} is in the manifest but not in the bundle, or no regular file")
    if not Path(os.path.realpath(path)).is_relative_to(folder):
        raise BundleError(f"{path} is a symbolic link, or in one, that leads out of the bundle")
    if path.stat().st_size != wanted["bytes"]:
        raise BundleError(f"{path} has {path.stat().st_size} bytes, the manifest says {wanted['bytes']}")
    if fingerprint(path)["sha256"] != wanted["sha256"]:
        raise BundleError(f"{path} is not what was published: its SHA-256 differs from the manifest's")


def _entries(folder: Path) -> set[str]:
    """All but folders: files, links, FIFOs, devices, sockets; a link to a folder is an entry and not
    followed.

    A folder that lies deeper than a file of a manifest may is an entry, and not looked into.
    """
    found, waiting = set(), [""]
    while waiting:
        base = waiting.pop()
        with os.scandir(folder / base) as entries:
            for entry in entries:
                name = f"{base}{entry.name}"
                if entry.is_dir(follow_symlinks=False) and name.count("/") < DEEPEST:
                    waiting.append(f"{name}/")
                else:
                    found.add(name)
    return found
