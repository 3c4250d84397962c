"""The library that does the work behind ``karec.index`` and ``karec.diversity``, chosen once, when it is first needed.

native    ``karec._native``, C++: the default
portable  ``karec.kernels.portable``, NumPy and Numba: the same results, slower; by itself where the extension is absent

``KAREC_BACKEND`` names one of them. ``index.isa`` says what runs.
"""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["library"]

_BACKENDS = {"native": "karec._native", "portable": "karec.kernels.portable"}


def _choose() -> ModuleType:
    asked = os.environ.get("KAREC_BACKEND", "")
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
        "karec's C++ extension (karec._native) is not installed: scoring and diversity run in Numba, with the same "
        "results but slower; KAREC_BACKEND=portable chooses that without this warning",
        RuntimeWarning,
        stacklevel=2,
    )
    return import_module(_BACKENDS["portable"])


if TYPE_CHECKING:
    from karec import _native as library
else:
    library = _choose()
