"""Ids to numbers and back: strings a second of CPU time on one core, and bytes a string.

    python bench/ids_table.py [strings, 1000000] [rounds, 5]

Strings of 18 characters, asked for in another order than they were built in. The best of the rounds. Peers: a
Python dict and a list of the same strings; NumPy's searchsorted over a sorted array of numbers, for the way
back to bytes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from karec.ids import IdMap, Strings

LENGTH = 18
ASKED = 1_000_000


def strings_of(n: int) -> Strings:
    """n different strings of digits; no Python object for each."""
    keys = np.random.default_rng(0).permutation(n).astype(np.uint64) * np.uint64(7919) + np.uint64(10**17)
    text = keys.astype(f"S{LENGTH}").view(np.uint8)
    return Strings(np.arange(n + 1) * LENGTH, text)


def some(strings: Strings, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Strings:
    text = strings.text.reshape(-1, LENGTH)[rows].ravel()
    return Strings(np.arange(len(rows) + 1) * LENGTH, text)


def rate(call: Callable[[], object], n: int, rounds: int) -> str:
    seconds = []
    for _ in range(rounds):
        start = process_time()
        call()
        seconds.append(process_time() - start)
    return f"{n / min(seconds) / 1e6:.1f}"


def main() -> None:
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    strings = strings_of(n)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ids.karec"
        print(f"{n:,} strings of {LENGTH} bytes; millions a second")
        print(f"build                          {rate(lambda: IdMap.build(strings, path), n, 1)}")
        print(f"open, verified                 {rate(lambda: IdMap.open(path), n, 1)}")
        ids = IdMap.open(path)
        print(f"bytes a string beside its text {path.stat().st_size / n - LENGTH:.2f}")
        rows = np.random.default_rng(1).integers(0, n, ASKED)
        asked = some(strings, rows)
        listed = asked.to_list()
        numbers = ids.numbers(asked)
        assert ids.names(numbers).tolist() == listed
        print(f"numbers of an Arrow column     {rate(lambda: ids.numbers(asked), ASKED, rounds)}")
        print(f"numbers of a list of str       {rate(lambda: ids.numbers(listed), ASKED, rounds)}")
        print(f"known, of an Arrow column      {rate(lambda: ids.known(asked), ASKED, rounds)}")
        print(f"strings, as an Arrow column    {rate(lambda: ids.strings(numbers), ASKED, rounds)}")
        print(f"names, as str                  {rate(lambda: ids.names(numbers), ASKED, rounds)}")
        ten = numbers[:10]
        print(
            f"names of ten, calls            "
            f"{rate(lambda: [ids.names(ten) for _ in range(10_000)], 10_000, rounds)}"
        )

        held = np.sort(ids.numbers(strings))
        places = rate(lambda: np.searchsorted(held, numbers), ASKED, rounds)
        print(f"NumPy searchsorted, no strings {places}")
        every = strings.to_list()
        row_of = {name: row for row, name in enumerate(every)}
        print(
            f"dict: str to row               {rate(lambda: [row_of[name] for name in listed], ASKED, rounds)}"
        )
        back = rows.tolist()
        print(f"list: row to str               {rate(lambda: [every[row] for row in back], ASKED, rounds)}")
        each = sys.getsizeof(every[0]) - LENGTH + 8 + sys.getsizeof(row_of) / n + sys.getsizeof(n)
        print(f"dict and list: bytes a string  {each:.0f}")


if __name__ == "__main__":
    main()
