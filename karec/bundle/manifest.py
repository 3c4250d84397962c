"""``manifest.json``: which files a bundle has, their sizes and their SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karec.errors import BundleError

FORMAT = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"  # may be there: ``karec.bundle.signing``


def fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def read_manifest(folder: Path) -> dict[str, Any]:
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


def check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is in the manifest but not in the bundle")
        if path.stat().st_size != wanted["bytes"]:
            raise BundleError(f"{path} has {path.stat().st_size} bytes, the manifest says {wanted['bytes']}")
        if fingerprint(path)["sha256"] != wanted["sha256"]:
            raise BundleError(f"{path} is not what was published: its SHA-256 differs from the manifest's")
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    strangers = sorted(present - files.keys() - {MANIFEST, SIGNATURE})
    if strangers:
        raise BundleError(f"{folder / strangers[0]} is in the bundle but not in its manifest")
