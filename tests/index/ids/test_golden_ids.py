"""Id files of version 1 stay readable, and the same ids still give the same bytes.

``python tests/index/ids/test_golden_ids.py`` wrote them. They are never written again; new ones may be added.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from karec.index import IdMap

GOLDEN = Path(__file__).parent / "golden"
IDS: dict[str, Any] = {
    "v1-strings": ["u1", "ümläut", "歌手-7", "🎤" * 64, "a\0b", "x" * 256, *(f"user-{i}" for i in range(30))],
    "v1-integers": [3, 5],
    "v1-int64": [-7, 3, 2**62],
    "v1-uint64": np.array([2**64 - 1, 3], np.uint64),
}


@pytest.mark.parametrize("name", IDS)
def test_golden_file_opens_with_its_contents(name: str, tmp_path: Path) -> None:
    ids = IdMap.open(GOLDEN / f"{name}.karec")
    numbers = ids.numbers(IDS[name])
    assert ids.names(numbers).tolist() == list(IDS[name])
    IdMap.build(IDS[name], tmp_path / "now")
    assert (tmp_path / "now").read_bytes() == (GOLDEN / f"{name}.karec").read_bytes()


def test_golden_id_file_keeps_its_numbers() -> None:
    """Logs, indexes and models contain these numbers."""
    ids = IdMap.open(GOLDEN / "v1-strings.karec")
    numbers = [248859882108956831, 7144600966661981200, 5437897582507297005]
    assert ids.numbers(["u1", "歌手-7", "stranger"]).tolist() == numbers


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for entry, values in IDS.items():
        IdMap.build(values, GOLDEN / f"{entry}.karec")
