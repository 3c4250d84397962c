"""Types of the arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A karec.toml.")]
DataName = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="world (the synthetic platform), kuairand, lastfm, or a folder with a data.toml."
    ),
]
Root = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder with the downloaded files of kuairand or lastfm.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used.")]
Works = Annotated[int, typer.Option(min=1, help="Works of the world.")]
Users = Annotated[int, typer.Option(min=1, help="Users of the world.")]
Exposures = Annotated[int, typer.Option(min=1, help="Impressions of the world's log.")]
Seed = Annotated[
    int | None, typer.Option(help="Seed of the world and of training (default: that of the settings, or 0).")
]
TrainingSettings = Annotated[
    Path | None, typer.Option(metavar="TOML", help="Training settings (default: built in).")
]
RunFolder = Annotated[Path, typer.Option("--run", metavar="DIR", help="Run folder of karec train or demo.")]
Scene = Annotated[str | None, typer.Option(metavar="NAME", help="Scene of the config (default: its first).")]
Report = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Also write the report there, as JSON and HTML.")
]
DAY_FORMATS = ["%Y-%m-%d"]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SigningKey = Annotated[
    Path | None, typer.Option(metavar="PEM", help="Private ed25519 key that signs the bundle.")
]
Upload = Annotated[
    str | None, typer.Option(metavar="URL", help="Upload the bundle to this object store, s3://bucket/path.")
]
Keep = Annotated[int, typer.Option(min=1, help="Published versions to keep, in addition to those in use.")]
Rolling = Annotated[
    bool,
    typer.Option("--rolling", help="Publish next to the version in service; karec refresh moves the items."),
]
