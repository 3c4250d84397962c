"""What a portable index knows of the vectors of each model version
(``native/include/karec/index_view.hpp``)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from karec.kernels.portable.arrays import Float32
from karec.kernels.portable.index_layout import damaged

MOST_VERSIONS = 256
ENTRY = np.dtype([("space_id", "<u8"), ("scale", "<f4"), ("offset", "<f4")])  # of an index file


class ModelVersion(NamedTuple):
    """``works``: how many vectors are of it. ``space_id``: of its item tower, 0 = not known. A product
    becomes product·scale + offset."""

    number: int
    works: int
    space_id: int = 0
    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_calibrated(self) -> bool:
        return (self.scale, self.offset) != (1.0, 0.0)


Versions = tuple[ModelVersion, ...]  # by code


def code_for(versions: Versions, number: int) -> tuple[int, Versions]:
    """The code of a model version, and the versions with it: its own, one that is out of use, or a new
    one."""
    numbers = [version.number for version in versions]
    unused = [code for code, version in enumerate(versions) if not version.works]
    if number in numbers:
        unused = [code for code in unused if versions[code].number == number]
        if not unused:
            return numbers.index(number), versions
    for code in unused:
        return code, (*versions[:code], ModelVersion(number, 0), *versions[code + 1 :])
    if len(numbers) == MOST_VERSIONS:
        raise ValueError("the index holds vectors of 256 model versions: refresh some of them first")
    return len(numbers), (*versions, ModelVersion(number, 0))


def counted(versions: Versions, codes: NDArray[Any], by: int) -> Versions:
    """With ``by`` works more for each of ``codes``."""
    more = np.bincount(codes, minlength=len(versions)) * by
    return tuple(each._replace(works=each.works + int(n)) for each, n in zip(versions, more, strict=True))


def check_space(versions: Versions, number: int, space_id: int) -> None:
    """ValueError: the version has vectors, and of another item tower than ``space_id``; 0 = not said."""
    for each in versions:
        if each.number == number and each.works and each.space_id and space_id not in (0, each.space_id):
            raise ValueError(
                f"the index holds vectors of model version {number} in the space {each.space_id:016x}, these "
                f"are in "
                f"{space_id:016x}: vectors of another item tower need another model version"
            )


def in_space(versions: Versions, code: int, space_id: int) -> Versions:
    """``versions``, the one of ``code`` in ``space_id`` where it has no work yet."""
    if versions[code].works:
        return versions
    return (*versions[:code], versions[code]._replace(space_id=space_id), *versions[code + 1 :])


def calibrated(versions: Versions, number: int, scale: float, offset: float) -> Versions:
    """``versions``, the one of that number with these; kept in float32. ValueError: there is none, or a bad
    scale."""
    scale, offset = float(np.float32(scale)), float(np.float32(offset))
    if not (np.isfinite([scale, offset]).all() and scale > 0):
        raise ValueError(
            f"scale and offset of a model version must be finite, and scale above 0, got {scale:f} and "
            f"{offset:f}"
        )
    if not any(each.number == number and each.works for each in versions):
        raise ValueError(f"the index has no vector of model version {number}")
    return tuple(
        each._replace(scale=scale, offset=offset) if each.number == number else each for each in versions
    )


def on_one_scale(versions: Versions, codes: NDArray[Any], products: Float32) -> Float32:
    """(N,) products of rows of these codes, each with scale and offset of its version."""
    if not any(each.is_calibrated for each in versions):
        return products
    scale, offset = (
        np.array([getattr(each, of) for each in versions], np.float32) for of in ("scale", "offset")
    )
    return np.asarray(products * scale[codes] + offset[codes])


def entries_of(versions: Versions) -> NDArray[Any] | None:
    """What an index file says of them; None where there is nothing to say."""
    if not any(each.space_id or each.is_calibrated for each in versions):
        return None
    return np.array([(each.space_id, each.scale, each.offset) for each in versions], ENTRY)


def with_entries(versions: Versions, content: NDArray[np.uint8]) -> Versions:
    """``versions`` with what the section of an index file says of each. IndexFormatError: another number;
    scores that are not finite or turn round."""
    entries = content.view(ENTRY)
    if len(entries) != len(versions):
        raise damaged("its spaces and its model versions do not fit")
    if not (np.isfinite(entries["scale"]) & np.isfinite(entries["offset"]) & (entries["scale"] > 0)).all():
        raise damaged("the scale of a model version is not above 0")
    return tuple(
        each._replace(space_id=space, scale=scale, offset=offset)
        for each, (space, scale, offset) in zip(versions, entries.tolist(), strict=True)
    )
