"""The item index: works' vectors by id, searched and selected from in native code."""

from karec.index.index_view import IndexView
from karec.index.item_index import ItemIndex
from karec.index.model_version import ModelVersion
from karec.index.rows import Rows
from karec.index.search_result import SearchResult

__all__ = ["IndexView", "ItemIndex", "ModelVersion", "Rows", "SearchResult"]
