"""What steps are given by the names of their ``__init__`` parameters, and cannot be configured.

index, snapshot, encoder, ranker    parts of the bundle, loaded on first use
user_tower, user_towers             the bundle's own, and {model version: tower} of all that it holds
recall_index, recall_user_towers    the same of recall's own space; None and {} where the bundle has none
n_probe                             how many lists of works the channel model reads; None where there are none
naming                              the platform's ids of users and items; None where ids are numbers
bundle                              the open bundle itself
                                    of a scene of another kind of items than works: what the bundle has of the
                                    kind
config_folder                       the folder of karec.toml
stages                              for observers: the stages of their scene
exposure                            what the scene's table `exposure` describes; None where it has none
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.bundle import Bundle
from karec.bundle.item_types import ItemTypeBundle
from karec.pipeline.step import Stage

PARTS = (
    *("index", "snapshot", "encoder", "user_tower", "user_towers", "ranker"),
    *("recall_index", "recall_user_towers", "n_probe", "naming"),
)
GIVEN = (*PARTS, "bundle", "config_folder", "stages", "exposure")


@dataclass(frozen=True)
class Resources:
    """One for each scene; the bundle is shared by all scenes of a process, and with it what is built from its
    parts."""

    bundle: Bundle | ItemTypeBundle
    config_folder: Path
    stages: tuple[Stage, ...] = ()
    exposure: Any = None

    def get(self, name: str) -> Any:
        """What a parameter called ``name`` is given; ``name`` is one of ``GIVEN``. LookupError: the kind has
        none."""
        return getattr(self.bundle if name in PARTS else self, name)
