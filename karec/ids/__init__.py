"""Ids of any kind: a table's integers or strings ↔ the non-negative int64 numbers that the engine works
with."""

from karec.ids.id_map import IdMap
from karec.ids.strings import Strings

__all__ = ["IdMap", "Strings"]
