"""Item index: vectors of items by id, searched and selected from in native code."""

from karec.index.code_tables import CodeTable
from karec.index.ids import IdMap
from karec.index.index_view import IndexView
from karec.index.item_index import IndexSchema, ItemIndex
from karec.index.rows import Rows
from karec.index.search_result import SearchResult
from karec.index.strings import Strings
from karec.index.versions import ModelVersion

__all__ = [
    "CodeTable",
    "IdMap",
    "IndexSchema",
    "IndexView",
    "ItemIndex",
    "ModelVersion",
    "Rows",
    "SearchResult",
    "Strings",
]
