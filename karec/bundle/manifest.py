"""Reads and checks ``manifest.json``, the files of a bundle with sizes and checksums, and its signature.

Python compares files with their SHA-256, C++ hosts with their XXH64.

A signature is the ed25519 signature (RFC 8032, 64 bytes) of the bytes of ``manifest.json``, which fixes all
other files by their SHA-256. Keys are PEM files, as ``openssl genpkey -algorithm ed25519`` and ``openssl pkey
-pubout`` write them. Signatures need ``pip install 'karec[serve]'``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from karec import _native
from karec.errors import BundleError, MissingExtra, one_line
from karec.files import parse_json, read_bytes

FORMAT = 1
MANIFEST = "manifest.json"
MAX_BYTES = 1 << 20  # of a manifest; enough for five thousand files
SIGNATURE = "manifest.sig"  # optional
MAX_DEPTH = 64  # nested folders
SIGNATURE_BYTES = 64
MAX_KEY_BYTES = 16384  # an ed25519 key file has about 120


CHECKSUM_DIGITS = {"sha256": 64, "xxh64": 16}


def describe_file(path: Path) -> dict[str, Any]:
    """Returns the entry of a file in the manifest."""
    xxh64 = f"{_native.xxh64_of_file(os.fsencode(path)):016x}"
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path), "xxh64": xxh64}


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        raise BundleError(
            f"{path} has format {manifest['format']}, expected {FORMAT}. Publish the bundle again"
        )
    if not -(2**63) <= manifest["model_version"] < 2**63:
        raise BundleError(f"{path}: model_version is {manifest['model_version']}, expected an int64")
    for name, entry in manifest["files"].items():
        _check_entry(path, name, entry)
    return manifest


def _check_entry(path: Path, name: str, entry: Any) -> None:
    """Raises BundleError if ``name`` is not a path within the bundle, or size or a checksum is missing."""
    parts = name.split("/")
    if (
        not name.isprintable()
        or len(name) > 1000
        or any(part in ("", ".", "..") for part in parts)
        or len(parts) > MAX_DEPTH
    ):
        raise BundleError(f"{path} names the file {name[:60]!r}, expected a path within the bundle")
    has_size = (
        isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and not isinstance(entry["bytes"], bool)
    )
    if not has_size or entry["bytes"] < 0:
        raise BundleError(f"{path}: the entry of {name!r} has no bytes, a whole number")
    for checksum, n_digits in CHECKSUM_DIGITS.items():
        digits = entry.get(checksum)
        if not isinstance(digits, str) or not re.fullmatch(f"[0-9a-f]{{{n_digits}}}", digits):
            raise BundleError(
                f"{path}: the entry of {name!r} has no {checksum}, {n_digits} hexadecimal digits"
            )


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
        raise BundleError(f"{path} is in the manifest but not in the bundle, or not a regular file")
    if not Path(os.path.realpath(path)).is_relative_to(folder):
        raise BundleError(f"{path} is a symbolic link that points out of the bundle, or is in one")
    if path.stat().st_size != entry["bytes"]:
        raise BundleError(
            f"{path} has {path.stat().st_size} bytes, expected {entry['bytes']} by the manifest"
        )
    if sha256_of(path) != entry["sha256"]:
        raise BundleError(f"{path} was changed after publishing: its SHA-256 differs from the manifest's")


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


def check_signature(folder: Path, manifest: bytes, key: Path) -> None:
    """Raises BundleError unless ``manifest``, the one of ``folder``, is signed by the owner of the public
    ``key``."""
    public = load_key(key, "public")
    from cryptography.exceptions import InvalidSignature

    path = folder / SIGNATURE
    if not path.exists():
        raise BundleError(
            f"{folder} is not signed: {SIGNATURE} is missing. Publish it with the private key of {key}."
        )
    try:
        public.verify(read_bytes(path, SIGNATURE_BYTES), manifest)
    except (InvalidSignature, OSError, ValueError) as error:
        reason = str(error) or "the bundle was altered, or signed with another key"
        raise BundleError(
            f"{path} is not the signature of {MANIFEST} by the owner of {key}: {reason}"
        ) from error


def load_key(path: Path, kind: Literal["private", "public"]) -> Any:
    """Returns an ed25519 key. Raises BundleError if the file has none, or one with a password."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtra("cryptography", "serve", "a signed bundle") from error
    try:
        with path.open("rb") as file:  # may be a pipe
            text = file.read(MAX_KEY_BYTES + 1)
        key: Any
        if kind == "private":
            key = serialization.load_pem_private_key(text, password=None)
        else:
            key = serialization.load_pem_public_key(text)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except TypeError as error:  # the library asks for the password
        raise BundleError(f"{path} is protected by a password, expected a key without one") from error
    except Exception as error:  # the library raises errors of several kinds
        raise BundleError(f"{path} is not a {kind} key in PEM: {error}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        raise BundleError(f"{path} is a {type(key).__name__}, expected an ed25519 key")
    return key
