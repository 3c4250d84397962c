"""The library that does the work behind ``karec.index``, ``karec.ids`` and ``karec.diversity``, chosen at
each call.

native    ``karec._native``, C++: the default
portable  ``karec.kernels.portable``, NumPy and Numba: the same results, slower; default where the extension
is absent

The environment variable ``KAREC_BACKEND`` names one of them. An ``ItemIndex`` stays with the library that
made it; ``index.isa`` says what runs.
"""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["isa_of", "library"]

_BACKENDS = {"native": "karec._native", "portable": "karec.kernels.portable"}
_chosen: dict[str, ModuleType] = {}  # by the value of KAREC_BACKEND


def _choose(asked: str) -> ModuleType:
    if asked:
        if asked not in _BACKENDS:
            raise ValueError(f"KAREC_BACKEND names {asked!r}, expected {' or '.join(map(repr, _BACKENDS))}")
        return import_module(_BACKENDS[asked])
    try:
        return import_module(_BACKENDS["native"])
    except ModuleNotFoundError as error:
        if error.name != _BACKENDS["native"]:
            raise
    warnings.warn(
        "karec's C++ extension (karec._native) is not installed: scoring and diversity run in Numba, with "
        "the same "
        "results but slower. Build it: pip install -e . KAREC_BACKEND=portable chooses Numba without this "
        "warning",
        RuntimeWarning,
        stacklevel=4,
    )
    return import_module(_BACKENDS["portable"])


def isa_of(made: object) -> str:
    """The instruction set of the library that made an index or a view, whatever ``KAREC_BACKEND`` says
    now."""
    home = type(made).__module__  # karec._native, or a module of karec.kernels.portable
    return str(import_module(next(name for name in _BACKENDS.values() if home.startswith(name))).isa())


class _Library:
    """The chosen module's attributes. A lookup costs a dictionary read and one of the environment."""

    def __getattr__(self, name: str) -> Any:
        asked = os.environ.get("KAREC_BACKEND", "")
        module = _chosen.get(asked)
        if module is None:
            module = _chosen[asked] = _choose(asked)
        return getattr(module, name)


if TYPE_CHECKING:
    from karec import _native as library
else:
    library = _Library()
