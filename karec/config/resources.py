"""The objects that steps are given by parameter name.

schema                              columns and dimension of the item index; a step reads rows and vectors
                                    from the request's view
snapshot, encoder, ranker           parts of the bundle, loaded on first use
user_tower, user_towers             the newest user tower, and {model version: user tower}
cross_tables                        {model version: CrossTables} of wide towers; else empty
n_probe                             number of lists that the source ``model`` reads; None without lists
naming                              platform ids of users and items; None if ids are numbers
bundle                              the open bundle, or its part for the item type of the scene
config_folder                       the folder of karec.toml
stages                              for side effects: the stages of their scene
exposure                            the exposure controller of the scene; None without a table ``exposure``
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from karec.bundle import Bundle
from karec.bundle.item_types import ItemTypeBundle
from karec.exposure.controller import ExposureController
from karec.index import IndexSchema
from karec.pipeline.stage import Stage
from karec.pipeline.step import Step

PARTS = ("snapshot", "encoder", "user_tower", "user_towers", "cross_tables", "ranker", "n_probe", "naming")
GIVEN = (*PARTS, "schema", "bundle", "config_folder", "stages", "exposure")


@dataclass(frozen=True)
class Resources:
    """The objects for one scene. All scenes of a process share the bundle and what is built from it.

    `steps`: built steps by roles and table, which the arms of experiments share.
    """

    bundle: Bundle | ItemTypeBundle
    config_folder: Path
    stages: tuple[Stage, ...] = ()
    exposure: ExposureController | None = None
    steps: dict[tuple[object, ...], Step] = field(default_factory=dict)

    @property
    def schema(self) -> IndexSchema:
        return self.bundle.index.schema

    def get(self, name: str) -> Any:
        """Returns the object for the parameter ``name``, one of ``GIVEN``.

        Raises LookupError if the item type has no such part.
        """
        return getattr(self.bundle if name in PARTS else self, name)
