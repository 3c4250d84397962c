"""``karec inspect``: the content of a bundle, index, online store, rank log, karec.toml or exported stage."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from karec.cli.options import Json
from karec.cli.output import facts_table, make_console, print_json, text_table

if TYPE_CHECKING:
    from karec.index import ItemIndex, ModelVersion
    from karec.models.onnx_model import OnnxModel


@dataclass(frozen=True)
class Section:
    """Facts on one part: values by name, or rows under a head."""

    title: str
    facts: Mapping[str, str | int] = field(default_factory=dict)
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str | int]] = ()

    def to_table(self) -> Table:
        if self.head:
            return text_table(self.title, self.head, self.rows)
        return facts_table(self.title, self.facts)

    def to_dict(self) -> dict[str, Any]:
        rows = [dict(zip(self.head, row, strict=True)) for row in self.rows]
        return {"title": self.title, "facts": dict(self.facts), "rows": rows}


def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="File or folder.")],
    creator: Annotated[
        str | None,
        typer.Option(metavar="ID", help="With a karec.toml: report on the works of this creator."),
    ] = None,
    days: Annotated[
        float, typer.Option(min=0.01, metavar="DAYS", help="With --creator: newest days of the logs.")
    ] = 7.0,
    as_json: Json = False,
) -> None:
    """Print versions, files and sizes of a bundle, index, online store, rank log, karec.toml or stage.

    With --creator: impressions, positions, sources and outcomes of the creator's works, from events and rank
    logs, and the current effect of exposure control on their scores.
    """
    sections = list(inspect_path(path) if creator is None else _inspect_creator(path, creator, days))
    if as_json:
        print_json([section.to_dict() for section in sections])
        return
    console = make_console()
    for section in sections:
        console.print(section.to_table())


def inspect_path(path: Path) -> Iterator[Section]:
    """Yields the sections on ``path``. Raises FileNotFoundError if it is of no known kind."""
    from karec.bundle.manifest import MANIFEST
    from karec.bundle.publish import CURRENT
    from karec.index import ItemIndex
    from karec.logs.contents import describe_rank_log
    from karec.online.read_log import EventSource, describe_log
    from karec.online.store.sqlite_file import is_sqlite_file

    if path.is_dir() and ((path / CURRENT).exists() or (path / MANIFEST).exists()):
        yield from _inspect_bundle(path)
    elif path.is_dir() and any(path.glob("*.parquet")):
        yield Section(f"Rank log {path}", describe_rank_log(path))
    elif path.is_file() and path.suffix == ".toml":
        yield from _inspect_config(path)
    elif is_sqlite_file(path):
        yield Section(f"Online store {path}", describe_log(EventSource(f"sqlite:{path.absolute()}")))
    elif path.is_file() and path.suffix == ".json":
        yield _inspect_stage(path)
    elif path.is_file():
        yield _inspect_index(ItemIndex.open(path), str(path))
    else:
        raise FileNotFoundError(
            f"{path} is not a bundle, an index file, an online store, a rank log with *.parquet parts, a "
            "karec.toml or an exported stage"
        )


def _inspect_bundle(path: Path) -> Iterator[Section]:
    from karec.bundle import Bundle
    from karec.bundle.manifest import MANIFEST
    from karec.bundle.tower_files import INDEX
    from karec.bundle.verify import SNAPSHOT
    from karec.models.onnx_model import OnnxModel
    from karec.refresh.library_state import library_state

    bundle = Bundle.open(path)
    files = json.loads((bundle.path / MANIFEST).read_text())["files"]
    sizes = [(name, entry["bytes"], entry["sha256"][:16]) for name, entry in files.items()]
    title = f"{bundle.path}, model version {bundle.model_version}, verified"
    yield Section(title, head=("file", "bytes", "SHA-256"), rows=sizes)
    models = []
    for name in files:
        if name.endswith(".onnx"):
            model = OnnxModel(bundle.path / name)
            inputs, outputs = ", ".join(model.inputs), ", ".join(model.outputs)
            models.append((name, model.kind, model.model_version, inputs, outputs, _native_part(model)))
    yield Section("Models", head=("file", "kind", "version", "inputs", "outputs", "by karec"), rows=models)
    yield _inspect_index(bundle.index, INDEX)
    yield Section("Facts of the manifest", {name: json.dumps(fact) for name, fact in bundle.facts.items()})
    if (bundle.path / SNAPSHOT).is_dir():
        state = library_state(bundle, time.time_ns() // 1_000_000)
        yield Section("Library: the index above, and the shards of karec refresh", state.to_text())


def _native_part(model: OnnxModel) -> str:
    """Returns what the native library computes of ``model``, or why it computes nothing of a ranker."""
    from karec.models.row_sums import NO_SUMS

    if model.trees:
        return f"{model.trees:,} trees"
    if model.row_sums_bytes:
        return f"row sums, {model.row_sums_bytes / 2**20:,.1f} MiB"
    if model.kind != "ranker":
        return ""
    reason = f"no {model.path.stem}.sums.npz; training writes it for an MMoE with cross features"
    return f"nothing: {model.metadata.get(NO_SUMS, reason)}"


def _inspect_index(index: ItemIndex, name: str) -> Section:
    facts: dict[str, str | int] = {
        "rows": len(index),
        "dimensions": index.dim,
        "dtype": str(index.dtype),
        "newest model version": index.model_version,
        "generation": index.generation,
        "instruction set": index.isa,
        **{f"model version {version.number}": _describe_version(version) for version in index.versions},
        "lists": index.n_lists,
        "columns": ", ".join(f"{column} ({values.dtype})" for column, values in index.columns.items()),
    }
    return Section(f"Item index {name}", facts)


def _describe_version(version: ModelVersion) -> str:
    space = f"space {version.space_id:016x}" if version.space_id else "of an unknown item tower"
    text = f"{version.n_items:,} works, {space}"
    if (version.scale, version.offset) == (1, 0):
        return text
    return f"{text}, scores · {version.scale:.4f} {version.offset:+.4f}"


def _inspect_config(path: Path) -> Iterator[Section]:
    from karec.config.arms import load_experiments
    from karec.config.scenes import Config as SceneConfig

    config = SceneConfig.read(path)
    facts = {
        "bundle": str(config.bundle),
        "scenes": ", ".join(config.scenes),
        "read by": f"karec recommend {path} --user ID; karec serve {path}; karec check {path}",
    }
    yield Section(f"Configuration of a cascade {path}", facts)
    experiments = load_experiments(config)
    if experiments is not None:
        now = datetime.now(UTC)
        rows = [
            (
                name,
                experiment.layer,
                experiment.state(now),
                arm,
                f"{table.weight * experiment.coverage:g}",
                ", ".join(f"{place} = {value!r}" for place, value in table.changes.items()),
            )
            for name, experiment in experiments.experiments.items()
            for arm, table in experiment.arms.items()
        ]
        head = ("experiment", "layer", "state", "arm", "fraction", "patches")
        yield Section(f"Experiments {config.experiments}", head=head, rows=rows)


def _inspect_creator(path: Path, creator: str, days: float) -> Iterator[Section]:
    from karec.config.creator_report import report_creator

    report = report_creator(path, creator, days=days)
    yield Section(f"Creator {creator}", report.facts)
    ranks = (
        "Rank log (by score, on the page: mean positions of shown works; left out, raised: works that steps "
        "after the score removed or added). Works that earlier filters and quotas drop are not logged"
    )
    for title, table in {
        "Impressions, from events": report.impressions,
        ranks: report.ranks,
        "Sources of shown works": report.sources,
        "Exposure control now (change of scores, in deviations of a request's scores)": report.exposure,
    }.items():
        head = [*table[0]] if table else ["none"]
        yield Section(title, head=head, rows=[[*map(_format, row.values())] for row in table])


def _format(value: str | int | float) -> str | int:
    if not isinstance(value, float):
        return value
    return "–" if math.isnan(value) else f"{value:.2f}"


def _inspect_stage(path: Path) -> Section:
    from karec.config.host_stage import read_stages

    stage = read_stages(path)
    facts = {"scene": str(stage["scene"]), "source": str(stage["source"])}
    facts |= {f"stage {one['name']}": "\n".join(map(json.dumps, one["steps"])) for one in stage["stages"]}
    facts["read by"] = (
        f"C and C++ hosts; karec export stage CONFIG --out {path} --check reports if it is stale"
    )
    return Section(f"Exported stage {path}", facts)
