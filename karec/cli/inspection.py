"""Makes the tables of `karec inspect`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from karec.bundle import Bundle
from karec.bundle.manifest import MANIFEST
from karec.bundle.publish import CURRENT
from karec.bundle.sealed_text import read_kind, read_lines
from karec.bundle.vector_spaces import PRERANK, RECALL
from karec.bundle.verify import SNAPSHOT
from karec.cli.tables import facts_table, text_table
from karec.config.host_stage import KIND as STAGE_KIND
from karec.config.scenes import Config
from karec.index import ItemIndex, ModelVersion
from karec.models.onnx_model import OnnxModel
from karec.online.read_log import EventSource, describe_log
from karec.online.store.sqlite_file import is_sqlite_file


def inspect_path(path: Path) -> Iterator[Table]:
    """Yields the tables of ``path``.

    It is a bundle, the folder with ``current``, an index file, an online store, a rank log, a karec.toml or
    an exported stage. For the last two they contain the command that reads it.
    """
    if path.is_dir() and ((path / CURRENT).exists() or (path / MANIFEST).exists()):
        yield from _inspect_bundle(path)
    elif path.is_dir() and any(path.glob("*.parquet")):
        yield _inspect_log(path)
    elif path.is_file() and path.suffix == ".toml":
        yield _inspect_config(path)
    elif is_sqlite_file(path):
        yield facts_table(f"Online store {path}", describe_log(EventSource(f"sqlite:{path.absolute()}")))
    elif read_kind(path) == STAGE_KIND:
        yield _inspect_stage(path)
    elif path.is_file():
        yield _inspect_index(ItemIndex.open(path), str(path))
    else:
        raise FileNotFoundError(
            f"{path} is not a bundle, an index file, an online store, a rank log with *.parquet parts, a "
            "karec.toml or an exported stage"
        )


def _inspect_bundle(path: Path) -> Iterator[Table]:
    bundle = Bundle.open(path)
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    sizes = [(name, f"{facts['bytes']:,}", facts["sha256"][:16]) for name, facts in manifest["files"].items()]
    title = f"{bundle.path}, model version {bundle.model_version}, verified"
    yield text_table(title, ("file", "bytes", "SHA-256"), sizes)
    models = [
        _model_row(name, OnnxModel(bundle.path / name))
        for name in manifest["files"]
        if name.endswith(".onnx")
    ]
    yield text_table("Models", ("file", "kind", "version", "inputs", "outputs", "trees"), models, 6)
    yield _inspect_index(bundle.index, PRERANK.index)
    if bundle.recall_index is not None:
        yield _inspect_index(bundle.recall_index, RECALL.index)
    if "lists" in bundle.facts:
        yield _inspect_lists(bundle.facts["lists"])
    if "unbound" in bundle.facts:
        yield _inspect_communities(bundle.facts)
    if (bundle.path / SNAPSHOT).is_dir():
        from karec.refresh.library_state import library_state

        state = library_state(bundle, time.time_ns() // 1_000_000)
        yield facts_table("Library: the index above, and the shards of karec refresh", state.to_text())


def _model_row(name: str, model: OnnxModel) -> tuple[str, ...]:
    return (
        name,
        model.kind,
        str(model.model_version),
        ", ".join(model.inputs),
        ", ".join(model.outputs),
        f"{model.trees:,} by karec" if model.trees else "",
    )


def _inspect_index(index: ItemIndex, name: str) -> Table:
    facts = {
        "rows": f"{len(index):,}",
        "dimensions": str(index.dim),
        "dtype": str(index.dtype),
        "newest model version": str(index.model_version),
        "generation": str(index.generation),
        "instruction set": index.isa,
        **{f"model version {version.number}": _describe_version(version) for version in index.versions},
        "lists": f"{index.n_lists:,}",
        "columns": ", ".join(f"{column} ({values.dtype})" for column, values in index.columns.items()),
    }
    return facts_table(f"Item index {name}", facts)


def _describe_version(version: ModelVersion) -> str:
    space = f"space {version.space_id:016x}" if version.space_id else "of an unknown item tower"
    line = (
        f", scores · {version.scale:.4f} {version.offset:+.4f}"
        if (version.scale, version.offset) != (1, 0)
        else ""
    )
    return f"{version.n_items:,} works, {space}{line}"


def _inspect_lists(lists: Mapping[str, Any]) -> Table:
    facts = {
        "lists read if exact = false": f"{lists['n_probe']:,} of {lists['n_lists']:,}",
        f"recall@{lists['k']:,} of these": f"{lists['recall']:.3f}, {lists['users']:,} users; lowest "
        f"{lists['lowest']:.3f}",
    }
    return facts_table(f"Lists of {lists['file']}", facts)


def _inspect_communities(bundle_facts: Mapping[str, Any]) -> Table:
    highest_id, unbound = bundle_facts["communities"], bundle_facts["unbound"]
    facts = {
        "highest community id so far": "none" if highest_id < 0 else str(highest_id),
        "pairs of a user with themselves, not used": f"{unbound['loops']:,}",
        "pairs with an unknown user, not used": f"{unbound['unknown']:,}",
    }
    return facts_table("Communities of follows and friendships", facts)


def _inspect_config(path: Path) -> Table:
    config = Config.read(path)
    facts = {
        "bundle": str(config.bundle),
        "scenes": ", ".join(config.scenes),
        "read by": f"karec recommend --config {path} --user ID; karec export stage --config {path} --out "
        f"FILE",
    }
    return facts_table(f"Configuration of a cascade {path}", facts)


def _inspect_stage(path: Path) -> Table:
    facts = [line.partition(" ") for line in read_lines(path, STAGE_KIND)]
    table = facts_table(f"Exported stage {path}, checksum verified", {})
    for word, _, rest in facts:
        table.add_row(word, rest)
    table.add_row(
        "read by",
        f"C++ and C hosts; karec export stage --config FILE --out {path} --check reports if it is stale",
    )
    return table


def _inspect_log(path: Path) -> Table:
    from karec.logs.contents import describe_rank_log

    return facts_table(f"Rank log {path}", describe_rank_log(path))
