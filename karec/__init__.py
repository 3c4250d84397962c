"""karec: a recommendation cascade for platforms of user-generated content, with native kernels.

Public names load their modules on first use: ``import karec`` loads neither NumPy nor ONNX Runtime, and a
process that serves loads no PyTorch.
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

# kernels/ is next to karec/ in a checkout and inside it in an installation
if find_spec("karec.kernels") is None:
    raise ModuleNotFoundError(
        f"karec in {__path__[0]} is not built: karec.kernels is missing. Build it there: pip install -e . "
        "If karec is installed elsewhere, run Python outside this folder.",
        name="karec.kernels",
    )

if TYPE_CHECKING:
    from karec import diversity, pipeline
    from karec.bundle import Bundle
    from karec.config.open import open
    from karec.index import CodeTable, IndexView, ItemIndex
    from karec.index.search_result import SearchResult
    from karec.learn.run.train import train as train
    from karec.pipeline.types import Candidates, Page, Request
    from karec.refresh.publish_run import publish
    from karec.where import Where

    __version__: str
else:
    _PACKAGES = ("diversity", "pipeline")
    _MODULES = {
        "karec.bundle": ("Bundle",),
        "karec.config.open": ("open",),
        "karec.index": ("CodeTable", "IndexView", "ItemIndex"),
        "karec.index.search_result": ("SearchResult",),
        "karec.learn.run.train": ("train",),
        "karec.pipeline.types": ("Candidates", "Page", "Request"),
        "karec.where": ("Where",),
        "karec.refresh.publish_run": ("publish",),
    }
    _MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

    def __getattr__(name):
        if name == "__version__":
            from importlib.metadata import version

            value = version("karec")
        elif name == "_native":  # `from karec import _native` looks here before the module is loaded
            try:
                value = import_module("karec._native")
            except ImportError as error:
                if isinstance(error.__cause__, ValueError):  # of KAREC_FORCE_ISA
                    raise error.__cause__ from None
                raise ImportError(
                    f"karec's C++ extension cannot be imported ({error}). Build it: pip install -e .",
                    name="karec._native",
                ) from error
        elif name in _PACKAGES:
            value = import_module(f"karec.{name}")
        elif name in _MODULE_OF:
            value = getattr(import_module(_MODULE_OF[name]), name)
        else:
            raise AttributeError(f"module 'karec' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        return [*__all__, "__version__", "train"]


__all__ = [  # without `train`: a process that serves and imports * would load PyTorch
    "Bundle",
    "BundleError",
    "Candidates",
    "CodeTable",
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
    "Where",
    "diversity",
    "open",
    "pipeline",
    "publish",
]
