"""Publishing: a folder written aside, two manifests, one rename, one link."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from karec._backend import library as _native
from karec._files import folder_aside, link_aside
from karec._sealed_text import line, sealed_text
from karec.bundle.manifest import FORMAT, MANIFEST, SIGNATURE, fingerprint
from karec.bundle.signing import read_signing_key
from karec.errors import BundleError

HOST_MANIFEST = "manifest.txt"
CURRENT = "current"


def publish(
    root: Path,
    model_version: int,
    write: Callable[[Path], None],
    facts: Mapping[str, Any] | None = None,
    *,
    signing_key: Path | None = None,
) -> Path:
    """Publish what ``write`` puts into an empty folder: add the manifests, then make it ``root/current``. Its folder.

    A publisher that fails or is killed leaves the old ``current`` as it was. Raises BundleError when ``model_version``
    has been published before. ``signing_key``: the PEM file of a private ed25519 key, which signs the manifest.
    """
    key = None if signing_key is None else read_signing_key(signing_key)
    root.mkdir(parents=True, exist_ok=True)
    final = root / f"v{model_version:010d}"
    if final.exists():
        raise BundleError(f"{final} is published already; a version never changes, publish the next one")
    with folder_aside(final) as name:
        aside = Path(name)
        write(aside)
        (aside / HOST_MANIFEST).write_text(_host_manifest(aside, model_version), encoding="ascii")
        files = {str(p.relative_to(aside)): fingerprint(p) for p in sorted(aside.rglob("*")) if p.is_file()}
        manifest = {"format": FORMAT, "model_version": model_version, "facts": dict(facts or {}), "files": files}
        text = json.dumps(manifest, indent=1, sort_keys=True).encode()
        (aside / MANIFEST).write_bytes(text)
        if key is not None:
            (aside / SIGNATURE).write_bytes(key.sign(text))
    link_aside(root / CURRENT, final.name)
    return final


def next_version(root: Path) -> int:
    """The model version after the last one published under ``root``; 1 where nothing is."""
    published = [int(path.name[1:]) for path in root.glob("v*") if path.name[1:].isdigit()]
    return max(published, default=0) + 1


def _host_manifest(folder: Path, model_version: int) -> str:
    lines = [line("model_version", str(model_version))]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sums = {"bytes": path.stat().st_size, "xxh64": f"{_native.xxh64_of_file(os.fsencode(path)):016x}"}
        lines.append(line("file", str(path.relative_to(folder)), sums))
    return sealed_text("karec-bundle", lines)
