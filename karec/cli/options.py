"""Arguments and options that several commands share.

A command may take a frozen dataclass of ``Annotated`` fields: ``flatten`` makes each field an option.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A karec.toml.")]
RunFolder = Annotated[Path, typer.Option("--run", metavar="DIR", help="Run folder of karec train or demo.")]
Scene = Annotated[str | None, typer.Option(metavar="NAME", help="Scene of CONFIG (default: its first).")]
TrainingSettings = Annotated[
    Path | None, typer.Option(metavar="TOML", help="Training settings (default: built in).")
]
Report = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Also write the report there, as JSON and HTML.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used.")]
DAY_FORMATS = ["%Y-%m-%d"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldChoice:
    """Sizes and seed of the synthetic platform."""

    works: Annotated[int, typer.Option(min=1, metavar="N", help="Works of the world.")] = 300_000
    users: Annotated[int, typer.Option(min=1, metavar="N", help="Users of the world.")] = 1_500
    exposures: Annotated[int, typer.Option(min=1, metavar="N", help="Impressions of the world.")] = 200_000
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the world and of training (default: 0).")
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataChoice(WorldChoice):
    """A dataset by its name."""

    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="world, kuairand, lastfm, or a folder with a data.toml."),
    ]
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with the files of kuairand or lastfm.")
    ] = None
    skip_bad: SkipBad = False


@dataclasses.dataclass(frozen=True)
class Publication:
    """How a run is published."""

    rolling: Annotated[
        bool,
        typer.Option("--rolling", help="Publish next to the version in service; refresh replaces vectors."),
    ] = False
    signing_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Private ed25519 key that signs the bundle.")
    ] = None
    upload: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also upload the bundle, for example to s3://bucket/path."),
    ] = None
    keep: Annotated[
        int, typer.Option(min=1, metavar="N", help="Published versions to keep, in addition to those in use.")
    ] = 10


def flatten(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Returns ``command`` with an option for each field of its dataclass parameters, after its own options.

    A default of such a parameter gives the defaults of its options.
    """
    signature = inspect.signature(command, eval_str=True)
    structs: dict[str, Any] = {}
    options: list[inspect.Parameter] = []
    struct_options: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        struct: Any = parameter.annotation
        if not dataclasses.is_dataclass(struct):
            options.append(parameter)
            continue
        structs[name] = struct
        for field in inspect.signature(structs[name], eval_str=True).parameters.values():
            has_default = parameter.default is not inspect.Parameter.empty
            default = getattr(parameter.default, field.name) if has_default else field.default
            struct_options.append(field.replace(default=default))
    options = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in (*options, *struct_options)]

    @functools.wraps(command)
    def run(**values: Any) -> int | None:
        for name, struct in structs.items():
            fields = {field.name: values.pop(field.name) for field in dataclasses.fields(struct)}
            values[name] = struct(**fields)
        return command(**values)

    run.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run
