"""karec: the recommendation cascade of a user-generated-content platform, with native hot loops.

The public names load their modules on first use: ``import karec`` costs next to nothing, and a process that
only serves never loads what only learning needs.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from karec.errors import (
    BundleError,
    ConfigError,
    ContractError,
    DataError,
    IndexFormatError,
    KarecError,
    LogSchemaError,
    MissingExtra,
    Unavailable,
)

# kernels/ lies beside karec/ in a checkout, and inside it once installed
if find_spec("karec.kernels") is None:
    raise ModuleNotFoundError(
        f"karec in {__path__[0]} is not built: karec.kernels is missing. Build it: pip install -e .",
        name="karec.kernels",
    )

if TYPE_CHECKING:
    from karec import diversity
    from karec.config.open import open
    from karec.index import IndexView, ItemIndex
    from karec.index.search_result import SearchResult
    from karec.pipeline.types import Candidates, Page, Request

    __version__: str
else:
    _MODULES = {
        "karec.config.open": ("open",),
        "karec.index": ("IndexView", "ItemIndex"),
        "karec.index.search_result": ("SearchResult",),
        "karec.pipeline.types": ("Candidates", "Page", "Request"),
    }
    _HOMES = {name: module for module, names in _MODULES.items() for name in names}

    def __getattr__(name):
        if name == "__version__":
            from importlib.metadata import version

            value = version("karec")
        elif name == "_native":  # `from karec import _native` looks here before the module is loaded
            try:
                value = import_module("karec._native")
            except ImportError as error:
                raise ImportError(
                    f"karec's C++ extension cannot be imported ({error}). Build it: pip install -e .",
                    name="karec._native",
                ) from error
        elif name == "diversity":
            value = import_module("karec.diversity")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'karec' has no attribute {name!r}")
        globals()[name] = value
        return value


__all__ = [
    "BundleError",
    "Candidates",
    "ConfigError",
    "ContractError",
    "DataError",
    "IndexFormatError",
    "IndexView",
    "ItemIndex",
    "KarecError",
    "LogSchemaError",
    "MissingExtra",
    "Page",
    "Request",
    "SearchResult",
    "Unavailable",
    "diversity",
    "open",
]
