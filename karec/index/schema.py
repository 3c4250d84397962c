"""The schema of an item index: what the settings of a step are checked against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from karec.errors import nearest


@dataclass(frozen=True, eq=False)
class IndexSchema:
    """The dimension and the columns of one item index. They never change.

    ``index.schema`` is the same object in every call: two schemas are of one index if they are one object.
    """

    dim: int
    columns: Mapping[str, np.dtype[Any]]

    def check_column(self, name: str, field: str = "", *, is_integer: bool = False) -> None:
        """Raises ValueError unless there is a column ``name``, of integers or booleans if ``is_integer``.

        ``field``: the key that names the column.
        """
        where = f"{field}: " if field else ""
        if name not in self.columns:
            raise ValueError(
                f"{where}the item index has no column {name!r}{nearest(name, self.columns)}; "
                f"it has {sorted(self.columns)}"
            )
        dtype = self.columns[name]
        if is_integer and dtype.kind not in "iub":
            raise ValueError(f"{where}column {name!r} has dtype {dtype}, expected integers")
