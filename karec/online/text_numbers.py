"""Numbers of texts in the columns of an upload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from karec.catalog.schema import CREATOR, SONG
from karec.index import IdMap

MAPS = {CREATOR: "creators", SONG: "songs"}  # columns whose texts have id maps


@dataclass(frozen=True)
class TextNumbers:
    """Numbers of texts in a column, by the id maps of one folder. Equal if the maps of another folder give
    the same numbers."""

    columns: Mapping[str, tuple[str, int]]  # kind and seed of each column's map
    maps: Mapping[str, IdMap] = field(compare=False, repr=False)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        paths = {column: folder / f"{name}.karec" for column, name in MAPS.items()}
        maps = {column: IdMap.open(path, verify=False) for column, path in paths.items() if path.exists()}
        return cls({column: (ids.kind, ids.seed) for column, ids in maps.items()}, maps)

    def __call__(self, column: str, text: str) -> int:
        """Returns −1 if the column has no map or the map cannot hold ``text``."""
        try:
            return int(self.maps[column].numbers([text])[0]) if column in self.maps else -1
        except ValueError:
            return -1
