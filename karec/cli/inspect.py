"""``karec inspect``: the content of a bundle, index, online store, rank log, karec.toml or exported stage."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from karec.cli.options import Json
from karec.cli.output import facts_table, make_console, print_json, text_table

if TYPE_CHECKING:
    from karec.bundle import Bundle
    from karec.index import ItemIndex, ModelVersion
    from karec.models.onnx_model import OnnxModel


@dataclass(frozen=True)
class Facts:
    """Values by name."""

    title: str
    facts: Mapping[str, str]

    def to_table(self) -> Table:
        return facts_table(self.title, self.facts)

    def to_dict(self) -> dict[str, Any]:
        return {"title": self.title, "facts": dict(self.facts)}


@dataclass(frozen=True)
class Rows:
    """Rows of text under a head."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_table(self) -> Table:
        return text_table(self.title, self.head, self.rows)

    def to_dict(self) -> dict[str, Any]:
        return {"title": self.title, "rows": [dict(zip(self.head, row, strict=True)) for row in self.rows]}


def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="File or folder.")], as_json: Json = False
) -> None:
    """Print versions, files and sizes of a bundle, index, online store, rank log, karec.toml or stage."""
    sections = list(inspect_path(path))
    if as_json:
        print_json([section.to_dict() for section in sections])
        return
    console = make_console()
    for section in sections:
        console.print(section.to_table())


def inspect_path(path: Path) -> Iterator[Facts | Rows]:
    """Yields the sections on ``path``. Raises FileNotFoundError if it is of no known kind."""
    from karec.bundle.manifest import MANIFEST
    from karec.bundle.publish import CURRENT
    from karec.bundle.sealed_text import read_kind
    from karec.config.host_stage import KIND as STAGE_KIND
    from karec.index import ItemIndex
    from karec.logs.contents import describe_rank_log
    from karec.online.read_log import EventSource, describe_log
    from karec.online.store.sqlite_file import is_sqlite_file

    if path.is_dir() and ((path / CURRENT).exists() or (path / MANIFEST).exists()):
        yield from _inspect_bundle(path)
    elif path.is_dir() and any(path.glob("*.parquet")):
        yield Facts(f"Rank log {path}", describe_rank_log(path))
    elif path.is_file() and path.suffix == ".toml":
        yield _inspect_config(path)
    elif is_sqlite_file(path):
        yield Facts(f"Online store {path}", describe_log(EventSource(f"sqlite:{path.absolute()}")))
    elif read_kind(path) == STAGE_KIND:
        yield _inspect_stage(path, STAGE_KIND)
    elif path.is_file():
        yield _inspect_index(ItemIndex.open(path), str(path))
    else:
        raise FileNotFoundError(
            f"{path} is not a bundle, an index file, an online store, a rank log with *.parquet parts, a "
            "karec.toml or an exported stage"
        )


def _inspect_bundle(path: Path) -> Iterator[Facts | Rows]:
    from karec.bundle import Bundle
    from karec.bundle.manifest import MANIFEST
    from karec.bundle.vector_spaces import PRERANK, RECALL
    from karec.bundle.verify import SNAPSHOT
    from karec.models.onnx_model import OnnxModel
    from karec.refresh.library_state import library_state

    bundle = Bundle.open(path)
    files = json.loads((bundle.path / MANIFEST).read_text())["files"]
    sizes = [(name, f"{entry['bytes']:,}", entry["sha256"][:16]) for name, entry in files.items()]
    title = f"{bundle.path}, model version {bundle.model_version}, verified"
    yield Rows(title, ("file", "bytes", "SHA-256"), sizes)
    models = [_model_row(name, OnnxModel(bundle.path / name)) for name in files if name.endswith(".onnx")]
    yield Rows("Models", ("file", "kind", "version", "inputs", "outputs", "trees"), models)
    yield _inspect_index(bundle.index, PRERANK.index)
    if bundle.recall_index is not None:
        yield _inspect_index(bundle.recall_index, RECALL.index)
    if "lists" in bundle.facts:
        yield _inspect_lists(bundle.facts["lists"])
    if "unbound" in bundle.facts:
        yield _inspect_communities(bundle)
    if (bundle.path / SNAPSHOT).is_dir():
        state = library_state(bundle, time.time_ns() // 1_000_000)
        yield Facts("Library: the index above, and the shards of karec refresh", state.to_text())


def _model_row(name: str, model: OnnxModel) -> tuple[str, ...]:
    return (
        name,
        model.kind,
        str(model.model_version),
        ", ".join(model.inputs),
        ", ".join(model.outputs),
        f"{model.trees:,} by karec" if model.trees else "",
    )


def _inspect_index(index: ItemIndex, name: str) -> Facts:
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
    return Facts(f"Item index {name}", facts)


def _describe_version(version: ModelVersion) -> str:
    space = f"space {version.space_id:016x}" if version.space_id else "of an unknown item tower"
    text = f"{version.n_items:,} works, {space}"
    if (version.scale, version.offset) == (1, 0):
        return text
    return f"{text}, scores · {version.scale:.4f} {version.offset:+.4f}"


def _inspect_lists(lists: Mapping[str, Any]) -> Facts:
    facts = {
        "lists read if exact = false": f"{lists['n_probe']:,} of {lists['n_lists']:,}",
        f"recall@{lists['k']:,} of these": f"{lists['recall']:.3f}, {lists['users']:,} users; lowest "
        f"{lists['lowest']:.3f}",
    }
    return Facts(f"Lists of {lists['file']}", facts)


def _inspect_communities(bundle: Bundle) -> Facts:
    highest_id, unbound = bundle.facts["communities"], bundle.facts["unbound"]
    facts = {
        "highest community id so far": "none" if highest_id < 0 else str(highest_id),
        "pairs of a user with themselves, not used": f"{unbound['loops']:,}",
        "pairs with an unknown user, not used": f"{unbound['unknown']:,}",
    }
    return Facts("Communities of follows and friendships", facts)


def _inspect_config(path: Path) -> Facts:
    from karec.config.scenes import Config as SceneConfig

    config = SceneConfig.read(path)
    facts = {
        "bundle": str(config.bundle),
        "scenes": ", ".join(config.scenes),
        "read by": f"karec recommend {path} --user ID; karec serve {path}; karec check {path}",
    }
    return Facts(f"Configuration of a cascade {path}", facts)


def _inspect_stage(path: Path, kind: str) -> Facts:
    from karec.bundle.sealed_text import read_lines

    lines = [line.partition(" ") for line in read_lines(path, kind)]
    facts: dict[str, str] = {}
    for name, _, rest in lines:
        facts[name] = f"{facts[name]}\n{rest}" if name in facts else rest
    facts["read by"] = (
        f"C and C++ hosts; karec export stage CONFIG --out {path} --check reports if it is stale"
    )
    return Facts(f"Exported stage {path}, checksum verified", facts)
