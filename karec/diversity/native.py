"""Provides the C++ extension to karec.diversity, or Numba kernels for plain selections if it is not built."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from karec import _native as library
else:
    try:
        from karec import _native as library
    except ImportError as error:
        from karec.diversity.numba_selections import NumbaSelections

        library = NumbaSelections(error)

__all__ = ["library"]
